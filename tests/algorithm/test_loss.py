"""The loss and its gradient against hand-written float64, the facts of Figure 1, and extreme numbers."""

import itertools
import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.loss import (
    Samples,
    approximate_kl,
    clipped_surrogate,
    ppo_loss,
    probability_ratio,
    value_error,
)
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from tests.support import oracles
from tests.support.linear import as_oracle, linear_network, random_params, random_samples

NETWORK = linear_network()
SIZES = (1, 4, 16, 64)
MINIBATCHES = 1_250  # for each size, with and without normalization: 10,000


@partial(jax.jit, static_argnums=0)
def loss_and_gradient(normalized, hyper, params, minibatch):
    """(loss, info), gradient."""
    config = Config(normalize_advantages=normalized)
    return jax.value_and_grad(partial(ppo_loss, config, NETWORK, hyper), has_aux=True)(params, minibatch)


def stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def random_knobs(rng):
    return oracles.Knobs(
        clip_epsilon=np.float32(rng.choice([rng.uniform(0.05, 0.5), math.inf], p=[0.9, 0.1])),
        value_clip_epsilon=np.float32(rng.choice([rng.uniform(0.05, 1), math.inf])),
        value_coefficient=np.float32(rng.uniform(0, 1)),
        entropy_coefficient=np.float32(rng.uniform(0, 0.1)),
    )


def random_case(rng, size, normalized):
    """Hyperparameters, parameters, a minibatch and its oracle, away from where there is no derivative."""
    knobs, params = random_knobs(rng), random_params(rng)
    samples = random_samples(rng, params, (size,))
    expected = oracles.ppo_loss(params, as_oracle(samples), knobs, normalized)
    if expected.kink < 1e-5:
        return random_case(rng, size, normalized)
    hyper = Hyperparams(*map(np.float32, Hyperparams()))._replace(**knobs._asdict())
    return hyper, params, samples, expected


def largest_error(actual, expected):
    """Of each minibatch [C, ...], as a share of its largest entry and of 1."""
    axes = tuple(range(1, np.ndim(expected)))
    scale = 1 + np.abs(expected).max(axis=axes)
    return (np.abs(actual - expected).max(axis=axes) / scale).max()


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_loss_parts_and_gradient_match_the_hand_written_oracle(size, normalized):
    rng = np.random.default_rng(size)
    cases = [random_case(rng, size, normalized) for _ in range(MINIBATCHES)]
    hyper, params, samples, expected = map(stack, zip(*cases, strict=True))
    (loss, info), gradient = jax.vmap(partial(loss_and_gradient, normalized))(hyper, params, samples)
    actual = oracles.Loss(loss, *info[:6], gradient, kink=expected.kink)
    chex.assert_trees_all_equal_shapes(actual, expected)
    errors = jax.tree.map(largest_error, actual, expected)
    assert max(jax.tree.leaves(errors)) < 1e-5, errors


LOG_RATIOS = (0, *(sign * size for size in (1, 19.9, 20.1, 88, 89, 100, 1e3, 1e4) for sign in (1, -1)))
ADVANTAGES = (0, *(sign * size for size in (1e-30, 1, 1e15, 1e30) for sign in (1, -1)))
TARGETS = (0, *(sign * size for size in (1, 1e15, 1e30) for sign in (1, -1)))
BOUNDS = (0.2, math.inf)  # of the value clip
EXTREMES = np.array(list(itertools.product(LOG_RATIOS, ADVANTAGES, TARGETS, BOUNDS)), np.float32)


@partial(jax.jit, static_argnums=0)
def extreme_case(size, log_ratio, advantage, target, bound):
    """A minibatch whose first sample is extreme; each sample has logits and a value of its own."""
    params = {"actor": jnp.zeros((size, 4)).at[0, 0].set(jnp.minimum(log_ratio, 0)), "critic": jnp.ones(size)}
    log_prob = jax.nn.log_softmax(params["actor"])[:, 0]
    others = jnp.arange(size, dtype=jnp.float32)
    samples = Samples(
        observation=jnp.eye(size),
        action=jnp.zeros(size, jnp.int32),
        log_prob=log_prob.at[0].add(-log_ratio),
        value=others,
        advantage=others.at[0].set(advantage),
        target=others.at[0].set(target),
    )
    return Hyperparams(value_clip_epsilon=bound), params, samples


