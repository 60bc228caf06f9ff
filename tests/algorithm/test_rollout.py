"""What a rollout returns: consistent trajectories, the policy's own log-probabilities, exact statistics."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.rollout import FEW_ENVS, collect, init_collector, steps_per_turn
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import make_environment
from ppo_jax.networks.flax import make_network
from tests.support import probes

CARTPOLE = make_environment("CartPole-v1")


def setup(environment, num_steps, num_envs):
    """A jitted rollout, and its arguments: a key, parameters, and where the environments stand."""
    config = Config(num_envs=num_envs, num_steps=num_steps, hidden_sizes=(8,))
    network = make_network(config, environment.observation_space, environment.action_space)
    params = jax.tree.map(lambda x: x * 5, network.init(jax.random.key(1)))  # far from uniform
    collector = init_collector(config, environment, network, jax.random.key(2))

    @jax.jit
    def run(key, collector):
        return collect(config, environment, network, Hyperparams(), key, params, collector)

    return network, params, collector, run


@pytest.fixture(scope="module")
def rolled():
    """A rollout of CartPole long enough for episodes to end."""
    network, params, before, run = setup(CARTPOLE, num_steps=64, num_envs=3)
    after, trajectory, summary = run(jax.random.key(3), before)
    return network, params, before, after, trajectory, summary


@pytest.mark.parametrize(("num_steps", "num_envs"), [(1, 1), (1, 3), (5, 1), (5, 3)])
def test_a_trajectory_is_time_major(num_steps, num_envs):
    *_, collector, run = setup(probes.counter(time_limit=3), num_steps, num_envs)
    after, trajectory, _ = run(jax.random.key(0), collector)
    observations = [trajectory.observation, trajectory.final_observation]
    chex.assert_shape(observations, (num_steps, num_envs, 1))
    scalars = [trajectory.action, trajectory.log_prob, *trajectory[4:8]]
    chex.assert_shape(scalars, (num_steps, num_envs))
    chex.assert_trees_all_equal_shapes_and_dtypes(after, collector)


def test_a_trajectory_has_the_documented_dtypes(rolled):
    trajectory = rolled[4]
    chex.assert_type([trajectory.action], jnp.int32)
    chex.assert_type([trajectory.terminated, trajectory.done, trajectory.start], bool)
    floats = [trajectory.observation, trajectory.final_observation, trajectory.log_prob, trajectory.reward]
    chex.assert_type(floats, jnp.float32)


def test_the_log_probability_is_the_policys_own_of_the_action_that_was_sampled(rolled):
    network, params, _, _, trajectory, _ = rolled
    policy = network.policy(params, trajectory.observation)
    np.testing.assert_allclose(trajectory.log_prob, policy.log_prob(trajectory.action), atol=1e-6)
    assert len(np.unique(trajectory.action)) == 2
    other = policy.log_prob(1 - trajectory.action)
    assert (np.abs(trajectory.log_prob - other) > 1e-3).mean() > 0.9  # the test could tell them apart


def test_actions_are_sampled_as_often_as_the_policy_says():
    network, params, collector, run = setup(probes.constant_reward(), num_steps=256, num_envs=16)
    _, trajectory, _ = run(jax.random.key(0), collector)
    probability = np.exp(network.policy(params, jnp.zeros(1)).log_probs[1])
    assert np.mean(trajectory.action) == pytest.approx(probability, abs=5 * 0.5 / np.sqrt(256 * 16))


def test_a_trajectory_starts_and_ends_where_the_environments_stand(rolled):
    _, _, before, after, trajectory, _ = rolled
    np.testing.assert_array_equal(trajectory.observation[0], before.observation)
    goes_on = ~np.asarray(trajectory.done[-1])
    np.testing.assert_allclose(
        trajectory.final_observation[-1][goes_on], after.observation[goes_on], atol=1e-6
    )


def test_the_successor_differs_from_the_next_observation_exactly_where_an_episode_ended(rolled):
    trajectory = rolled[4]
    step_apart = np.abs(trajectory.final_observation[:-1] - trajectory.observation[1:]).max(axis=-1)
    differs = step_apart > 1e-6  # XLA computes the two in different kernels, which may round differently
    assert differs.any()
    np.testing.assert_array_equal(differs, trajectory.done[:-1])


def test_done_is_terminated_in_an_environment_without_a_time_limit_and_not_with_one():
    for environment, terminates in [(probes.counter(3), True), (probes.endless_reward(3), False)]:
        *_, collector, run = setup(environment, num_steps=6, num_envs=2)
        _, trajectory, _ = run(jax.random.key(0), collector)
        ends = np.tile([[False], [False], [True]], (2, 2))
        np.testing.assert_array_equal(trajectory.done, ends)
        np.testing.assert_array_equal(trajectory.terminated, ends & terminates)


def test_an_episode_starts_at_the_first_step_of_all_and_after_every_end(rolled):
    _, _, _, after, trajectory, _ = rolled
    assert trajectory.start[0].all()
    np.testing.assert_array_equal(trajectory.start[1:], trajectory.done[:-1])
    np.testing.assert_array_equal(after.start, trajectory.done[-1])


def test_a_trajectory_of_known_steps_is_as_expected():
    *_, collector, run = setup(probes.counter(time_limit=3), num_steps=5, num_envs=1)
    _, trajectory, summary = run(jax.random.key(0), collector)
    assert trajectory.observation[:, 0, 0].tolist() == [0, 1, 2, 0, 1]
    assert trajectory.final_observation[:, 0, 0].tolist() == [1, 2, 3, 1, 2]
    assert trajectory.reward[:, 0].tolist() == [1, 2, 3, 1, 2]
    assert (int(summary.num_ended), float(summary.mean_return), float(summary.mean_length)) == (1, 6.0, 3.0)


def test_each_copy_acts_and_starts_independently(rolled):
    trajectory = rolled[4]
    assert len(np.unique(trajectory.action, axis=1).T) == 3
    assert len(np.unique(trajectory.observation[0], axis=0)) == 3


def test_two_rollouts_count_the_episodes_of_one_that_is_twice_as_long():
    *_, collector, run = setup(probes.counter(time_limit=3), num_steps=8, num_envs=2)
    middle, _, first = run(jax.random.key(0), collector)
    end, _, second = run(jax.random.key(1), middle)
    *_, collector, run = setup(probes.counter(time_limit=3), num_steps=16, num_envs=2)
    whole_end, _, whole = run(jax.random.key(2), collector)
    assert (int(first.num_ended), int(second.num_ended), int(whole.num_ended)) == (4, 6, 10)
    assert float(first.mean_length) == float(second.mean_length) == float(whole.mean_length) == 3.0
    assert int(end.episodes.finished) == 10
    chex.assert_trees_all_equal(end, whole_end)


def test_the_means_of_a_rollout_are_those_of_the_episodes_in_its_trajectory(rolled):
    trajectory, summary = rolled[4:]
    lengths = [np.diff(np.flatnonzero(done), prepend=-1) for done in np.asarray(trajectory.done).T]
    lengths = np.concatenate(lengths)
    assert int(summary.num_ended) == len(lengths)
    assert float(summary.mean_length) == pytest.approx(lengths.mean())
    assert float(summary.mean_return) == pytest.approx(lengths.mean())  # CartPole pays 1 a step


@pytest.mark.parametrize("room", [1, 180, 2**20])
def test_drawing_for_a_few_steps_at_a_time_keeps_the_trajectory_in_order(monkeypatch, room):
    """With room for one step, three, and all: blocks join in the order of time, on one unbroken path."""
    monkeypatch.setattr("ppo_jax.fast.loops.DRAWN_BYTES", room)
    *_, collector, run = setup(probes.counter(time_limit=5), num_steps=12, num_envs=2)
    _, trajectory, _ = run(jax.random.key(0), collector)
    np.testing.assert_array_equal(trajectory.observation[:, 0, 0], np.arange(12) % 5)
    np.testing.assert_array_equal(trajectory.done[:, 0], np.arange(12) % 5 == 4)


@pytest.mark.parametrize("num_steps", [1, 2, 7])
def test_two_steps_per_turn_of_the_loop_are_the_same_steps_as_one(num_steps, monkeypatch):
    rollouts = []
    for few_envs, steps in ((0, 1), (FEW_ENVS, 2)):
        monkeypatch.setattr("ppo_jax.algorithm.rollout.FEW_ENVS", few_envs)
        assert steps_per_turn(Config(num_envs=3)) == steps
        *_, collector, run = setup(CARTPOLE, num_steps, num_envs=3)
        rollouts.append(run(jax.random.key(0), collector))
    chex.assert_trees_all_close(*rollouts, rtol=1e-5, atol=1e-6)


def test_actions_of_successive_blocks_are_drawn_anew(monkeypatch):
    monkeypatch.setattr("ppo_jax.fast.loops.DRAWN_BYTES", 1)
    *_, collector, run = setup(probes.constant_reward(), num_steps=256, num_envs=4)
    _, trajectory, _ = run(jax.random.key(0), collector)
    assert len(np.unique(trajectory.action, axis=0)) == 16  # all patterns of four coins come up
