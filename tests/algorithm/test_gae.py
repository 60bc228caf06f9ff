"""Advantages against the definition (Eqs. 11 and 12), and what an episode's end does to them."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.gae import gae
from ppo_jax.errors import UsageError
from tests.support import oracles

GAMMA, LAMBDA = 0.9, 0.8


def random_stream(shape, seed=0):
    """Rewards, values and values of the successors, float32."""
    return np.random.default_rng(seed).normal(size=(3, *shape)).astype(np.float32)


def flags(shape, seed=0, probability=0.1):
    """Terminated and truncated, bool."""
    return np.random.default_rng(seed).random((2, *shape)) < probability


def assert_matches_definition(stream, terminated, truncated, gamma, gae_lambda):
    actual = gae(*stream, terminated, terminated | truncated, gamma, gae_lambda)
    expected = oracles.gae(*stream, terminated, truncated, np.squeeze(gamma), np.squeeze(gae_lambda))
    np.testing.assert_array_less(np.abs(actual - expected), 1e-5 * (1 + np.abs(expected)))


def test_every_pattern_of_ends_over_six_steps_matches_the_definition():
    codes = np.array(list(itertools.product(range(4), repeat=6))).T  # [6, 4096]
    terminated, truncated = codes & 1 == 1, codes & 2 == 2
    assert_matches_definition(random_stream(codes.shape), terminated, truncated, GAMMA, LAMBDA)


def test_ten_thousand_random_streams_match_the_definition():
    shape = (40, 10_000)
    gamma, gae_lambda = np.random.default_rng(1).random((2, 1, shape[1])).astype(np.float32)
    assert_matches_definition(random_stream(shape), *flags(shape), gamma, gae_lambda)


def test_lambda_zero_is_the_td_error():
    rewards, values, next_values = random_stream((7, 5))
    terminated, truncated = flags((7, 5), probability=0.3)
    advantages = gae(rewards, values, next_values, terminated, terminated | truncated, GAMMA, 0.0)
    td_error = rewards + GAMMA * np.where(terminated, 0, next_values) - values
    np.testing.assert_allclose(advantages, td_error, rtol=1e-5, atol=1e-6)


def test_lambda_one_is_the_discounted_return_minus_the_value():
    rewards, values, next_values = random_stream((30,))
    next_values[:-1] = values[1:]  # one unbroken episode
    never = np.zeros(30, bool)
    advantages = gae(rewards, values, next_values, never, never, GAMMA, 1.0)
    returns = [
        sum(GAMMA**k * reward for k, reward in enumerate(rewards[t:])) + GAMMA ** (30 - t) * next_values[-1]
        for t in range(30)
    ]
    np.testing.assert_allclose(advantages, returns - values, rtol=1e-4, atol=1e-5)


def test_truncation_cuts_the_trace_but_keeps_the_bootstrap():
    rewards, values, next_values = random_stream((3,))
    truncated = np.array([False, True, False])
    advantages = gae(rewards, values, next_values, np.zeros(3, bool), truncated, GAMMA, LAMBDA)
    keeps_the_bootstrap = rewards[1] + GAMMA * next_values[1] - values[1]
    np.testing.assert_allclose(advantages[1], keeps_the_bootstrap, rtol=1e-6)


def test_termination_cuts_the_trace_and_the_bootstrap():
    rewards, values, next_values = random_stream((3,))
    terminated = np.array([False, True, False])
    advantages = gae(rewards, values, next_values, terminated, terminated, GAMMA, LAMBDA)
    np.testing.assert_allclose(advantages[1], rewards[1] - values[1], rtol=1e-6)


def test_terminated_wins_over_truncated():
    stream = random_stream((4, 3))
    terminated = flags((4, 3), probability=0.5)[0]
    both = gae(*stream, terminated, terminated | True, GAMMA, LAMBDA)
    rewards, values, _ = stream
    np.testing.assert_allclose(both[terminated], (rewards - values)[terminated], rtol=1e-6)


def test_nothing_leaks_from_one_episode_into_the_one_before():
    stream = random_stream((6,))
    ends = np.arange(6) == 2
    before = gae(*stream, ends & False, ends, GAMMA, LAMBDA)
    stream[:, 3:] += 1000
    np.testing.assert_array_equal(gae(*stream, ends & False, ends, GAMMA, LAMBDA)[:3], before[:3])


@pytest.mark.parametrize("shape", [(1,), (8,), (1, 1), (8, 1), (1, 4), (8, 4), (8, 4, 2)])
def test_advantages_have_the_shape_of_the_rewards_and_are_float32(shape):
    terminated, truncated = flags(shape)
    advantages = gae(*random_stream(shape), terminated, terminated | truncated, GAMMA, LAMBDA)
    chex.assert_shape(advantages, shape)
    chex.assert_type(advantages, jnp.float32)


@pytest.mark.parametrize("shape", [(1,), (1, 1), (5, 3)])
def test_if_everything_terminates_the_advantage_is_reward_minus_value(shape):
    rewards, values, next_values = random_stream(shape)
    always = np.ones(shape, bool)
    advantages = gae(rewards, values, next_values, always, always, GAMMA, LAMBDA)
    np.testing.assert_allclose(advantages, rewards - values, rtol=1e-6)


def test_a_vmap_over_environments_is_the_batch():
    terminated, truncated = flags((8, 4))
    arrays = (*random_stream((8, 4)), terminated, terminated | truncated)
    mapped = jax.vmap(lambda *columns: gae(*columns, GAMMA, LAMBDA), in_axes=1, out_axes=1)(*arrays)
    np.testing.assert_allclose(mapped, gae(*arrays, GAMMA, LAMBDA), rtol=1e-6)


@pytest.mark.parametrize("argument", range(5))
def test_an_array_of_another_shape_is_refused(argument):
    arrays = [np.zeros((4, 2), np.float32)] * 3 + [np.zeros((4, 2), bool)] * 2
    arrays[argument] = arrays[argument][:, :1]
    with pytest.raises(UsageError, match="shape"):
        gae(*arrays, GAMMA, LAMBDA)


def test_a_terminal_successor_of_any_value_is_ignored():
    rewards, values, next_values = random_stream((3,))
    always = np.ones(3, bool)
    advantages = gae(rewards, values, next_values * np.nan, always, always, GAMMA, LAMBDA)
    chex.assert_tree_all_finite(advantages)
