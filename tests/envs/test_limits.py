"""Time limits of ours: they truncate, never terminate, and change nothing before they are reached."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.conformance import check
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.envs.limits import limited
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete

NUM_STEPS = 40
NEVER = 1000  # steps, more than are taken


def walk(length=NEVER):
    """Counts its steps, which it shows, and terminates with the last of them."""

    def reset(key):
        place = jax.random.uniform(key)
        return (jnp.int32(0), place), jnp.stack([0.0, place])

    def step(key, state, action):
        time, place = state[0] + 1, state[1]
        observation = jnp.stack([time.astype(jnp.float32), place])
        return (time, place), Transition(observation, place, time >= length, jnp.array(False))

    return Dynamics(reset, step, Box((2,)), Discrete(2))


def play(dynamics, num_envs=3):
    """The time steps of a batch that resets itself, [T, N, ...]."""
    environment = make_batched(dynamics)
    key = jax.random.key(0)

    def step(state, key):
        return environment.step(environment.draw_one(num_envs, key), state, jnp.zeros(num_envs, int))

    state, _ = environment.reset(num_envs, key)
    return jax.lax.scan(step, state, jax.random.split(key, NUM_STEPS))[1]


@pytest.mark.parametrize("limit", [1, 2, 5, 6, NEVER])
def test_an_episode_ends_with_the_task_or_at_the_limit_whichever_comes_first(limit):
    lengths = np.array([1, 2, 5, 7, NEVER])
    time_steps = jax.jit(jax.vmap(lambda length: play(limited(walk(length), limit))))(lengths)
    times = time_steps.final_observation[..., 0]  # [lengths, T, N]
    np.testing.assert_array_equal(time_steps.truncated, times >= limit)
    np.testing.assert_array_equal(time_steps.terminated, times >= lengths[:, None, None])
    expected = 1 + np.arange(NUM_STEPS) % np.minimum(lengths, limit)[:, None]
    np.testing.assert_array_equal(times, np.broadcast_to(expected[..., None], times.shape))


@pytest.mark.parametrize(("length", "limit"), [(5, 5), (NEVER, 3)])
def test_the_last_observation_is_the_successor_and_the_next_one_a_first(length, limit):
    time_steps = play(limited(walk(length), limit))
    ended = np.asarray(time_steps.truncated)
    assert ended.any()
    assert (time_steps.final_observation[..., 0][ended] == limit).all()
    assert (time_steps.observation[..., 0][ended] == 0).all()
    # A new episode begins somewhere else than the one that was cut off.
    assert (time_steps.observation[..., 1][ended] != time_steps.final_observation[..., 1][ended]).all()


def test_no_limit_leaves_the_environment_as_it_is():
    dynamics = walk(3)
    assert limited(dynamics, None) is dynamics


def test_limits_can_be_nested_and_the_shorter_one_counts():
    one, other = (play(limited(limited(walk(), a), b)) for a, b in ((3, 9), (9, 3)))
    np.testing.assert_array_equal(one.truncated, other.truncated)
    assert one.truncated.sum() == 3 * (NUM_STEPS // 3)


def test_a_truncation_of_the_environment_itself_is_kept():
    dynamics = walk()

    def step(key, state, action):
        state, transition = dynamics.step(key, state, action)
        return state, transition._replace(truncated=state[0] >= 2)

    assert play(limited(dynamics._replace(step=step), 5)).truncated[1::2].all()


@pytest.mark.parametrize("limit", [0, -3])
def test_a_limit_of_no_steps_is_refused(limit):
    with pytest.raises(UsageError, match=f"time_limit = {limit} is not at least 1; give"):
        limited(walk(), limit)


@pytest.mark.parametrize("pool", [None, 4])
def test_an_environment_with_a_limit_keeps_to_the_contract(pool):
    check(make_batched(limited(walk(7), 5)._replace(reset_pool=pool)))
