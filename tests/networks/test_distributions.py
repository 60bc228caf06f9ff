"""Distributions and masks against float64 and SciPy, and samples against their probabilities."""

import math
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import (
    FEW_ACTIONS,
    ILLEGAL,
    MAX_LOG_STD,
    MIN_LOG_STD,
    Categorical,
    DiagonalGaussian,
    dead_ends,
    draw_noise,
    make_distribution,
    num_outputs,
)
from ppo_jax.spaces import Box, Discrete, MultiDiscrete
from tests.support import oracles, oracles_continuous

SHAPE = (7, 50)  # a batch
RNG = np.random.default_rng(0)
LOGITS, OTHER_LOGITS = (3 * RNG.normal(size=(2, *SHAPE, 5))).astype(np.float32)
ACTIONS = RNG.integers(5, size=SHAPE, dtype=np.int32)
POLICY, OTHER = Categorical(jnp.asarray(LOGITS)), Categorical(jnp.asarray(OTHER_LOGITS))
EXTREME = Categorical(jnp.array([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4], [1e4, 1e4, 1e4], [1e4, 0.0, 1e4]]))


def uniform(shape):
    return jax.random.uniform(jax.random.key(0), shape)


def test_log_prob_matches_the_oracle():
    expected = np.take_along_axis(oracles.log_softmax(LOGITS), ACTIONS[..., None], axis=-1)[..., 0]
    np.testing.assert_allclose(POLICY.log_prob(ACTIONS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("num_actions", [1, 2, FEW_ACTIONS, FEW_ACTIONS + 1])
def test_log_probs_of_few_and_of_many_actions_are_jaxs_own_with_the_same_gradient(num_actions):
    logits = jnp.asarray(5 * RNG.normal(size=(9, num_actions)), jnp.float32).at[0, 0].set(ILLEGAL)
    weight = jnp.asarray(RNG.normal(size=logits.shape), jnp.float32)

    def ours(logits):
        return Categorical(logits).log_probs

    np.testing.assert_allclose(ours(logits), jax.nn.log_softmax(logits), rtol=1e-5, atol=1e-6)
    slopes = [
        jax.jit(jax.grad(lambda x, f=f: (f(x) * weight).sum()))(logits) for f in (ours, jax.nn.log_softmax)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)


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


def test_a_uniform_distribution_has_the_entropy_log_n_and_no_kl_to_itself():
    uniform = Categorical(jnp.full(8, 3.0))
    np.testing.assert_allclose(uniform.entropy(), np.log(8), rtol=1e-6)
    np.testing.assert_allclose(uniform.kl(uniform), 0.0, atol=1e-7)


def test_a_constant_added_to_all_logits_changes_nothing():
    shifted = Categorical(POLICY.logits + 100)
    np.testing.assert_allclose(shifted.log_prob(ACTIONS), POLICY.log_prob(ACTIONS), rtol=1e-4, atol=1e-4)


def test_samples_are_as_frequent_as_they_are_probable():
    """Pearson's statistic stays below 23.5, which 3 degrees of freedom exceed once in 30,000 times."""
    logits = jnp.array([0.0, 1.0, -1.0, 0.5])
    draws = Categorical(jnp.tile(logits, (100_000, 1))).from_noise(uniform((100_000,)))
    counts, expected = np.bincount(draws, minlength=4), 100_000 * np.exp(oracles.log_softmax(logits))
    assert ((counts - expected) ** 2 / expected).sum() < 23.5


def test_an_action_is_the_first_whose_cumulative_probability_exceeds_the_noise():
    noise = RNG.uniform(size=SHAPE).astype(np.float32)
    cumulative = np.exp(oracles.log_softmax(LOGITS)).cumsum(axis=-1)
    clear = np.abs(cumulative - noise[..., None]).min(axis=-1) > 1e-6  # not decided by rounding
    expected = (cumulative > noise[..., None]).argmax(axis=-1)
    np.testing.assert_array_equal(np.asarray(POLICY.from_noise(jnp.asarray(noise)))[clear], expected[clear])
    assert clear.mean() > 0.99


def test_evenly_spaced_noise_samples_actions_as_often_as_jax_random_categorical():
    logits = jnp.array([0.3, -1.0, 2.0, 0.0, -4.0])
    grid = (jnp.arange(200_000) + 0.5) / 200_000
    ours = np.bincount(Categorical(jnp.tile(logits, (200_000, 1))).from_noise(grid), minlength=5)
    theirs = np.bincount(jax.random.categorical(jax.random.key(0), logits, shape=(200_000,)), minlength=5)
    np.testing.assert_allclose(ours, 200_000 * np.exp(oracles.log_softmax(np.asarray(logits))), atol=2)
    assert stats.chisquare(theirs, ours * theirs.sum() / ours.sum()).pvalue > 1e-4


@pytest.mark.parametrize("num_actions", [2, 3, 7, 40])
def test_the_ends_of_the_noise_sample_possible_actions(num_actions):
    """The least and the largest number that `jax.random.uniform` draws, under every mask."""
    masks = RNG.random((500, num_actions)) < 0.4
    masks[:, 0] |= ~masks.any(axis=-1)
    logits = jnp.where(masks, 5 * RNG.normal(size=masks.shape).astype(np.float32), ILLEGAL)
    for noise in (0.0, 1 - 2.0**-23):
        action = Categorical(logits).from_noise(jnp.full(500, noise, jnp.float32))
        assert masks[np.arange(500), action].all()


def test_samples_of_a_batch_are_drawn_independently():
    draws = Categorical(jnp.zeros((2, 10_000, 2))).from_noise(uniform((2, 10_000)))
    assert abs(np.corrcoef(*draws)[0, 1]) < 0.05


def test_a_certain_action_is_always_sampled():
    certain = Categorical(jnp.tile(jnp.array([-1e4, 1e4, -1e4]), (1_000, 1)))
    np.testing.assert_array_equal(certain.from_noise(uniform((1_000,))), np.ones(1_000))


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
    actions = [policy.sample(jax.random.key(0)), policy.from_noise(uniform(shape)), policy.mode()]
    numbers = [policy.log_prob(action), policy.entropy(), policy.kl(policy)]
    chex.assert_shape([*actions, *numbers], shape)
    chex.assert_type(actions, jnp.int32)
    chex.assert_type(numbers, jnp.float32)


# Gaussian


MEAN, LOG_STD, OTHER_MEAN, OTHER_LOG_STD, MOVE = RNG.normal(size=(5, *SHAPE, 3)).astype(np.float32)
GAUSSIAN, OTHER_GAUSSIAN = DiagonalGaussian(MEAN, LOG_STD), DiagonalGaussian(OTHER_MEAN, OTHER_LOG_STD)


def test_the_log_density_of_a_gaussian_is_that_of_scipy():
    action = MEAN + 3 * MOVE
    expected = stats.norm.logpdf(np.float64(action), MEAN, np.exp(np.float64(LOG_STD))).sum(axis=-1)
    np.testing.assert_allclose(GAUSSIAN.log_prob(action), expected, rtol=1e-4, atol=1e-4)


def test_the_entropy_of_a_gaussian_is_that_of_scipy():
    expected = stats.norm.entropy(scale=np.exp(np.float64(LOG_STD))).sum(axis=-1)
    np.testing.assert_allclose(GAUSSIAN.entropy(), expected, rtol=1e-5, atol=1e-5)


def test_the_kl_of_gaussians_is_the_integral_that_defines_it():
    """The integral of p (log p - log q) for one component, as a sum over a grid of 12 deviations each way."""
    grid, width = np.linspace(-12, 12, 20_001, retstep=True)
    deviation = np.exp(np.float64(LOG_STD))
    x = MEAN[0, 0, :, None] + deviation[0, 0, :, None] * grid
    log_p = stats.norm.logpdf(x, MEAN[0, 0, :, None], deviation[0, 0, :, None])
    log_q = stats.norm.logpdf(x, OTHER_MEAN[0, 0, :, None], np.exp(np.float64(OTHER_LOG_STD[0, 0, :, None])))
    expected = (np.exp(log_p) * (log_p - log_q) * width * deviation[0, 0, :, None]).sum()
    np.testing.assert_allclose(GAUSSIAN.kl(OTHER_GAUSSIAN)[0, 0], expected, rtol=1e-5)


def test_the_kl_of_gaussians_matches_the_oracle_and_is_zero_to_itself():
    moments = (np.float64(x) for x in (MEAN, LOG_STD, OTHER_MEAN, OTHER_LOG_STD))
    expected = oracles_continuous.gaussian_kl(*moments)
    np.testing.assert_allclose(GAUSSIAN.kl(OTHER_GAUSSIAN), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(GAUSSIAN.kl(GAUSSIAN), np.zeros(SHAPE))


def test_the_kl_of_nearly_equal_gaussians_keeps_its_digits():
    """It is about the square of the difference, which float32 cannot tell from 1 + its square."""
    near = DiagonalGaussian(jnp.zeros(1), jnp.full(1, 1e-4))
    np.testing.assert_allclose(DiagonalGaussian(jnp.zeros(1), jnp.zeros(1)).kl(near), 1e-8, rtol=0.01)


def test_the_mode_of_a_gaussian_is_its_mean():
    np.testing.assert_array_equal(GAUSSIAN.mode(), MEAN)


def test_samples_of_a_gaussian_are_normal_and_independent():
    mean, log_std = jnp.array([3.0, -1.0]), jnp.array([-2.0, 1.0])
    repeated = DiagonalGaussian(jnp.tile(mean, (50_000, 1)), jnp.tile(log_std, (50_000, 1)))
    draws = np.asarray(repeated.from_noise(draw_noise(Box((2,)), jax.random.key(0), 50_000)))
    for component in range(2):
        expected = stats.norm(float(mean[component]), float(jnp.exp(log_std[component])))
        assert stats.kstest(draws[:, component], expected.cdf).pvalue > 1e-3
    assert abs(np.corrcoef(draws.T)[0, 1]) < 0.02


def test_extreme_actions_leave_values_and_gradients_finite():
    def total(mean, log_std):
        policy = DiagonalGaussian(mean, log_std)
        return policy.log_prob(jnp.full(2, 1e6)) + policy.entropy() + policy.kl(policy)

    for log_std in (MIN_LOG_STD, MAX_LOG_STD):
        moments = jnp.zeros(2), jnp.full(2, log_std)
        chex.assert_tree_all_finite(jax.jit(jax.value_and_grad(total, (0, 1)))(*moments))


def results(policy):
    """Actions and numbers."""
    action = policy.sample(jax.random.key(0))
    return [action, policy.mode()], [policy.log_prob(action), policy.entropy(), policy.kl(policy)]


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_results_for_actions_of_several_components_have_the_shape_of_the_batch(batch):
    gaussian = DiagonalGaussian(jnp.zeros((*batch, 4)), jnp.zeros((*batch, 4)))
    multi = make_distribution(MultiDiscrete((2, 5, 3, 2)), jnp.zeros((*batch, 12)), None, None)
    for policy, kind in [(gaussian, jnp.float32), (multi, jnp.int32)]:
        actions, numbers = jax.eval_shape(results, policy)
        assert {(x.shape, x.dtype) for x in actions} == {((*batch, 4), jnp.dtype(kind))}
        assert {(x.shape, x.dtype) for x in numbers} == {(batch, jnp.dtype("float32"))}


# The scale of a Box


BOUNDED = Box((2,), low=(-1.0, 10.0), high=(3.0, 10.5))


def boxed(space, outputs, log_std=(0.0, 0.0)):
    return make_distribution(space, jnp.asarray(outputs, jnp.float32), jnp.array(log_std), None)


def test_outputs_between_minus_one_and_one_span_a_bounded_box():
    means = boxed(BOUNDED, [[-1, -1], [0, 0], [1, 1], [2, 0.5]]).mean
    np.testing.assert_allclose(means, [[-1, 10], [1, 10.25], [3, 10.5], [5, 10.375]])


def test_a_standard_deviation_of_one_is_half_the_width_of_a_bounded_box():
    np.testing.assert_allclose(np.exp(boxed(BOUNDED, [0, 0]).log_std), [2, 0.25], rtol=1e-6)
    np.testing.assert_allclose(np.exp(boxed(BOUNDED, [0, 0], (-1.0, 1.0)).log_std), [2 / np.e, 0.25 * np.e])


@pytest.mark.parametrize("space", [Box((2,)), Box((2,), low=0.0), Box((2,), high=(1.0, 2.0))])
def test_a_box_without_two_bounds_is_not_scaled(space):
    policy = boxed(space, [[0.5, -7]], (-1.0, 1.0))
    np.testing.assert_array_equal(policy.mean, [[0.5, -7]])
    np.testing.assert_allclose(policy.log_std, [[-1, 1]])


def test_each_component_has_the_scale_of_its_own_bounds():
    policy = boxed(Box((2,), low=(0.0, -math.inf), high=(4.0, 1.0)), [1, 1])
    np.testing.assert_array_equal(policy.mean, [4, 1])
    np.testing.assert_allclose(policy.log_std, [np.log(2), 0], rtol=1e-6)


def test_the_standard_deviation_is_clipped_to_documented_bounds():
    policy = boxed(Box((2,)), np.zeros((3, 2)), (-100.0, 100.0))
    np.testing.assert_array_equal(policy.log_std, np.tile([MIN_LOG_STD, MAX_LOG_STD], (3, 1)))
    assert (MIN_LOG_STD, MAX_LOG_STD) == (-5, 2)


@pytest.mark.parametrize("log_std", [-100.0, -6.0, -5.0, 0.0, 2.0, 2.5, 100.0])
def test_a_standard_deviation_outside_its_bounds_can_still_learn(log_std):
    def entropy(log_std):
        return boxed(Box((1,)), np.zeros((1, 1)), log_std).entropy().sum()

    np.testing.assert_array_equal(jax.grad(entropy)(jnp.array([log_std])), [1.0])


def test_the_middle_of_a_wide_box_does_not_overflow():
    policy = boxed(Box((1,), low=-3.4e38, high=3.4e38), np.zeros((1, 1)), (0.0,))
    np.testing.assert_array_equal(policy.mean, [[0.0]])
    assert np.all(np.isfinite(policy.log_std))


@pytest.mark.parametrize(("low", "high", "mean"), [(5.0, np.inf, 5), (-np.inf, -2.0, -2), (-1.0, np.inf, 0)])
def test_with_one_bound_output_zero_is_the_possible_action_nearest_to_zero(low, high, mean):
    policy = boxed(Box((1,), low=low, high=high), np.zeros((1, 1)), (0.0,))
    np.testing.assert_array_equal(policy.mean, [[mean]])
    np.testing.assert_array_equal(policy.log_std, [[0.0]])


def test_actions_of_a_box_cannot_be_masked():
    with pytest.raises(UsageError, match="cannot be masked"):
        make_distribution(Box((2,)), jnp.zeros((3, 2)), jnp.zeros(2), jnp.ones((3, 2), bool))


@pytest.mark.parametrize(
    ("space", "expected"), [(Discrete(5), 5), (MultiDiscrete((2, 5, 3)), 10), (Box((4,)), 4)]
)
def test_each_space_needs_the_expected_number_of_outputs(space, expected):
    assert num_outputs(space) == expected


@pytest.mark.parametrize("shape", [(), (2, 3)])
def test_actions_whose_rank_is_not_one_are_refused(shape):
    with pytest.raises(UsageError, match="not of rank 1"):
        num_outputs(Box(shape))


# Several components


NUMS = MultiDiscrete((2, 5, 3))
ENDS = (2, 7)
MULTI_LOGITS, OTHER_MULTI_LOGITS = (2 * RNG.normal(size=(2, *SHAPE, 10))).astype(np.float32)
MULTI = make_distribution(NUMS, jnp.asarray(MULTI_LOGITS), None, None)
OTHER_MULTI = make_distribution(NUMS, jnp.asarray(OTHER_MULTI_LOGITS), None, None)


def parts_of(logits):
    """Log-probabilities of each component."""
    return [oracles.log_softmax(part) for part in np.split(logits, ENDS, axis=-1)]


def test_quantities_of_several_components_are_sums_over_them():
    parts, others = parts_of(MULTI_LOGITS), parts_of(OTHER_MULTI_LOGITS)
    action = np.stack([RNG.integers(n, size=SHAPE) for n in NUMS.nums], axis=-1)
    chosen = [np.take_along_axis(p, action[..., [i]], axis=-1)[..., 0] for i, p in enumerate(parts)]
    kl = sum(map(oracles_continuous.categorical_kl, parts, others))
    close = partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    close(MULTI.log_prob(jnp.asarray(action)), sum(chosen))
    close(MULTI.entropy(), sum(map(oracles.entropy, parts)))
    close(MULTI.kl(OTHER_MULTI), kl)


def test_the_mode_of_several_components_is_that_of_each():
    expected = [part.argmax(axis=-1) for part in parts_of(MULTI_LOGITS)]
    np.testing.assert_array_equal(MULTI.mode(), np.stack(expected, axis=-1))


def test_samples_of_several_components_are_independent_and_as_frequent_as_probable():
    """Pearson's statistic of all 30 actions; 29 degrees of freedom exceed 66 once in 10,000 times."""
    logits = RNG.normal(size=10).astype(np.float32)
    policy = make_distribution(NUMS, jnp.tile(logits, (100_000, 1)), None, None)
    draws = np.asarray(policy.from_noise(draw_noise(NUMS, jax.random.key(0), 100_000)))
    counts = np.bincount(draws @ [15, 3, 1], minlength=30)
    first, second, third = (np.exp(part) for part in parts_of(logits))
    expected = 100_000 * np.einsum("i,j,k", first, second, third).ravel()
    assert len(counts) == 30
    assert ((counts - expected) ** 2 / expected).sum() < 66


# Masks


LEGAL = RNG.random((*SHAPE, 5)) < 0.5
LEGAL[..., 0] |= ~LEGAL.any(axis=-1)
LEGAL[0, 0] = [False, False, True, False, False]
MASKED = make_distribution(Discrete(5), jnp.asarray(LOGITS), None, jnp.asarray(LEGAL))
OTHER_MASKED = make_distribution(Discrete(5), jnp.asarray(OTHER_LOGITS), None, jnp.asarray(LEGAL))


def over_legal(logits):
    """Log-probabilities of each action; those of illegal ones are -inf."""
    weights = np.exp(np.float64(logits)) * LEGAL
    with np.errstate(divide="ignore"):
        return np.log(weights / weights.sum(axis=-1, keepdims=True))


def test_an_illegal_action_has_probability_zero_and_the_legal_ones_share_it_all():
    np.testing.assert_allclose(np.exp(MASKED.log_probs), np.exp(over_legal(LOGITS)), rtol=1e-5)
    assert np.all(np.exp(MASKED.log_probs)[~LEGAL] == 0)


def test_entropy_and_kl_under_a_mask_are_sums_over_the_legal_actions():
    probs, log_probs, others = np.exp(over_legal(LOGITS)), over_legal(LOGITS), over_legal(OTHER_LOGITS)
    with np.errstate(invalid="ignore"):
        entropy = -np.where(LEGAL, probs * log_probs, 0).sum(axis=-1)
        kl = np.where(LEGAL, probs * (log_probs - others), 0).sum(axis=-1)
    np.testing.assert_allclose(MASKED.entropy(), entropy, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(MASKED.kl(OTHER_MASKED), kl, rtol=1e-5, atol=1e-6)
    assert MASKED.entropy()[0, 0] == 0


def test_an_illegal_action_is_never_sampled():
    legal = jnp.array([True, False, True, False])
    policy = make_distribution(Discrete(4), jnp.array([0.0, 50.0, 1.0, 0.0]), None, legal)
    draws = Categorical(jnp.tile(policy.logits, (100_000, 1))).from_noise(uniform((100_000,)))
    assert np.unique(draws).tolist() == [0, 2]


def test_an_illegal_action_is_never_the_mode():
    expected = np.where(LEGAL, LOGITS, -np.inf).argmax(axis=-1)
    np.testing.assert_array_equal(MASKED.mode(), expected)
    assert np.any(expected != LOGITS.argmax(axis=-1))


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("quantity", ["entropy", "kl", "log_prob"])
def test_gradients_under_a_mask_are_finite_and_zero_for_illegal_actions(quantity, scale):
    arguments = {"entropy": (), "kl": (OTHER_MASKED,), "log_prob": (MASKED.mode(),)}[quantity]

    def total(logits):
        policy = make_distribution(Discrete(5), logits, None, jnp.asarray(LEGAL))
        return getattr(policy, quantity)(*arguments).sum()

    value, gradient = jax.tree.map(np.array, jax.jit(jax.value_and_grad(total))(scale * LOGITS))
    chex.assert_tree_all_finite((value, gradient))
    assert np.all(gradient[~LEGAL] == 0)
    assert scale > 1 or np.any(gradient[LEGAL] != 0)  # extreme logits saturate


def test_each_component_has_a_mask_of_its_own():
    legal = jnp.asarray([[True, False, True, True, False, False, False, True, True, False]])
    policy = make_distribution(NUMS, jnp.zeros((1, 10)), None, legal)
    probabilities = [np.exp(part.log_probs[0]) for part in policy.parts]
    expected = [[1, 0], [0.5, 0.5, 0, 0, 0], [0.5, 0.5, 0]]
    for actual, wanted in zip(probabilities, expected, strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-6)
    np.testing.assert_allclose(policy.entropy(), 2 * np.log([2]), rtol=1e-6)


def test_where_no_action_is_legal_all_are_allowed_and_the_dead_end_is_counted():
    legal = jnp.array([[False, False], [False, True], [True, True]])
    policy = make_distribution(Discrete(2), jnp.array([[0.0, 1.0]] * 3), None, legal)
    np.testing.assert_allclose(np.exp(policy.log_probs[0]), [1 / (1 + np.e), np.e / (1 + np.e)], rtol=1e-6)
    np.testing.assert_array_equal(dead_ends(Discrete(2), legal), [True, False, False])


def test_a_component_without_a_legal_value_is_a_dead_end_even_if_others_have_one():
    legal = np.ones((4, 10), bool)
    legal[1, :2], legal[2, 2:7], legal[3, :7] = False, False, False
    np.testing.assert_array_equal(dead_ends(NUMS, jnp.asarray(legal)), [False, True, True, True])
    policy = make_distribution(NUMS, jnp.zeros((4, 10)), None, jnp.asarray(legal))
    np.testing.assert_allclose(policy.entropy(), np.full(4, np.log(30)), rtol=1e-6)


# Masks in a training: an environment that pays -1 for what it has not allowed


class Rules(NamedTuple):
    """A copy's clock, and what it has allowed."""

    time: jax.Array
    legal: jax.Array  # [5] bool, of two components


def _observed(rules):
    return Observation(rules.legal.astype(jnp.float32), legal_actions=rules.legal)


def _draw_rules(key, time):
    """The second step of an episode allows no value of the second component; others allow at least one."""
    legal = jax.random.bernoulli(key, 0.4, (5,)).at[jnp.array([0, 3])].set(True)
    return Rules(time, jnp.where((time == 1) & (jnp.arange(5) >= 2), False, legal))


def _reset(key):
    rules = _draw_rules(key, jnp.zeros((), jnp.int32))
    return rules, _observed(rules)


def _step(key, rules, action):
    is_legal = rules.legal[action[0]] & (rules.legal[2 + action[1]] | (rules.time == 1))
    after = _draw_rules(key, rules.time + 1)
    reward = jnp.where(is_legal, 0.0, -1.0)
    return after, Transition(_observed(after), reward, after.time == 3, jnp.zeros((), bool))


def test_training_takes_only_legal_actions_and_counts_the_dead_ends():
    """Episodes of 3 steps, of which one is a dead end."""
    config = Config(
        env="rules", num_envs=2, num_steps=12, total_timesteps=96, num_minibatches=2, hidden_sizes=()
    )
    environment = make_batched(Dynamics(_reset, _step, Box((5,)), MultiDiscrete((2, 3))))
    run = jax.jit(partial(train, config, environment=environment))
    state, metrics = run(Hyperparams(learning_rate=0.1), jax.random.key(0))
    np.testing.assert_array_equal(metrics.dead_ends, [8] * 4)
    np.testing.assert_array_equal(metrics.episode_return, np.zeros(4))
    chex.assert_tree_all_finite((state.learner.params, metrics._replace(return_window=0)))
    assert metrics.approx_kl.max() > 1e-4  # it did move


@pytest.mark.parametrize("space", [Discrete(4), MultiDiscrete((2, 3)), Box((3,))])
def test_sampling_with_a_key_equals_drawing_noise_with_it(space):
    """One number per action and component, whatever the shape of the batch."""
    outputs = jax.random.normal(jax.random.key(1), (2000, num_outputs(space)))
    policy = make_distribution(space, outputs, outputs[0], None)
    noise = draw_noise(space, jax.random.key(0), 2000)
    sampled, chosen = policy.sample(jax.random.key(0)), policy.from_noise(noise)
    chex.assert_trees_all_equal_shapes_and_dtypes(sampled, chosen)
    if not isinstance(space, MultiDiscrete):
        np.testing.assert_array_equal(sampled, chosen)
    other = np.asarray(policy.sample(jax.random.key(2)))
    assert (other != np.asarray(sampled)).mean() > 0.1
