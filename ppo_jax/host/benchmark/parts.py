"""The parts of training as loops that can be timed, each on its own."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.algorithm.estimate import estimate
from ppo_jax.algorithm.loss import Samples
from ppo_jax.algorithm.rollout import Collector, collect, init_collector, steps_per_turn
from ppo_jax.algorithm.train import TrainState, make_ppo
from ppo_jax.algorithm.update import Learner, improve, init_learner
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment, TimeStep
from ppo_jax.envs.make import make_environment
from ppo_jax.host.programs.chunks import compile_ahead
from ppo_jax.networks.distributions import draw_noise, make_distribution, num_outputs
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Network, network_for


class Part(NamedTuple):
    """Something to time: the body of a loop.

    Attributes:
        name: The name of the part in tables and pictures.
        body: `body(index, carry) -> carry`; every turn has to do new work.
        carry: The carry before the first turn.
        steps: The environment steps that one turn stands for.
    """

    name: str
    body: Callable[[jax.Array, Any], Any]
    carry: Any
    steps: int


class Timed(NamedTuple):
    """A compiled loop over a part.

    Attributes:
        program: `program(count, carry) -> carry` runs `count` turns of the loop.
        carry: The carry before the first turn.
        steps: The environment steps that one turn stands for.
        turns: The number of turns that take about as long as a measurement should.
        compile_seconds: The seconds of tracing and compiling.
        memory: The bytes that the program needs on the device, including arguments and results.
    """

    program: Any
    carry: Any
    steps: int
    turns: int
    compile_seconds: float
    memory: int


def make_parts(config: Config, num_agents: int) -> list[Part]:
    """Makes the loops to time; one turn of each stands for one update's T * N steps of each agent.

    Args:
        config: The static part of a run.
        num_agents: The number of agents trained side by side, by `jax.vmap`. For more than one there is
            only the part "training".
    """
    if num_agents > 1:
        return [_make_training(config, num_agents)]
    return [_make_training(config, 1), _make_rollout(config), _make_stepping(config), make_update(config)]


def _make_training(config: Config, num_agents: int) -> Part:
    """Makes the loop over whole iterations of the algorithm."""
    ppo, hyper, key = make_ppo(config), Hyperparams(), jax.random.key(0)

    def train(index: jax.Array, state: TrainState) -> TrainState:
        state, _ = ppo.step(hyper, state)
        return state

    steps = num_agents * config.batch_size
    if num_agents == 1:
        return Part(name="training", body=train, carry=jax.jit(ppo.init)(hyper, key), steps=steps)
    init = jax.jit(jax.vmap(ppo.init, in_axes=(None, 0)))
    states = init(hyper, jax.random.split(key, num_agents))
    return Part(name="training", body=jax.vmap(train, in_axes=(None, 0)), carry=states, steps=steps)


def _make_rollout(config: Config) -> Part:
    """Makes the loop that collects experience with the first policy."""
    environment, network, learner, collector = _start(config)

    def run_policy(index: jax.Array, collector: Collector) -> Collector:
        key = jax.random.fold_in(jax.random.key(0), index)
        collector, trajectory, _ = collect(
            config, environment, network, Hyperparams(), key, learner.params, collector
        )
        return _first_of(collector, trajectory)

    return Part(name="rollout", body=run_policy, carry=collector, steps=config.batch_size)


def _make_stepping(config: Config) -> Part:
    """Makes the loop that steps the environments under random actions, without a network."""
    environment, _, _, collector = _start(config)
    space, num_steps, num_envs = environment.action_space, config.num_steps, config.num_envs

    def step(collector: Collector, drawn: tuple[jax.Array, Any]) -> tuple[Collector, TimeStep]:
        noise, of_environment = drawn
        outputs = jnp.zeros((num_envs, num_outputs(space)))  # all actions are equally likely
        distribution = make_distribution(space, outputs, outputs[0], None)
        action = spaces.clip(space, distribution.from_noise(noise))
        state, time_step = environment.step(of_environment, collector.environment, action)
        return collector._replace(environment=state, observation=time_step.observation), time_step

    def take_steps(index: jax.Array, collector: Collector) -> Collector:
        noise_key, environment_key = jax.random.split(jax.random.fold_in(jax.random.key(0), index))
        noise = draw_noise(space, noise_key, config.batch_size)
        noise = noise.reshape(num_steps, num_envs, *noise.shape[1:])  # [T, N, ...]
        drawn = noise, environment.draw_steps(num_steps, num_envs, environment_key)
        collector, time_steps = jax.lax.scan(step, collector, drawn, unroll=steps_per_turn(config))
        return _first_of(collector, time_steps)

    return Part(name="environment", body=take_steps, carry=collector, steps=config.batch_size)


def make_update(config: Config) -> Part:
    """Makes the loop that learns from the same batch again and again."""
    environment, network, learner, collector = _start(config)
    hyper, key = Hyperparams(), jax.random.key(0)

    def make_batch(collector: Collector) -> Samples:
        _, trajectory, _ = collect(config, environment, network, hyper, key, learner.params, collector)
        return estimate(config, network, hyper, learner.params, trajectory)

    def update(index: jax.Array, learner: Learner) -> Learner:
        learner, _ = improve(config, network, hyper, jax.random.fold_in(key, index), learner, batch)
        return learner

    batch = jax.jit(make_batch)(collector)
    return Part(name="update", body=update, carry=learner, steps=config.batch_size)


def _start(config: Config) -> tuple[Environment, Network, Learner, Collector]:
    """Makes what the parts work with, and where they start."""
    environment = make_environment(config.env, config.env_args)
    network = network_for(config, environment, make_network)
    learner = init_learner(network, Hyperparams(), jax.random.key(0))
    return environment, network, learner, init_collector(config, environment, network, jax.random.key(0))


def _first_of(result: Any, also_needed: Any) -> Any:
    """Returns the result alone, but has the rest computed too: XLA would leave out what nobody reads."""
    return jax.lax.optimization_barrier((result, also_needed))[0]


def prepare(part: Part, seconds: float, compile_program: Callable = compile_ahead) -> Timed:
    """Compiles the loop of a part, warms it up, and finds out how many turns take about `seconds`.

    Args:
        part: The part to time.
        seconds: About how long a measurement should take.
        compile_program: `compile_program(function, *arguments) -> program`.
    """

    def repeat(count: jax.Array, carry: Any) -> Any:
        return jax.lax.fori_loop(0, count, part.body, carry)

    start = time.perf_counter()
    program = compile_program(repeat, 1, part.carry)
    compile_seconds = time.perf_counter() - start
    use = program.memory_analysis()
    turns = 1
    while (took := clock(program, turns, part.carry)) < seconds / 4:
        turns *= 4
    return Timed(
        program=program,
        carry=part.carry,
        steps=part.steps,
        turns=max(1, round(turns * seconds / took)),
        compile_seconds=compile_seconds,
        memory=use.temp_size_in_bytes + use.argument_size_in_bytes + use.output_size_in_bytes,
    )


def clock(program: Callable, *arguments: Any) -> float:
    """Returns the seconds that a compiled program takes."""
    start = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - start


def measure_in_turns(loops: list[Timed], repeats: int) -> list[list[float]]:
    """Measures loops in turns, so that a slow minute of the machine falls on all of them.

    Args:
        loops: The loops to measure.
        repeats: The number of rounds.

    Returns:
        The steps per second of each loop in each round, [loops][repeats].
    """
    rates: list[list[float]] = [[] for _ in loops]
    for _ in range(repeats):
        for loop, of_loop in zip(loops, rates, strict=True):
            seconds = clock(loop.program, loop.turns, loop.carry)
            of_loop.append(loop.turns * loop.steps / seconds)
    return rates
