"""Measures what expensive resets cost: CartPole-v1 with a reset that takes as long as 100 steps.

Three kinds train in one process, in turns: with the reset of CartPole itself ("free"), with an expensive
reset drawn for every step of every copy ("every step"), and with one drawn into a pool ("pool"). Ratios are
to the free one of the same turn.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.algorithm.rollout import collect
from ppo_jax.envs.environment import Dynamics, Environment, make_batched
from ppo_jax.envs.make import make_dynamics
from ppo_jax.host.programs import chunks
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for

STEPS_OF_A_RESET = 100


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what expensive resets cost."""

    num_envs: int = 64
    """Environments that are stepped in parallel."""
    num_steps: int = 128
    """Steps per environment in each update."""
    pool: int = 256
    """First states in the pool."""
    updates: int = 20
    """Updates of one measurement."""
    repeats: int = 9
    """Measurements of each kind."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    free = make_dynamics("CartPole-v1")
    expensive = free._replace(reset=partial(reset_slowly, free))
    kinds = {
        "free": make_batched(free),
        "every step": make_batched(expensive),
        "pool": make_batched(expensive._replace(reset_pool=options.pool)),
    }
    result: dict[str, Any] = {"options": {**vars(options), "output": None}}
    for part, prepare in {"training": prepare_training, "rollout": prepare_rollout}.items():
        programs = {kind: prepare(options, environment) for kind, environment in kinds.items()}
        turns = [{kind: program() for kind, program in programs.items()} for _ in range(options.repeats + 1)]
        result[part] = {kind: sum_up(turns[1:], kind) for kind in kinds}
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def reset_slowly(dynamics: Dynamics, key: jax.Array) -> tuple[Any, Any]:
    """Resets, and takes 100 steps that change nothing, although the compiler cannot know."""
    state, observation = dynamics.reset(key)

    def step(index: jax.Array, other: Any) -> Any:
        other, _ = dynamics.step(jax.random.fold_in(key, index), other, index % 2)
        return other

    settled = jax.lax.fori_loop(0, STEPS_OF_A_RESET, step, state)
    is_lost = jnp.abs(settled.x) > 1e9
    return jax.tree.map(lambda x: jnp.where(is_lost, 0 * x, x), (state, observation))


def config_of(options: Options) -> ppo_jax.Config:
    """Returns the configuration that all kinds are trained with."""
    batch = options.num_envs * options.num_steps
    return ppo_jax.Config(
        "CartPole-v1", options.num_envs, options.num_steps, total_timesteps=batch * options.updates
    )


def prepare_training(options: Options, environment: Environment) -> Callable[[], float]:
    """Compiles a training; returns a function that trains, and returns the seconds per update."""
    train = partial(ppo_jax.train, config_of(options), environment=environment)
    hyper, key = ppo_jax.Hyperparams(), jax.random.key(0)
    program = chunks.compile_ahead(train, hyper, key)
    return lambda: clock(program, hyper, key) / options.updates


def prepare_rollout(options: Options, environment: Environment) -> Callable[[], float]:
    """Compiles a rollout; returns a function that runs it, and returns the seconds that it takes."""
    config, hyper = config_of(options), ppo_jax.Hyperparams()
    network = network_for(config, environment, make_network)
    state = jax.jit(ppo_jax.make_ppo(config, environment).init)(hyper, jax.random.key(0))
    arguments = (jax.random.key(1), state.learner.params, state.collector)
    program = chunks.compile_ahead(partial(collect, config, environment, network, hyper), *arguments)
    return lambda: statistics.median(clock(program, *arguments) for _ in range(options.updates))


def clock(program: Callable, *arguments: Any) -> float:
    """Returns the seconds that a compiled program takes."""
    start = time.perf_counter()
    jax.block_until_ready(program(*arguments))
    return time.perf_counter() - start


def sum_up(turns: list[dict[str, float]], kind: str) -> dict[str, float]:
    """Returns the median milliseconds of a kind, and its ratios to the free one of the same turn."""
    ratios = [turn[kind] / turn["free"] for turn in turns]
    return {
        "milliseconds": round(1e3 * statistics.median(turn[kind] for turn in turns), 3),
        "ratio": round(statistics.median(ratios), 3),
        "least": round(min(ratios), 3),
        "most": round(max(ratios), 3),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
