"""Trains and evaluates in simulators, which run on the host between compiled programs.

Where environments are pure functions, a whole update is one program. Here a small program chooses the actions
of each step (`decide`), the simulators take it, and one program does all that follows the rollout: it notes
what came of each step (`follow`), and learns (`complete`).

The state of a simulator cannot be saved. So wherever a run goes on from a state that is not the newest, after
a resume or a rewind, the episodes that were running are given up, and new ones begin.
"""

import dataclasses
import time
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.algorithm.evaluate import MAX_STEPS, Episodes
from ppo_jax.algorithm.metrics import Metrics
from ppo_jax.algorithm.rollout import Collector, Decision, decide, finish, follow, noise_of_steps
from ppo_jax.algorithm.teacher import teacher_for
from ppo_jax.algorithm.train import TrainState, complete, hyper_of_update, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import TimeStep
from ppo_jax.envs.make import Simulators, make_environment, make_simulators
from ppo_jax.host.programs import chunks, footprint
from ppo_jax.host.programs.chunks import Program
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Memory, Params, network_for

SIDE_BY_SIDE = 64  # most episodes of an evaluation that are played at the same time


def make_program(config: Config, hyper: Hyperparams) -> Program:
    """Makes the program of a run in simulators.

    Args:
        config: The static part of the run.
        hyper: The traced part; its values do not matter here.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration, or if the run's
            footprint is too large.
    """
    start = time.perf_counter()
    # As with other programs, one serves runs of any length.
    ppo = make_ppo(dataclasses.replace(config, total_timesteps=config.batch_size))
    init = chunks.seeded(ppo.init)
    template = jax.eval_shape(init, hyper, np.uint32(0))
    footprint.check(footprint.of_devices(config, template, 1))
    return Program(
        init=chunks.compile_ahead(init, hyper, np.uint32(0)),
        advance=Iteration(config, hyper, template).advance,
        check=chunks.compile_ahead(chunks.is_finite, template),
        template=template,
        seconds=time.perf_counter() - start,
    )


class Iteration:
    """The iterations of a run in simulators, in which the host takes the steps.

    Args:
        config: The static part of the run.
        hyper: The traced part; its values do not matter here.
        template: Shapes and dtypes of the state.
    """

    def __init__(self, config: Config, hyper: Hyperparams, template: TrainState):
        environment = make_environment(config.env, config.env_args)
        space = environment.action_space
        network = network_for(config, environment, make_network)
        teacher = teacher_for(config, environment)
        self._num_steps = config.num_steps
        self._init_memory = partial(network.init_memory, config.num_envs)
        self._simulators = make_simulators(config.env, config.env_args, config.num_envs)
        self._collector: Collector | None = None  # the state that the simulators are in

        def begin(hyper: Hyperparams, state: TrainState) -> tuple[Hyperparams, jax.Array, jax.Array]:
            hyper = hyper_of_update(config, hyper, state)
            keys = jax.random.split(state.key, 3)
            return hyper, keys, noise_of_steps(config, space, keys[1], config.num_steps)

        def decide_at(params: Params, collector: Collector, noise: jax.Array, t: jax.Array) -> Decision:
            return decide(network, params, collector, noise[t], teacher)

        def choose(
            params: Params, collector: Collector, noise: jax.Array, t: jax.Array, kept: Decision
        ) -> tuple[jax.Array, Any, Memory, Decision]:
            decision = decide_at(params, collector, noise, t)
            # Decisions stay on the device; only the actions are needed on the host.
            kept = jax.tree.map(lambda rows, row: rows.at[t].set(row), kept, decision)
            return spaces.clip(space, decision.action), decision.statistics, decision.memory, kept

        def note(collector: Collector, row: tuple[Decision, TimeStep]) -> Any:
            decision, step = row
            return follow(collector, decision, collector.environment, step)

        def end(
            hyper: Hyperparams, keys: jax.Array, state: TrainState, rows: tuple[Decision, TimeStep]
        ) -> tuple[TrainState, Metrics]:
            collector, (trajectory, ended) = jax.lax.scan(note, state.collector, rows)
            collector, trajectory, episodes = finish(hyper, collector, trajectory, ended)
            state = state._replace(collector=collector, key=keys[0])
            return complete(config, space, network, hyper, keys[2], state, trajectory, episodes)

        def rows_of(tree: Any) -> Any:  # [T, N, ...]
            return jax.tree.map(lambda x: jax.ShapeDtypeStruct((config.num_steps, *x.shape), x.dtype), tree)

        scheduled, keys, noise = jax.eval_shape(begin, hyper, template)
        seen = template.learner.params, template.collector, noise, np.int32(0)
        kept = rows_of(jax.eval_shape(decide_at, *seen))
        action, *_ = jax.eval_shape(choose, *seen, kept)
        self._simulators.reset(0)
        step = self._simulators.step(np.zeros(action.shape, action.dtype))
        self._make_room = partial(jax.tree.map, lambda x: jnp.zeros(x.shape, x.dtype), kept)
        self._begin = chunks.compile_ahead(begin, hyper, template)
        self._choose = chunks.compile_ahead(choose, *seen, kept, donated=len(seen))
        self._end = chunks.compile_ahead(end, scheduled, keys, template, (kept, rows_of(step)))

    def advance(
        self, hyper: Hyperparams, state: TrainState, num_updates: np.int32
    ) -> tuple[TrainState, Metrics]:
        """Runs some iterations; returns the state after them, and their metrics, [num_updates]."""
        metrics = []
        for _ in range(int(num_updates)):
            state, of_update = self._iterate(hyper, state)
            metrics.append(of_update)
        return state, jax.tree.map(lambda *rows: jnp.stack(rows), *metrics)

    def _iterate(self, hyper: Hyperparams, state: TrainState) -> tuple[TrainState, Metrics]:
        """Runs one iteration of Algorithm 1, as `train.iterate` does."""
        hyper, keys, noise = self._begin(hyper, state)
        if state.collector is not self._collector:
            state = state._replace(collector=self._new_episodes(state))
        collector, kept, steps = state.collector, self._make_room(), []
        for t in range(self._num_steps):
            seen = state.learner.params, collector, noise, np.int32(t)
            action, statistics, memory, kept = self._choose(*seen, kept)
            step = self._simulators.step(np.asarray(action))
            steps.append(step)
            collector = collector._replace(
                statistics=statistics,
                memory=memory,
                observation=step.observation,
                start=step.done,
            )
        rows = kept, jax.tree.map(lambda *of_steps: np.stack(of_steps), *steps)  # [T, N, ...]
        state, metrics = self._end(hyper, keys, state, rows)
        self._collector = state.collector
        return state, metrics

    def _new_episodes(self, state: TrainState) -> Collector:
        """Gives up the episodes that were running, and begins others."""
        observation = self._simulators.reset(_seed_of(state.key))
        before = state.collector
        nothing = partial(jax.tree.map, jnp.zeros_like)
        running = {
            name: nothing(value) for name, value in before.episodes._asdict().items() if "running" in name
        }
        scaler = before.reward_scaler
        return before._replace(
            observation=jnp.asarray(observation),
            start=jnp.ones_like(before.start),
            memory=self._init_memory(),
            episodes=before.episodes._replace(**running),
            reward_scaler=scaler and scaler._replace(discounted=nothing(scaler.discounted)),
        )


