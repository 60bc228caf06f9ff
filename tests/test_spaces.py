"""Bounds of actions: what a policy samples is learned from, what the environment gets is within them."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.estimate import estimate
from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.rollout import collect, init_collector
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Box, Discrete, MultiDiscrete, bounds, clip
from tests.support import oracles_continuous as oracles

ACTIONS = jnp.array([[-3.0, -0.5, 0.0], [0.5, 3.0, 1e9]])


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (-1.0, 1.0, [[-1.0, -0.5, 0.0], [0.5, 1.0, 1.0]]),
        ((-4.0, 0.0, 1.0), (-1.0, 2.0, 3.0), [[-3.0, 0.0, 1.0], [-1.0, 2.0, 3.0]]),
        (-math.inf, (0.0, math.inf, 5.0), [[-3.0, -0.5, 0.0], [0.0, 3.0, 5.0]]),
        (-math.inf, math.inf, ACTIONS),
    ],
)
def test_actions_of_a_box_are_moved_to_the_nearest_within_its_bounds(low, high, expected):
    np.testing.assert_array_equal(clip(Box((3,), low, high), ACTIONS), expected)


def test_bounds_for_each_element_are_given_in_row_major_order():
    space = Box((2, 2), low=(0.0, 1.0, 2.0, 3.0), high=9.0)
    np.testing.assert_array_equal(
        clip(space, jnp.full((5, 2, 2), -1.0)), np.tile([[0, 1], [2, 3]], (5, 1, 1))
    )
    low, high = bounds(space, ndim=4)
    assert low.shape == high.shape == (1, 1, 2, 2)


@pytest.mark.parametrize("space", [Discrete(2), MultiDiscrete((2, 3))])
def test_whole_numbers_are_left_as_they_are(space):
    action = jnp.array([[7, -7]])
    assert clip(space, action) is action


@pytest.mark.parametrize("space", [Discrete(2), MultiDiscrete((2, 3)), Box((2,), (0.0, 1.0), 2.0)])
def test_spaces_can_be_static_arguments(space):
    assert hash(space) == hash(type(space)(*space))


# An environment that shows the action it has received, and pays for those out of bounds


LOW, HIGH = (-0.5, -2.0), (0.25, 1.0)


def _reset(key):
    return jnp.zeros((), jnp.int32), jnp.zeros(2)


def _step(key, time, action):
    is_outside = jnp.any((action < jnp.array(LOW)) | (action > jnp.array(HIGH)))
    transition = Transition(action, is_outside.astype(jnp.float32), terminated=time == 4, truncated=time > 4)
    return time + 1, transition


RECORDER = make_batched(Dynamics(_reset, _step, Box((2,)), Box((2,), LOW, HIGH)))
CONFIG = Config(env="recorder", num_envs=3, num_steps=20, hidden_sizes=(4,))
NETWORK = make_network(CONFIG, RECORDER.observation_space, RECORDER.action_space)


def wide_params():
    """A policy whose deviation is twice the width between the bounds, so that most actions are outside."""
    params = jax.jit(NETWORK.init)(jax.random.key(0))
    return params | {"log_std": jnp.full(2, jnp.log(4.0))}


@jax.jit
def play(key):
    """A trajectory, and the samples to learn from that are made of it."""
    params = wide_params()
    collector = init_collector(CONFIG, RECORDER, NETWORK, key)
    _, trajectory, _ = collect(CONFIG, RECORDER, NETWORK, Hyperparams(), key, params, collector)
    return trajectory, estimate(CONFIG, NETWORK, Hyperparams(), params, trajectory)


@pytest.fixture(scope="module")
def collected():
    return play(jax.random.key(0))


def test_the_environment_receives_the_action_within_its_bounds(collected):
    trajectory, _ = collected
    received = trajectory.final_observation
    np.testing.assert_array_equal(received, np.clip(trajectory.action, np.float32(LOW), np.float32(HIGH)))
    np.testing.assert_array_equal(trajectory.reward, np.zeros((20, 3)))
    assert np.any(np.asarray(trajectory.action) != received, axis=-1).mean() > 0.5


def test_the_policy_learns_from_the_action_as_it_was_sampled(collected):
    trajectory, samples = collected
    np.testing.assert_array_equal(samples.action, trajectory.action)
    policy = NETWORK.policy(wide_params(), trajectory.observation)
    expected = oracles.gaussian_log_prob(policy.mean, policy.log_std, trajectory.action)
    np.testing.assert_allclose(samples.log_prob, expected, rtol=1e-4, atol=1e-5)


def test_an_evaluation_keeps_actions_within_the_bounds_too():
    run = partial(evaluate, CONFIG, num_episodes=20, greedy=False, environment=RECORDER)
    episodes = jax.jit(run)(jax.random.key(1), wide_params())
    np.testing.assert_array_equal(episodes.episode_length, np.full(20, 5))
    np.testing.assert_array_equal(episodes.episode_return, np.zeros(20))
