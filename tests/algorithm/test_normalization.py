"""Running statistics against float64 ones, and what is normalized by them, when, and what is left alone."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.normalization import (
    CLIP,
    init_observation_statistics,
    init_reward_scaler,
    init_statistics,
    merge,
    merge_observation,
    normalize,
    normalize_observation,
    scale_rewards,
    standardize,
)
from ppo_jax.algorithm.rollout import collect, init_collector
from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Box, Discrete
from tests.support import oracles_continuous as oracles
from tests.support.marks import first_long


@jax.jit
def merge_all(batches):
    """Statistics of [C, n, ...], merged one after another."""
    start = init_statistics(batches.shape[2:])
    return jax.lax.scan(lambda statistics, batch: (merge(statistics, batch), None), start, batches)[0]


def drawn(offset, *shape):
    """Numbers of deviation 1 around an offset, as float32 holds them."""
    return (offset + np.random.default_rng(0).normal(size=shape)).astype(np.float32)


# Statistics


@pytest.mark.parametrize("offset", [0, 1e3, 1e6])
def test_uneven_batches_merge_to_the_statistics_of_all_samples(offset):
    sizes = np.random.default_rng(1).choice([1, 2, 5, 31], size=60)
    samples, statistics = drawn(offset, sizes.sum(), 3), init_statistics((3,))
    for batch in np.split(samples, np.cumsum(sizes)[:-1]):
        statistics = merge(statistics, jnp.asarray(batch))
    assert int(statistics.num_samples) == len(samples)
    atol = 1e-3 + 2 * np.spacing(np.float32(offset))  # no mean is nearer than float32 can hold it
    np.testing.assert_allclose(
        normalize(statistics, samples), oracles.standardize(samples, samples), rtol=1e-3, atol=atol
    )


@pytest.mark.parametrize("size", [1, 8])
def test_a_hundred_thousand_small_batches_leave_no_error_behind(size):
    batches = drawn(0.5, 100_000, size, 2)
    samples = batches.reshape(-1, 2)
    actual = normalize(merge_all(batches), samples[:1_000])
    np.testing.assert_allclose(actual, oracles.standardize(samples, samples[:1_000]), rtol=1e-4, atol=1e-4)


def test_the_order_of_the_samples_does_not_matter():
    batches = drawn(3, 50, 4, 2)
    forward, backward = (normalize(merge_all(x), batches[0]) for x in (batches, batches[::-1, ::-1]))
    np.testing.assert_allclose(forward, backward, rtol=1e-4, atol=1e-5)


def test_the_same_samples_give_the_same_bits():
    batches = drawn(3, 50, 4, 2)
    chex.assert_trees_all_equal(merge_all(batches), merge_all(batches))


def test_samples_are_counted_exactly_where_float32_no_longer_can():
    many = init_statistics(())._replace(num_samples=jnp.uint32(2**31 - 3))
    assert int(merge(many, jnp.ones(5)).num_samples) == 2**31 + 2


def test_statistics_of_nothing_leave_numbers_as_they_are():
    x = drawn(0, 5, 3)
    np.testing.assert_allclose(normalize(init_statistics((3,)), x), x, rtol=1e-6)


def test_a_single_sample_becomes_zero():
    sample = drawn(7, 1, 3)
    np.testing.assert_array_equal(normalize(merge(init_statistics((3,)), sample), sample), np.zeros((1, 3)))


@pytest.mark.parametrize("size", [2, 3, 7, 8])
def test_what_never_varies_becomes_zero(size):
    constant = np.array([0.0, 0.1, -1 / 3, 1234.567, 1e6 + 0.3, 1e-20], np.float32)
    batches = np.tile(constant, (20, size, 1))
    np.testing.assert_allclose(normalize(merge_all(batches), batches[0]), np.zeros((size, 6)), atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 3.0, 1e6])
def test_what_has_never_varied_says_nothing_even_if_it_does_later(constant):
    """No weight of the network has learned what it means."""
    statistics = merge_all(np.full((20, 4, 1), constant, np.float32))
    later = jnp.array([[1e30], [-1e30], [constant + 1]])
    np.testing.assert_array_equal(normalize(statistics, later), np.zeros((3, 1)))


SCALES = [1e-15, 1e-12, 1e-8, 1e-3, 1e3, 1e8, 1e12, 1e15]


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("offset", [0, 100])
def test_the_scale_of_observations_does_not_matter(scale, offset):
    samples = drawn(offset, 6, 50, 3)
    one, other = merge_all(samples), merge_all(samples * np.float32(scale))
    np.testing.assert_allclose(
        normalize(other, samples[0] * np.float32(scale)), normalize(one, samples[0]), rtol=1e-3, atol=1e-3
    )


def test_normalized_numbers_are_clipped_to_ten():
    samples = drawn(0, 1, 1_000, 1)
    actual = normalize(merge_all(samples), jnp.array([[11.0], [-11.0], [9.0], [1e30]]))
    np.testing.assert_array_equal(actual[jnp.array([0, 1, 3])], [[10.0], [-10.0], [10.0]])
    assert 8 < actual[2, 0] < 10


@pytest.mark.parametrize("batch", [(), (4,), (2, 4)])
def test_any_batch_of_arrays_is_normalized_elementwise(batch):
    samples = drawn(0, 1, 10, 2, 3) * np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    x = drawn(1, *batch, 2, 3)
    expected = oracles.standardize(samples[0], x)
    np.testing.assert_allclose(normalize(merge_all(samples), x), expected, rtol=1e-5, atol=1e-6)


# Advantages


def test_standardized_advantages_have_mean_zero_and_standard_deviation_one():
    normalized = standardize(jnp.array([3.0, -1.0, 5.0, 10.0]))
    np.testing.assert_allclose((normalized.mean(), normalized.std()), (0, 1), atol=1e-6)


def test_equal_advantages_are_standardized_to_zero():
    np.testing.assert_array_equal(standardize(jnp.full(4, 3.0)), jnp.zeros(4))


def test_a_single_advantage_is_not_standardized():
    np.testing.assert_array_equal(standardize(jnp.array([3.0])), [3.0])


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_advantages_does_not_matter(scale):
    advantage = drawn(0.3, 64)
    scaled = standardize(jnp.asarray(advantage * np.float32(scale)))
    np.testing.assert_allclose(scaled, standardize(jnp.asarray(advantage)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1 / 3, 1234.567, 1e30, 1e-30])
@pytest.mark.parametrize("size", [3, 7, 256, 2**16])
def test_advantages_that_differ_by_rounding_alone_become_zero(constant, size):
    np.testing.assert_array_equal(standardize(jnp.full(size, jnp.float32(constant))), np.zeros(size))


# Observations with parts


def parts_of(size):
    legal = np.random.default_rng(0).random((size, 3)) < 0.5
    return Observation(
        features=drawn(5, size, 2), legal_actions=jnp.asarray(legal), privileged=3 * drawn(-2, size, 4)
    )


def test_each_part_has_statistics_of_its_own_and_masks_have_none():
    observation = parts_of(20)
    statistics = merge_observation(init_observation_statistics(observation), observation)
    assert statistics.legal_actions is None
    normalized = normalize_observation(statistics, observation)
    for name in ("features", "privileged"):
        raw, actual = getattr(observation, name), getattr(normalized, name)
        np.testing.assert_allclose(actual, oracles.standardize(raw, raw), rtol=1e-4, atol=1e-5)
    assert normalized.legal_actions is observation.legal_actions


def test_without_statistics_an_observation_is_left_as_it_is():
    observation = parts_of(3)
    assert merge_observation(None, observation) is None
    assert normalize_observation(None, observation) is observation


# Rewards


def random_rewards(num_steps=12, num_envs=3):
    rng = np.random.default_rng(0)
    rewards = (2 + 5 * rng.normal(size=(num_steps, num_envs))).astype(np.float32)
    return rewards, rng.random((num_steps, num_envs)) < 0.3


def scaled_by_oracle(rewards, done, gamma):
    sums = oracles.discounted_sums(rewards, done, gamma)
    return np.clip(rewards / np.sqrt(sums.var() + 1e-8), -10, 10)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_rewards_are_divided_by_the_deviation_of_their_discounted_sums(gamma):
    rewards, done = random_rewards()
    _, scaled = scale_rewards(init_reward_scaler(3), rewards, done, gamma)
    np.testing.assert_allclose(scaled, scaled_by_oracle(rewards, done, gamma), rtol=1e-4)


def test_a_later_rollout_continues_the_sums_and_statistics_of_the_earlier_ones():
    rewards, done = random_rewards()
    scaler = init_reward_scaler(3)
    for part in (slice(0, 2), slice(2, 7), slice(7, 12)):
        scaler, scaled = scale_rewards(scaler, rewards[part], done[part], 0.9)
    np.testing.assert_allclose(scaled, scaled_by_oracle(rewards, done, 0.9)[7:], rtol=1e-4)
    sums = oracles.discounted_sums(rewards, done, 0.9)
    np.testing.assert_allclose(scaler.discounted, np.where(done[-1], 0, sums[-1]), rtol=1e-4, atol=1e-6)


def test_the_mean_reward_is_not_subtracted():
    rewards = drawn(50, 6, 2)
    _, scaled = scale_rewards(init_reward_scaler(2), rewards, np.ones((6, 2), bool), 0.9)
    assert np.all(scaled == 10)  # 50 deviations from 0


def test_the_first_rewards_are_scaled_by_themselves():
    rewards, done = 100 * drawn(0, 50, 4), np.ones((50, 4), bool)
    _, scaled = scale_rewards(init_reward_scaler(4), rewards, done, 0.9)
    np.testing.assert_allclose(scaled.std(), 1.0, rtol=1e-3)


def test_scaled_rewards_are_clipped_to_ten_on_both_sides():
    rewards = np.zeros((500, 1), np.float32)
    rewards[:2, 0] = (1e3, -1e3)
    _, scaled = scale_rewards(init_reward_scaler(1), rewards, np.ones((500, 1), bool), 0.9)
    np.testing.assert_array_equal(scaled[:3, 0], [10, -10, 0])


@pytest.mark.parametrize("scale", SCALES)
def test_the_scale_of_rewards_does_not_matter(scale):
    rewards, done = random_rewards()
    _, one = scale_rewards(init_reward_scaler(3), rewards, done, 0.9)
    _, other = scale_rewards(init_reward_scaler(3), rewards * np.float32(scale), done, 0.9)
    np.testing.assert_allclose(other, one, rtol=1e-3)


@pytest.mark.parametrize("scale", first_long([2.0**-50, 2.0**40, 2.0**-27], 2))
def test_training_does_not_depend_on_the_scale_of_rewards(scale, trained):
    def step(key, time, action):
        time, transition = _step(key, time, action)
        return time, transition._replace(reward=jnp.float32(scale) * transition.reward)

    scaled = make_batched(Dynamics(_reset, step, Box((3,)), Discrete(3), Box((4,))))
    run = jax.jit(partial(train, NORMALIZED, environment=scaled))
    state, metrics = run(Hyperparams(), jax.random.key(0))
    before = trained[0].learner.params
    chex.assert_trees_all_close(state.learner.params, before, rtol=1e-2, atol=1e-5)
    np.testing.assert_allclose(metrics.episode_return, scale * trained[1].episode_return, rtol=1e-4)


def test_rewards_that_are_always_the_same_become_zero():
    """Episodes of one step: no behaviour is better than another."""
    rewards, done = jnp.full((9, 2), 0.1), jnp.ones((9, 2), bool)
    _, scaled = scale_rewards(init_reward_scaler(2), rewards, done, 0.9)
    np.testing.assert_array_equal(scaled, np.zeros((9, 2)))


def test_rewards_that_are_always_zero_stay_zero():
    _, scaled = scale_rewards(init_reward_scaler(2), jnp.zeros((3, 2)), jnp.zeros((3, 2), bool), 0.9)
    np.testing.assert_array_equal(scaled, np.zeros((3, 2)))


# Rollouts: what is shown depends on the key alone, so that a raw rollout is the oracle of a normalized one


def _observe(key):
    keys = jax.random.split(key, 3)
    return Observation(
        features=jnp.append(100 + 5 * jax.random.normal(keys[0], (2,)), 0.25),  # the last never varies
        legal_actions=jax.random.bernoulli(keys[1], 0.6, (3,)).at[0].set(True),
        privileged=0.1 * jax.random.normal(keys[2], (4,)) - 3,
    )


def _reset(key):
    return jnp.zeros((), jnp.int32), _observe(key)


def _step(key, time, action):
    observation, time = _observe(key), time + 1
    reward = observation.features[0] - 90
    return time, Transition(observation, reward, terminated=time == 3, truncated=time > 3)


WEATHER = make_batched(Dynamics(_reset, _step, Box((3,)), Discrete(3), Box((4,))))
T, N, U = 4, 3, 3
RAW = Config(
    env="weather",
    num_envs=N,
    num_steps=T,
    total_timesteps=T * N * U,
    num_epochs=1,
    num_minibatches=1,
    hidden_sizes=(4,),
)
NORMALIZED = Config(**{**vars(RAW), "normalize_observations": True, "normalize_rewards": True})
NETWORK = make_network(RAW, WEATHER.observation_space, WEATHER.action_space, WEATHER.privileged_space)
PARAMS = jax.tree.map(lambda x: 3 * x, NETWORK.init(jax.random.key(1)))


def two_rollouts(config):
    """The collector and the episodes after two rollouts, and both trajectories as one, [2T, N, ...]."""
    run = jax.jit(partial(collect, config, WEATHER, NETWORK, Hyperparams()))
    collector = init_collector(config, WEATHER, NETWORK, jax.random.key(2))
    collector, first, _ = run(jax.random.key(3), PARAMS, collector)
    collector, second, episodes = run(jax.random.key(4), PARAMS, collector)
    return collector, jax.tree.map(lambda *halves: np.concatenate(halves), first, second), episodes


@pytest.fixture(scope="module")
def raw():
    return two_rollouts(RAW)


@pytest.fixture(scope="module")
def normalized():
    return two_rollouts(NORMALIZED)


@pytest.mark.long
@pytest.mark.parametrize("part", ["features", "privileged"])
@pytest.mark.parametrize("which", ["observation", "final_observation"])
def test_every_step_is_normalized_by_all_observations_acted_on_up_to_then(raw, normalized, which, part):
    """In particular the first one, by exactly the N observations that it consists of."""
    acted_on = getattr(raw[1].observation, part)
    shown, actual = (getattr(getattr(rolled[1], which), part) for rolled in (raw, normalized))
    for t in range(2 * T):
        samples = acted_on[: t + 1].reshape(-1, acted_on.shape[-1])
        expected = oracles.standardize(samples, shown[t])
        np.testing.assert_allclose(actual[t], expected, rtol=1e-3, atol=1e-3)


def test_masks_are_not_normalized(raw, normalized):
    for which in ("observation", "final_observation"):
        expected, actual = (getattr(rolled[1], which).legal_actions for rolled in (raw, normalized))
        assert actual.dtype == bool
        np.testing.assert_array_equal(actual, expected)


def test_the_stored_observation_is_the_one_that_was_acted_on(normalized):
    _, trajectory, _ = normalized
    policy = NETWORK.apply(PARAMS, trajectory.memory, trajectory.observation, trajectory.start).policy
    np.testing.assert_allclose(policy.log_prob(trajectory.action), trajectory.log_prob, atol=1e-6)
    stale = jax.tree.map(partial(np.roll, shift=1, axis=0), trajectory.observation.features)
    policy = NETWORK.policy(PARAMS, trajectory.observation._replace(features=stale))
    assert np.abs(policy.log_prob(trajectory.action) - trajectory.log_prob).max() > 0.01


def test_rewards_are_scaled_over_rollouts_while_the_episodes_report_them_raw(raw, normalized):
    rewards, done = raw[1].reward, raw[1].done
    np.testing.assert_array_equal(normalized[1].done, done)
    expected = scaled_by_oracle(rewards, done, Hyperparams().gamma)
    np.testing.assert_allclose(normalized[1].reward[T:], expected[T:], rtol=1e-4)  # the first T knew less
    chex.assert_trees_all_close(normalized[2], raw[2], rtol=1e-6)
    assert float(raw[2].mean_return) > 20 > np.abs(normalized[1].reward).max()


def test_normalization_that_is_off_is_none_and_leaves_observations_and_rewards_raw(raw):
    collector, trajectory, _ = raw
    assert collector.statistics is None
    assert collector.reward_scaler is None
    assert trajectory.observation.features[..., 0].min() > 50
    assert trajectory.reward.min() > -20
    assert trajectory.reward.max() > 12


# Training


@pytest.fixture(scope="module")
def train_weather():
    return jax.jit(partial(train, NORMALIZED, environment=WEATHER))


@pytest.fixture(scope="module")
def trained(train_weather):
    return train_weather(Hyperparams(), jax.random.key(0))


def test_after_training_the_statistics_have_seen_every_observation_and_reward_once(trained):
    collector = trained[0].collector
    counts = [collector.statistics.features, collector.statistics.privileged]
    counts.append(collector.reward_scaler.statistics)
    assert [int(statistics.num_samples) for statistics in counts] == [U * T * N] * 3


def test_before_its_first_gradient_step_the_policy_is_the_one_that_acted(trained):
    """One step per update: the KL that it reports is from before it; 1e-10 is a log-ratio of 1e-5."""
    _, metrics = trained
    np.testing.assert_allclose(metrics.approx_kl, np.zeros(U), atol=1e-10)


def test_training_with_normalization_is_reproducible(train_weather, trained):
    again, _ = train_weather(Hyperparams(), jax.random.key(0))
    chex.assert_trees_all_equal(again.collector, trained[0].collector)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_stay_visible(bad):
    statistics = merge(init_statistics((3,)), jax.random.normal(jax.random.key(0), (9, 3)))
    found = normalize(statistics, jnp.array([[1.0, bad, -99.0]]))
    np.testing.assert_array_equal(np.isfinite(found), [[True, False, True]])
    assert found[0, 2] == -CLIP