@pytest.mark.parametrize("normalized", [True, False])
@pytest.mark.parametrize("size", [1, 2, 8])
def test_extreme_numbers_leave_the_loss_and_its_gradient_finite(size, normalized):
    assert len(EXTREMES) >= 2_000
    result = jax.vmap(lambda row: loss_and_gradient(normalized, *extreme_case(size, *row)))(EXTREMES)
    chex.assert_tree_all_finite(result)


@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_a_clamped_log_ratio_is_counted_and_has_no_gradient(extreme):
    (_, info), gradient = loss_and_gradient(False, *extreme_case(4, extreme, -1.0, 0.0, math.inf))
    assert info.clamp_fraction == 0.25
    np.testing.assert_allclose(gradient["actor"][0, 0], 0.0, atol=1e-7)


def test_the_log_ratio_is_clamped_to_twenty():
    log_ratio = jnp.array([-1e4, -20.0, -1.0, 0.0, 1.0, 20.0, 1e4])
    expected = np.exp(np.clip(np.array(log_ratio, np.float64), -20, 20))
    np.testing.assert_allclose(probability_ratio(log_ratio, jnp.zeros(7)), expected, rtol=1e-6)


RATIOS = jnp.array([0.01, 0.5, 0.79, 0.81, 1.0, 1.19, 1.21, 2.0, 100.0])
surrogate_and_slope = jax.vmap(jax.value_and_grad(clipped_surrogate), in_axes=(0, None, None))


@pytest.mark.parametrize(("advantage", "bound"), [(2.0, 1.2), (-2.0, 0.8)])
def test_the_objective_is_flat_past_its_bound_and_linear_before_it(advantage, bound):
    """Figure 1: for A > 0 nothing is gained above 1 + epsilon, for A < 0 nothing below 1 - epsilon."""
    objective, slope = surrogate_and_slope(RATIOS, advantage, 0.2)
    is_flat = (RATIOS - bound) * advantage > 0
    np.testing.assert_allclose(objective, jnp.where(is_flat, bound, RATIOS) * advantage, rtol=1e-6)
    np.testing.assert_allclose(slope, jnp.where(is_flat, 0.0, advantage))


def test_the_objective_never_exceeds_the_unclipped_one():
    advantage = jnp.linspace(-3, 3, 13)[:, None]
    ratio = RATIOS[None]
    assert jnp.all(clipped_surrogate(ratio, advantage, 0.2) <= ratio * advantage)


def test_an_infinite_epsilon_leaves_the_objective_unclipped():
    np.testing.assert_array_equal(clipped_surrogate(RATIOS, 2.0, math.inf), RATIOS * 2.0)


def test_the_value_error_is_the_larger_of_the_plain_and_the_clipped_one():
    value, target = jnp.array([0.1, 2.0, 2.0, -2.0]), jnp.array([1.0, 3.0, 0.0, 0.0])
    errors = value_error(value, jnp.zeros(4), target, 0.5)
    np.testing.assert_allclose(errors, [0.81, 6.25, 4.0, 4.0], rtol=1e-6)


def test_an_infinite_value_clip_leaves_the_squared_error():
    value, target = jnp.array([-5.0, 0.0, 9.0]), jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(value_error(value, jnp.zeros(3), target, math.inf), (value - target) ** 2)


def fresh_case(size=64):
    """Parameters and samples of the very policy that is being improved, theta = theta_old."""
    rng = np.random.default_rng(0)
    params = random_params(rng)
    samples = random_samples(rng, params, (size,))
    policy = NETWORK.policy(params, samples.observation)
    return params, samples._replace(log_prob=policy.log_prob(samples.action))


