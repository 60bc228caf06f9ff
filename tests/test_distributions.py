"""The categorical distribution against float64, and its samples against its probabilities."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.distributions import Categorical
from tests import oracles

SHAPE = (7, 50)  # a batch
RNG = np.random.default_rng(0)
LOGITS, OTHER_LOGITS = (3 * RNG.normal(size=(2, *SHAPE, 5))).astype(np.float32)
ACTIONS = RNG.integers(5, size=SHAPE, dtype=np.int32)
POLICY, OTHER = Categorical(jnp.asarray(LOGITS)), Categorical(jnp.asarray(OTHER_LOGITS))
EXTREME = Categorical(jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [1e4, 0.0, 1e4]]))


def test_log_prob_matches_the_oracle():
    expected = np.take_along_axis(oracles.log_softmax(LOGITS), ACTIONS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(POLICY.log_prob(ACTIONS), expected, rtol=1e-5, atol=1e-6)


def test_entropy_matches_the_oracle():
    expected = oracles.entropy(oracles.log_softmax(LOGITS))
    np.testing.assert_allclose(POLICY.entropy(), expected, rtol=1e-5, atol=1e-6)


def test_kl_matches_the_oracle():
    log_probs, other_log_probs = oracles.log_softmax(LOGITS), oracles.log_softmax(OTHER_LOGITS)
    expected = (np.exp(log_probs) * (log_probs - other_log_probs)).sum(axis=-1)
    np.testing.assert_allclose(POLICY.kl(OTHER), expected, rtol=1e-5, atol=1e-6)


def test_mode_is_the_most_probable_action_and_the_first_of_several():
    np.testing.assert_array_equal(POLICY.mode(), LOGITS.argmax(axis=-1))
    assert Categorical(jnp.array([1.0, 2.0, 2.0])).mode() == 1


def test_probabilities_of_all_actions_sum_to_one():
    every_action = jnp.arange(5)[:, None, None] + jnp.zeros((1, *SHAPE), jnp.int32)
    probabilities = jnp.exp(jax.vmap(POLICY.log_prob)(every_action))
    np.testing.assert_allclose(probabilities.sum(axis=0), np.ones(SHAPE), rtol=1e-5)


def test_a_uniform_distribution_has_the_entropy_of_its_size_and_no_distance_to_itself():
    uniform = Categorical(jnp.full(8, 3.0))
    np.testing.assert_allclose(uniform.entropy(), np.log(8), rtol=1e-6)
    np.testing.assert_allclose(uniform.kl(uniform), 0.0, atol=1e-7)


def test_a_constant_added_to_all_logits_changes_nothing():
    shifted = Categorical(POLICY.logits + 100)
    np.testing.assert_allclose(shifted.log_prob(ACTIONS), POLICY.log_prob(ACTIONS), rtol=1e-4, atol=1e-4)


def test_samples_are_as_frequent_as_they_are_probable():
    """Pearson's statistic stays below 23.5, which 3 degrees of freedom exceed once in 30,000 times."""
    logits = jnp.array([0.0, 1.0, -1.0, 0.5])
    draws = Categorical(jnp.tile(logits, (100_000, 1))).sample(jax.random.key(0))
    counts, expected = np.bincount(draws, minlength=4), 100_000 * np.exp(oracles.log_softmax(logits))
    assert ((counts - expected) ** 2 / expected).sum() < 23.5


def test_samples_of_a_batch_are_drawn_independently():
    draws = Categorical(jnp.zeros((2, 10_000, 2))).sample(jax.random.key(0))
    assert abs(np.corrcoef(*draws)[0, 1]) < 0.05


def test_a_certain_action_is_always_sampled():
    certain = Categorical(jnp.tile(jnp.array([-1e4, 1e4, -1e4]), (1_000, 1)))
    np.testing.assert_array_equal(certain.sample(jax.random.key(0)), np.ones(1_000))


@pytest.mark.parametrize("quantity", ["entropy", "kl", "log_prob"])
def test_extreme_logits_leave_values_and_gradients_finite(quantity):
    arguments = {"entropy": (), "kl": (POLICY._replace(logits=EXTREME.logits[::-1]),)}
    arguments["log_prob"] = (jnp.array([1, 2, 0, 1], jnp.int32),)

    def total(logits):
        return getattr(Categorical(logits), quantity)(*arguments[quantity]).sum()

    chex.assert_tree_all_finite(jax.value_and_grad(total)(EXTREME.logits))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_results_have_the_shape_of_the_batch(shape):
    policy, action = Categorical(jnp.zeros((*shape, 5))), jnp.zeros(shape, jnp.int32)
    actions = [policy.sample(jax.random.key(0)), policy.mode()]
    numbers = [policy.log_prob(action), policy.entropy(), policy.kl(policy)]
    chex.assert_shape([*actions, *numbers], shape)
    chex.assert_type(actions, jnp.int32)
    chex.assert_type(numbers, jnp.float32)
