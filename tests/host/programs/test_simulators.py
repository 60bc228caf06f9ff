"""Training and evaluating in simulators: the values of a compiled program, and what is refused."""

import dataclasses

import chex
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm import rollout
from ppo_jax.algorithm.train import make_ppo
from ppo_jax.envs import gymnasium as adapter
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.envs.make import make_simulators
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import chunks, devices, evaluation, simulators
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from ppo_jax.spaces import Box, Discrete
from tests.support.bits import digest

CONFIG = ppo_jax.Config(
    env="gymnasium:CartPole-v1",
    num_envs=4,
    num_steps=8,
    total_timesteps=32 * 4,
    num_minibatches=2,
    num_epochs=2,
    hidden_sizes=(8,),
    normalize_observations=True,
    normalize_rewards=True,
)
HYPER = ppo_jax.Hyperparams(learning_rate=1e-2)


def corridor() -> Dynamics:
    """Walks to either end, without any chance: the task ends at the right, and a limit cuts it off."""

    def observe(state):
        return jnp.stack([state[0], state[1]]).astype(jnp.float32)

    def reset(key):
        return jnp.zeros(2, jnp.int32), jnp.zeros(2)

    def step(key, state, action):
        state = jnp.stack([state[0] + jnp.where(action == 1, 1, -1), state[1] + 1])
        reward = state[0].astype(jnp.float32)
        return state, Transition(observe(state), reward, state[0] >= 2, state[1] >= 5)

    return Dynamics(reset, step, Box((2,)), Discrete(2))


class Played:
    """Simulators that play the corridor."""

    def __init__(self, name, arguments, num_envs):
        self._environment, self._num_envs = make_batched(corridor()), num_envs

    def reset(self, seed):
        self._state, observation = self._environment.reset(self._num_envs, jax.random.key(seed))
        return np.asarray(observation)

    def step(self, action):
        drawn = self._environment.draw_one(self._num_envs, jax.random.key(0))
        self._state, step = self._environment.step(drawn, self._state, action)
        return jax.device_get(step)


@pytest.mark.parametrize("memory_size", [0, pytest.param(4, marks=pytest.mark.long)])
def test_the_host_takes_the_steps_of_the_compiled_program(monkeypatch, memory_size):
    config = dataclasses.replace(CONFIG, memory_size=memory_size)
    ppo_jax.register("corridor on the host", make_batched(corridor()))
    config = dataclasses.replace(config, env="corridor on the host")

    def noise_of_steps(config, space, key, num_steps):  # from the key with which `scan_drawn` draws it
        return rollout.noise_of_steps(config, space, jax.random.split(key, (1, 2))[0, 0], num_steps)

    monkeypatch.setattr(simulators, "make_simulators", Played)
    monkeypatch.setattr(simulators, "noise_of_steps", noise_of_steps)
    program = simulators.make_program(config, HYPER)
    state, _ = chunks.begin(program, HYPER, seed=0)
    ppo = make_ppo(config)
    expected, step = ppo.init(HYPER, jax.random.key(0)), jax.jit(ppo.step)
    expected = expected._replace(horizon=state.horizon)
    for _ in range(3):
        state, metrics = program.advance(HYPER, state, np.int32(1))
        expected, of_update = step(HYPER, expected)
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[0], metrics), of_update, rtol=1e-4, atol=1e-5)
    assert of_update.episodes > 0
    chex.assert_trees_all_close(state.learner, expected.learner, rtol=1e-4, atol=1e-5)
    kept = {"environment": (), "memory": ()}
    of_both = [one.collector._replace(**kept) for one in (state, expected)]
    chex.assert_trees_all_close(*of_both, rtol=1e-4, atol=1e-5)