def test_the_old_policy_has_ratio_one_and_no_divergence_and_nothing_clipped():
    params, samples = fresh_case()
    _, info = ppo_loss(Config(normalize_advantages=False), NETWORK, Hyperparams(), params, samples)
    np.testing.assert_allclose(info.policy_loss, -samples.advantage.mean(), rtol=1e-5)
    np.testing.assert_allclose(info.approx_kl, 0.0, atol=1e-7)
    assert (info.clip_fraction, info.clamp_fraction) == (0, 0)


def test_at_the_old_policy_the_gradient_is_the_policy_gradient():
    params, samples = fresh_case()
    hyper = Hyperparams(value_coefficient=0.0, entropy_coefficient=0.0)
    _, gradient = loss_and_gradient(False, hyper, params, samples)

    def negative_score(params):
        log_prob = NETWORK.policy(params, samples.observation).log_prob(samples.action)
        return -(log_prob * samples.advantage).mean()

    chex.assert_trees_all_close(gradient, jax.grad(negative_score)(params), rtol=1e-4, atol=1e-5)


def test_the_loss_adds_the_value_error_and_subtracts_the_entropy():
    params, samples = fresh_case()
    hyper = Hyperparams(value_coefficient=3.0, entropy_coefficient=7.0)
    loss, info = ppo_loss(Config(), NETWORK, hyper, params, samples)
    parts = info.policy_loss + 3.0 * info.value_loss - 7.0 * info.entropy
    np.testing.assert_allclose(loss, parts, rtol=1e-6)
    assert info.value_loss > 0
    assert info.entropy > 0


@pytest.mark.parametrize("epsilon", [0.1, 0.5, math.inf])
def test_the_clip_fraction_is_the_share_of_ratios_outside_the_range(epsilon):
    params, samples = fresh_case(size=8)
    log_ratio = np.log(np.array([1.0, 1.05, 0.95, 1.2, 0.8, 1.4, 2.0, 0.3], np.float32))
    samples = samples._replace(log_prob=samples.log_prob - log_ratio)
    _, info = ppo_loss(Config(), NETWORK, Hyperparams(clip_epsilon=epsilon), params, samples)
    assert info.clip_fraction == {0.1: 5 / 8, 0.5: 2 / 8, math.inf: 0}[epsilon]


def test_the_estimated_divergence_is_never_negative_and_right_on_average():
    old, new = jnp.log(jnp.array([0.5, 0.3, 0.2])), jnp.log(jnp.array([0.2, 0.2, 0.6]))
    estimates = approximate_kl(new, old)
    assert jnp.all(estimates >= 0)
    np.testing.assert_allclose(jnp.exp(old) @ estimates, jnp.exp(old) @ (old - new), rtol=1e-6)


def test_loss_and_info_are_float32_scalars():
    result = ppo_loss(Config(), NETWORK, Hyperparams(), *fresh_case())
    chex.assert_shape(jax.tree.leaves(result), ())
    chex.assert_type(jax.tree.leaves(result), jnp.float32)


@pytest.mark.parametrize("field", oracles.Samples._fields[1:])
def test_a_field_of_another_length_is_refused(field):
    params, samples = fresh_case()
    samples = samples._replace(**{field: getattr(samples, field)[:1]})
    with pytest.raises(UsageError, match="shape"):
        ppo_loss(Config(), NETWORK, Hyperparams(), params, samples)


def test_a_column_beside_a_row_is_refused():
    """Broadcasting would make a table of them, without a word."""
    row, column = jnp.ones(3), jnp.ones((3, 1))
    with pytest.raises(UsageError, match=r"the shapes do not agree: ratio \[3\], advantage \[3, 1\]"):
        clipped_surrogate(row, column, 0.2)
    with pytest.raises(UsageError, match=r"log_prob \[3, 1\], old_log_prob \[3\]"):
        probability_ratio(column, row)
    with jax.numpy_rank_promotion("allow"):  # further axes in front are meant
        assert clipped_surrogate(jnp.ones((2, 3)), row, 0.2).shape == (2, 3)
