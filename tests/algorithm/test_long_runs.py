"""Runs of more steps than 32 bits can count: they are as they would be if all numbers were wide enough."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.episodes import WINDOW, init_episodes, record_step, summarize
from ppo_jax.algorithm.normalization import init_statistics, merge
from ppo_jax.algorithm.train import advance, make_ppo, train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count
from ppo_jax.errors import UsageError
from ppo_jax.validation import MAX_TIMESTEPS
from tests.support import probes

BATCH = 24  # divides no power of two
CONFIG = Config("a probe", 4, 6, BATCH, num_minibatches=2, num_epochs=1, hidden_sizes=(4,))
HORIZON = 10**15 // BATCH
HYPER = Hyperparams(learning_rate=0.5, final_learning_rate=0.1)
CHUNK = 4


@pytest.fixture(scope="module")
def go():
    """`go(num_done) -> (TrainState, Metrics)`, from so many updates of a run of 1e15 steps."""
    ppo = make_ppo(CONFIG, probes.policy_and_value())
    state = ppo.init(HYPER, jax.random.key(0))
    run = jax.jit(partial(advance, ppo, CHUNK, HYPER))
    return lambda done: run(state._replace(num_updates=Count.of(done), horizon=Count.of(HORIZON)))


@pytest.mark.parametrize("steps", [2**31, 2**32, 2**33, 2**31 * BATCH, 2**32 * BATCH, 10**15])
def test_steps_are_counted_exactly_across_the_limits_of_32_bits(go, steps):
    done = steps // BATCH - 2
    state, metrics = go(done)
    assert metrics.env_steps.tolist() == [BATCH * (done + update) for update in range(1, CHUNK + 1)]
    assert int(state.num_updates) == done + CHUNK
    assert int(state.horizon) == HORIZON


@pytest.mark.parametrize("done", [2**31 - 2, 2**32 - 2, HORIZON // 3, HORIZON - CHUNK])
def test_the_learning_rate_falls_to_its_end_over_all_of_them(go, done):
    _, metrics = go(done)
    progress = (done + np.arange(CHUNK)) / HORIZON
    np.testing.assert_allclose(metrics.learning_rate, 0.5 + (0.1 - 0.5) * progress, rtol=1e-6)


@pytest.mark.parametrize("finished", [2**31 - 1, 2**31 - 31, 1_000_017])
def test_the_window_of_episodes_goes_on_from_any_number_of_them(finished):
    """The same ends, with as many episodes before as int32 holds, and with their remainder."""
    rng = np.random.default_rng(0)
    reward, done = rng.normal(size=(6, 20, 8)).astype(np.float32), rng.random((6, 20, 8)) < 0.6

    def windows(finished):
        state = init_episodes(8)._replace(finished=jnp.int32(finished), window=jnp.arange(100.0))
        for rewards, dones in zip(reward, done, strict=True):
            state, ended = jax.lax.scan(lambda s, xs: record_step(s, *xs), state, (rewards, dones))
            state, summary = summarize(state, ended)
            assert WINDOW <= int(state.finished) < 2 * WINDOW + dones.size
            yield state.window.tolist(), float(summary.window_return)

    assert list(windows(finished)) == list(windows(WINDOW + finished % WINDOW))


def test_an_episode_that_never_ends_has_a_length_that_stays():
    state = init_episodes(2)._replace(running_length=jnp.array([2**31 - 2, 5], jnp.int32))
    for expected in ([2**31 - 1, 6], [2**31 - 1, 7]):
        state, ended = record_step(state, jnp.ones(2), jnp.zeros(2, bool))
        assert ended.episode_length.tolist() == state.running_length.tolist() == expected


def merged(num_samples, mean, variance, samples):
    """The mean and the variance of all samples, in float64, and with a count that never ends."""
    samples, total = samples.astype(np.float64), num_samples + len(samples)
    delta = samples.mean() - mean
    both = num_samples * variance + len(samples) * samples.var()
    weight = num_samples * len(samples) / total
    return mean + delta * len(samples) / total, (both + delta**2 * weight) / total


@pytest.mark.parametrize("num_samples", [2**31 - 9, 2**31, 2**32 - 2**16 - 1, 2**32 - 2**15, 2**32 - 1])
def test_statistics_of_billions_of_samples_follow_those_that_come(num_samples):
    """So many samples at a time, and so far away, that float32 can hold what they change."""
    samples = (1e5 * np.random.default_rng(0).normal(3, 1, 2**16)).astype(np.float32)
    before = init_statistics(())._replace(
        num_samples=jnp.uint32(num_samples), mean=jnp.float32(0.5), variance=jnp.float32(2.0)
    )
    after = jax.jit(merge)(before, samples)
    assert int(after.num_samples) == min(num_samples + 2**16, 2**32 - 1)
    mean, variance = merged(num_samples, 0.5, 2.0, samples)
    np.testing.assert_allclose([after.mean, after.variance], [mean, variance], rtol=1e-4)


def test_statistics_at_their_limit_stay_those_of_a_stationary_source():
    batches = np.random.default_rng(0).normal(3, 2, (2000, 2**10)).astype(np.float32)
    full = init_statistics(())._replace(
        num_samples=jnp.uint32(2**32 - 5), mean=jnp.float32(3), variance=jnp.float32(4)
    )
    after, _ = jax.lax.scan(lambda statistics, batch: (merge(statistics, batch), None), full, batches)
    assert int(after.num_samples) == 2**32 - 1
    np.testing.assert_allclose([after.mean, after.variance], [3, 4], rtol=1e-3)


def test_one_loop_keeps_as_many_metrics_as_it_can_number():
    config = Config("a probe", 4, 6, MAX_TIMESTEPS, num_minibatches=2, hidden_sizes=(4,))
    with pytest.raises(UsageError, match=r"updates are more than 2147483647.*ppo_jax\.run"):
        train(config, HYPER, jax.random.key(0), probes.policy_and_value())