class Ending(gymnasium.Env):
    """Counts its steps; the task ends after 3 of them if the action is 1."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float64)
    action_space = gymnasium.spaces.Discrete(2, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.array([0.0]), {}

    def step(self, action):
        assert action in (5, 6)
        self.count += 1
        return np.array([float(self.count)]), 1.0, self.count >= 3 and action == 6, False, {}


@pytest.fixture
def ending(monkeypatch):
    gymnasium.register("Ending-v0", Ending, max_episode_steps=4)
    monkeypatch.setitem(adapter.NAMES, "Ending-v0", "")
    yield dataclasses.replace(CONFIG, env="gymnasium:Ending-v0", num_envs=2)
    del gymnasium.registry["Ending-v0"]


def test_a_time_limit_truncates_and_the_last_observation_is_kept(ending):
    envs = make_simulators(ending.env, (), 2)
    np.testing.assert_array_equal(envs.reset(0), [[0], [0]])
    steps = [envs.step(np.array([1, 0])) for _ in range(5)]
    ended = [(step.terminated.tolist(), step.truncated.tolist()) for step in steps]
    neither = ([False, False], [False, False])
    assert ended[:2] == [neither, neither]
    assert ended[2] == ([True, False], [False, False])
    assert ended[3] == ([False, False], [False, True])
    assert ended[4] == neither
    last = [step.final_observation[:, 0].tolist() for step in steps]
    assert last == [[1, 1], [2, 2], [3, 3], [1, 4], [2, 1]]
    following = [step.observation[:, 0].tolist() for step in steps]
    assert following == [[1, 1], [2, 2], [0, 3], [1, 0], [2, 1]]
    assert steps[0].observation.dtype == np.float32


def trained(path, updates, resume=False):
    config = dataclasses.replace(CONFIG, total_timesteps=32 * updates)
    assert start.run(Request(None, config, HYPER, seed=3), path, resume, quiet=True) == 0
    return ppo_jax.open_run(path)


def test_the_same_seed_gives_the_same_bits_and_a_resumed_run_begins_new_episodes(tmp_path):
    first, second = trained(tmp_path / "first", 4), trained(tmp_path / "second", 4)
    assert digest(first.agent()) == digest(second.agent())
    longer = [trained(tmp_path / name, 8, resume=True) for name in ("first", "second")]
    assert digest(longer[0].agent()) == digest(longer[1].agent())
    assert [len(one.metrics["update"]) for one in longer] == [8, 8]
    # The episodes that were running are given up: none is longer than the steps since the resume.
    lengths = longer[0].metrics["episode_length"][4:6]
    assert not (lengths > CONFIG.num_steps * np.arange(1, 3)).any()


def test_an_evaluation_plays_each_episode_to_its_end(ending, monkeypatch):
    monkeypatch.setattr(simulators, "SIDE_BY_SIDE", 4)
    state = make_ppo(ending).init(HYPER, jax.random.key(0))
    agent = ppo_jax.agent_of(state)
    result = evaluation.run(ending, agent, 10, greedy=False, seed=0)
    assert (result.episodes, result.unfinished) == (10, 0)
    assert (result.min, result.max) == (3, 4)
    assert result.mean == result.mean_length
    assert result == evaluation.run(ending, agent, 10, greedy=False, seed=0)


def test_a_policy_of_gymnax_plays_in_gymnasium():
    config = dataclasses.replace(CONFIG, env="CartPole-v1")
    there = evaluation.in_gymnasium(config)
    assert there == CONFIG
    agent = ppo_jax.agent_of(make_ppo(config).init(HYPER, jax.random.key(0)))
    assert 5 < evaluation.run(there, agent, 5, greedy=False, seed=0).mean < 100


@pytest.mark.parametrize(
    ("env", "arguments", "reason"),
    [
        ("Catch-bsuite", (), "does not|not one of gymnasium's"),
        ("FrozenLake-misc", (), "not one of gymnasium's"),
        ("CartPole-v1", (("length", 1.0),), "usual parameters"),
        ("gymnasium:CartPole-v1", (), "not one of gymnax"),
    ],
)
def test_what_gymnasium_does_not_have_is_refused(env, arguments, reason):
    config = dataclasses.replace(CONFIG, env=env, env_args=arguments)
    with pytest.raises(UsageError, match=reason):
        evaluation.in_gymnasium(config)


def test_it_cannot_be_a_part_of_a_compiled_program():
    keys = jax.random.split(jax.random.key(0), 2)
    agent = ppo_jax.agent_of(make_ppo(CONFIG).init(HYPER, keys[0]))
    points = HYPER._replace(gamma=jnp.array([0.9, 0.99]))
    for refused in (
        lambda: ppo_jax.train(CONFIG, HYPER, keys[0]),
        lambda: ppo_jax.sweep(CONFIG, points, keys),
        lambda: ppo_jax.evaluate(CONFIG, keys[0], agent.params, statistics=agent.statistics),
    ):
        with pytest.raises(UsageError, match="computes on the host"):
            refused()


def test_it_is_for_one_device():
    with pytest.raises(UsageError, match="for one device"):
        devices.choose(CONFIG, 2, is_begun=False)
    assert devices.choose(CONFIG, None, is_begun=False) == (CONFIG, 1)