def play(config: Config, agent: Agent, num_episodes: int, greedy: bool, key: jax.Array) -> Episodes:
    """Plays whole episodes, one in each of as many simulators; the same as `algorithm.evaluate`.

    Args:
        config: The configuration of the run that the agent comes from.
        agent: The agent.
        num_episodes: The number of episodes, E.
        greedy: Whether to take the most probable action rather than sample one.
        key: The source of first states and sampled actions.
    """
    environment = make_environment(config.env, config.env_args)
    network = network_for(config, environment, make_network)

    @partial(jax.jit, compiler_options=chunks.compiler_options())
    def choose(key: jax.Array, t: jax.Array, memory: Memory, observation: Any, start: Any) -> Any:
        _, prediction = act(network, agent, memory, observation, start)
        policy = prediction.policy
        action = policy.mode() if greedy else policy.sample(jax.random.fold_in(key, t))
        return prediction.memory, spaces.clip(environment.action_space, action)

    def play_some(numbers: np.ndarray) -> Episodes:
        first, size = int(numbers[0]), len(numbers)
        simulators = make_simulators(config.env, config.env_args, size)
        observation = simulators.reset(_seed_of(key) + first)
        choose_with = partial(choose, jax.random.fold_in(key, first))
        return _play_each(simulators, observation, choose_with, network.init_memory(size))

    parts = np.array_split(np.arange(num_episodes), -(-num_episodes // SIDE_BY_SIDE))
    return jax.device_get(jax.tree.map(lambda *some: jnp.concatenate(some), *map(play_some, parts)))


def _play_each(simulators: Simulators, observation: np.ndarray, choose: Any, memory: Memory) -> Episodes:
    """Plays until each simulator has ended its first episode.

    Args:
        simulators: The simulators, E.
        observation: Their first observations, [E, ...].
        choose: `choose(t, memory, observation, start) -> (memory, action)`.
        memory: The memory of the network before the first step.
    """
    size = len(observation)
    running, start = np.ones(size, bool), np.ones(size, bool)
    returns, lengths = np.zeros(size, np.float32), np.zeros(size, np.int32)
    for t in range(MAX_STEPS):
        memory, action = choose(np.int32(t), memory, observation, start)
        step = simulators.step(np.asarray(action))
        returns += running * step.reward
        lengths += running
        running &= ~step.done
        observation, start = step.observation, step.done
        if not running.any():
            break
    return Episodes(*map(jnp.asarray, (returns, lengths, ~running)))


def _seed_of(key: jax.Array) -> int:
    """Returns a seed for the simulators, which leaves room for the numbers of copies to be added to it."""
    return int(jax.random.bits(key, dtype=jnp.uint32) >> 2)
