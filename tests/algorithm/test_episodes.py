"""Episode statistics against a slow loop over steps and copies, for random ends of episodes."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.episodes import WINDOW, init_episodes, record_step, summarize


class Oracle:
    """The same statistics with Python lists, in float64."""

    def __init__(self, num_envs):
        self.running = [[] for _ in range(num_envs)]
        self.returns = []

    def update(self, reward, done):
        """Goes through one update [T, N]; returns count, mean return, mean length, window return."""
        ended = []
        for rewards, dones in zip(reward, done, strict=True):
            for copy, running in enumerate(self.running):
                running.append(float(rewards[copy]))
                if dones[copy]:
                    ended.append((sum(running), len(running)))
                    running.clear()
        self.returns += [total for total, _ in ended]
        last = self.returns[-100:]
        means = np.mean(ended, axis=0) if ended else (np.nan, np.nan)
        return len(ended), *means, np.mean(last) if len(last) == 100 else np.nan


@jax.jit
def update(state, reward, done):
    state, ended = jax.lax.scan(lambda s, xs: record_step(s, *xs), state, (reward, done))
    return *summarize(state, ended), ended


def play(seed, num_updates, num_steps, num_envs, end_probability):
    """Random rewards and ends, [U, T, N]; rewards are small integers, so float32 sums are exact."""
    rng = np.random.default_rng(seed)
    shape = (num_updates, num_steps, num_envs)
    return rng.integers(-3, 4, shape).astype(np.float32), rng.random(shape) < end_probability


def summaries(reward, done):
    state = init_episodes(reward.shape[2])
    for rewards, dones in zip(reward, done, strict=True):
        state, summary, _ = update(state, rewards, dones)
        assert summary.metrics == {}
        yield summary


@pytest.mark.parametrize(
    ("num_envs", "num_steps", "end_probability"),
    [
        pytest.param(3, 16, 0.2, id="several copies"),
        pytest.param(1, 16, 0.3, id="one copy"),
        pytest.param(5, 1, 0.5, id="one step"),
        pytest.param(4, 16, 0.02, id="rare ends, updates without any"),
        pytest.param(16, 32, 0.4, id="more than 100 in one update"),
        pytest.param(8, 25, 1.0, id="every step is an end"),
    ],
)
def test_counts_and_means_are_exactly_those_of_a_loop(num_envs, num_steps, end_probability):
    reward, done = play(num_envs, 20, num_steps, num_envs, end_probability)
    oracle = Oracle(num_envs)
    expected = [oracle.update(*one) for one in zip(reward, done, strict=True)]
    found = np.array([summary[:4] for summary in summaries(reward, done)])
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_returns_and_lengths_at_every_end_are_exactly_those_of_a_loop():
    reward, done = play(0, 1, 64, 3, 0.15)
    *_, ended = update(init_episodes(3), reward[0], done[0])
    for copy in range(3):
        ends = np.flatnonzero(done[0, :, copy])
        starts = np.concatenate([[0], ends[:-1] + 1])
        lengths = ends - starts + 1
        returns = [reward[0, i : j + 1, copy].sum() for i, j in zip(starts, ends, strict=True)]
        np.testing.assert_array_equal(ended.episode_length[ends, copy], lengths)
        np.testing.assert_array_equal(ended.episode_return[ends, copy], returns)


def test_the_window_holds_the_newest_returns_by_step_and_then_by_copy():
    """200 episodes of one step in one update; episode i returns i, and the first 100 are forgotten."""
    reward = np.arange(200, dtype=np.float32).reshape(50, 4)
    state, summary, _ = update(init_episodes(4), reward, np.ones((50, 4), bool))
    assert sorted(state.window.tolist()) == list(range(100, 200))
    assert float(summary.window_return) == np.arange(100, 200).mean()
    assert float(summary.mean_return) == np.arange(200).mean()


def test_the_oldest_episode_leaves_the_window_first():
    state = init_episodes(1)
    for value in (1.0, 2.0, 3.0):
        reward = np.full((50, 1), value, np.float32)
        state, summary, _ = update(state, reward, np.ones((50, 1), bool))
    assert sorted({*state.window.tolist()}) == [2.0, 3.0]
    assert float(summary.window_return) == 2.5


def test_every_update_may_end_more_than_a_hundred_episodes():
    reward, done = play(1, 5, 64, 8, 0.5)
    oracle = Oracle(8)
    for one, summary in zip(zip(reward, done, strict=True), summaries(reward, done), strict=True):
        assert oracle.update(*one)[3] == pytest.approx(float(summary.window_return), rel=1e-6)
        assert int(summary.num_ended) > WINDOW


@pytest.mark.parametrize(("episodes", "known"), [(99, False), (100, True), (101, True)])
def test_the_window_has_no_mean_before_it_is_full(episodes, known):
    ones = np.ones((episodes, 1))
    _, summary, _ = update(init_episodes(1), ones.astype(np.float32), ones.astype(bool))
    assert int(summary.num_ended) == episodes
    assert np.isfinite(summary.window_return) == known


def test_an_update_in_which_no_episode_ended_has_a_count_of_0_and_no_means():
    reward = np.ones((5, 2), np.float32)
    state, summary, _ = update(init_episodes(2), reward, np.zeros((5, 2), bool))
    assert int(summary.num_ended) == 0
    assert np.isnan([summary.mean_return, summary.mean_length, summary.window_return]).all()
    assert state.running_return.tolist() == [5.0, 5.0]
    assert state.running_length.tolist() == [5, 5]


def test_the_window_keeps_its_mean_through_an_update_without_ends():
    ones = np.ones((100, 1), np.float32)
    state, _, _ = update(init_episodes(1), ones, ones.astype(bool))
    _, summary, _ = update(state, ones, np.zeros((100, 1), bool))
    assert int(summary.num_ended) == 0
    assert float(summary.window_return) == 1.0


def test_shapes_and_dtypes_are_as_documented():
    state, summary, ended = update(init_episodes(3), np.ones((4, 3), np.float32), np.ones((4, 3), bool))
    leaves = jax.tree.leaves(state)
    chex.assert_shape(leaves, [(3,), (3,), (WINDOW,), ()])
    chex.assert_type(leaves, [jnp.float32, jnp.int32, jnp.float32, jnp.int32])
    chex.assert_shape(ended, (4, 3))
    chex.assert_type(ended, [jnp.float32, jnp.int32, bool])
    chex.assert_shape(summary[:4], ())
    chex.assert_type(summary[:4], [jnp.int32, jnp.float32, jnp.float32, jnp.float32])
