"""The parts of a training as loops that can be timed, each on its own."""

import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.algorithm.estimate import estimate
from ppo_jax.algorithm.rollout import Collector, init_collector, rollout, steps_per_turn
from ppo_jax.algorithm.train import PPO, TrainState, make_ppo
from ppo_jax.algorithm.update import Learner, init_learner, update
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.host.programs.chunks import compile_ahead
from ppo_jax.networks.distributions import draw_noise, make_distribution, num_outputs
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import Network, Params

Body = Callable[[jax.Array, Any], Any]  # (index, carry) -> carry


class Part(NamedTuple):
    """Something to time: a loop body, where it starts, and the environment steps that one turn stands for."""

    name: str
    body: Body
    carry: Any
    steps: int


class Timed(NamedTuple):
    """A compiled loop over a part.

    Attributes:
        program: `program(count, carry)` runs the loop `count` times.
        carry: Where it starts.
        steps: Environment steps of one turn.
        turns: How many take about as long as a measurement should.
        compile_seconds: What tracing and compiling took.
        memory: Bytes that the program needs on the device, arguments and results included.
    """

    program: Any
    carry: Any
    steps: int
    turns: int
    compile_seconds: float
    memory: int


class Rate(NamedTuple):
    """Steps per second of several measurements: median, least, most."""

    median: float
    slowest: float
    fastest: float


def make_parts(config: Config, num_agents: int) -> list[Part]:
    """Makes the loops to time; one turn of each stands for one update's T * N steps of each agent.

    Args:
        config: The static part of a run.
        num_agents: Agents trained side by side, by `jax.vmap`. For more than one only whole training.
    """
    hyper, key = Hyperparams(), jax.random.key(0)
    ppo = make_ppo(config)
    if num_agents > 1:
        state = jax.jit(jax.vmap(partial(ppo.init, hyper)))(jax.random.split(key, num_agents))
        train_all = jax.vmap(partial(_train, ppo, hyper), in_axes=(None, 0))
        return [Part("training", train_all, state, num_agents * config.batch_size)]
    environment = make_environment(config.env)
    network = make_network(
        config, environment.observation_space, environment.action_space, environment.privileged_space
    )
    learner, collector = init_learner(network, hyper, key), init_collector(config, environment, network, key)
    collect = partial(rollout, config, environment, network, hyper)
    _, trajectory, _ = jax.jit(collect)(key, learner.params, collector)
    batch = jax.jit(partial(estimate, config, network, hyper))(learner.params, trajectory)
    bodies = {
        "training": (partial(_train, ppo, hyper), jax.jit(ppo.init)(hyper, key)),
        "rollout": (partial(_collect, collect, learner.params), collector),
        "environment": (partial(_step_all, config, environment), collector),
        "update": (partial(_improve, config, network, hyper, batch), learner),
    }
    return [Part(name, body, carry, config.batch_size) for name, (body, carry) in bodies.items()]


def prepare(part: Part, seconds: float, compile_program: Callable = compile_ahead) -> Timed:
    """Compiles the loop of a part, warms it up, and finds how many turns take about `seconds`."""
    start = time.perf_counter()
    program = compile_program(partial(_repeat, part.body), 1, part.carry)
    compiling = time.perf_counter() - start
    use = program.memory_analysis()
    memory = use.temp_size_in_bytes + use.argument_size_in_bytes + use.output_size_in_bytes
    timed = Timed(program, part.carry, part.steps, 1, compiling, memory)
    while (took := _clock(timed)) < seconds / 4:
        timed = timed._replace(turns=timed.turns * 4)
    return timed._replace(turns=max(1, round(timed.turns * seconds / took)))


def clock(program: Callable, *arguments: Any) -> float:
    """Returns the seconds that a compiled program takes."""
    start = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - start


def measure(all_timed: list[Timed], repeats: int) -> list[list[float]]:
    """Returns steps per second, [repeats] for each; the loops take turns, so that drifts hit all of them."""
    rounds = [[timed.turns * timed.steps / _clock(timed) for timed in all_timed] for _ in range(repeats)]
    return [list(rates) for rates in zip(*rounds, strict=True)]


def summarize(rates: list[float]) -> Rate:
    """Returns median and spread of repeated measurements."""
    return Rate(statistics.median(rates), min(rates), max(rates))


def _clock(timed: Timed) -> float:
    return clock(timed.program, timed.turns, timed.carry)


def _repeat(body: Body, count: jax.Array, carry: Any) -> Any:
    return jax.lax.fori_loop(0, count, body, carry)


def _train(ppo: PPO, hyper: Hyperparams, index: jax.Array, state: TrainState) -> TrainState:
    return ppo.step(hyper, state)[0]


def _collect(collect: Callable, params: Params, index: jax.Array, collector: Collector) -> Collector:
    collector, trajectory, _ = collect(jax.random.fold_in(jax.random.key(0), index), params, collector)
    # Whatever nobody reads is not computed: the trajectory is made to matter.
    return jax.lax.optimization_barrier((collector, trajectory))[0]


def _step_all(config: Config, environment: Environment, index: jax.Array, collector: Collector) -> Collector:
    """Steps the environments for T steps under random actions."""
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), index))
    noise = draw_noise(environment.action_space, keys[0], config.batch_size)
    noise = noise.reshape(config.num_steps, config.num_envs, *noise.shape[1:])
    chance = environment.draw(config.num_steps, config.num_envs, keys[1])
    collector, time_steps = jax.lax.scan(
        partial(_step_once, environment), collector, (noise, chance), unroll=steps_per_turn(config)
    )
    return jax.lax.optimization_barrier((collector, time_steps))[0]


def _step_once(
    environment: Environment, collector: Collector, inputs: tuple[jax.Array, Any]
) -> tuple[Collector, Any]:
    noise, chance = inputs
    space = environment.action_space
    outputs = jnp.zeros((noise.shape[0], num_outputs(space)))  # all actions alike
    action = spaces.clip(space, make_distribution(space, outputs, outputs[0], None).from_noise(noise))
    state, time_step = environment.step(chance, collector.environment, action)
    return collector._replace(environment=state, observation=time_step.observation), time_step


def _improve(
    config: Config, network: Network, hyper: Hyperparams, batch: Any, index: jax.Array, learner: Learner
) -> Learner:
    return update(config, network, hyper, jax.random.fold_in(jax.random.key(0), index), learner, batch)[0]
