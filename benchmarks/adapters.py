"""Measures what the adapters to libraries of environments cost, and what a pool of first states saves.

Two rollouts of the same network take turns: one in the environment as a run uses it (with its time limit,
first states, the last observation of each episode, masks and metrics), and one in the library's own step
under `jax.vmap`, which never ends an episode. The environments are small ones, where an adapter costs most.

The record is written after each library, and keeps those that are not measured again, so that they can be
measured one by one:

    python benchmarks/adapters.py brax --output benchmarks/results/adapters-cpu-2-cores.json
"""

import dataclasses
import json
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import record
import tyro
from rich.console import Console
from tyro.conf import Positional

import ppo_jax
from ppo_jax import spaces
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.make import make_environment
from ppo_jax.host.programs import chunks
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Network, network_for

NUM_STEPS = 64  # of a rollout
SECONDS = 0.5  # that a turn takes at least
POOL = "pool"  # the part that is about Craftax's pool
CRAFTAX = "craftax:Craftax-Classic-Symbolic-v1"


class Raw(NamedTuple):
    """One copy of an environment, with nothing but the functions of its library.

    Attributes:
        reset: `reset(key) -> state`.
        step: `step(key, state, action) -> state`.
        tell: `tell(state) -> (features, reward)`.
    """

    reset: Callable[[jax.Array], Any]
    step: Callable[[jax.Array, Any, jax.Array], Any]
    tell: Callable[[Any], tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what adapters cost."""

    parts: Annotated[tuple[str, ...], Positional, tyro.conf.arg(metavar="PART")] = ()
    """Libraries to measure, and "pool": Craftax's pool of first states. By default all."""
    copies: tuple[int, ...] = (64, 1024)
    """Numbers of copies of an environment."""
    repeats: int = 7
    """Turns, of which the median ratio counts."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the record after each part."""
    known: dict[str, Any] = {}
    if options.output is not None and options.output.exists():
        known = json.loads(options.output.read_text())["rows"]
    for part in options.parts or PARTS:
        if part == POOL:
            known[part] = [measure_pool(min(options.copies), options)]
        else:
            known[part] = [measure_adapter(part, copies, options) for copies in options.copies]
        rows = {part: known[part] for part in PARTS if part in known}
        record.write(options.output, record.complete({"num_steps": NUM_STEPS, "rows": rows}))


def measure_adapter(library: str, copies: int, options: Options) -> dict[str, Any]:
    """Compares an environment as a run uses it with the step of its library."""
    name, make_raw = RAW[library]
    programs = {"adapter": prepare(name, copies), "library": prepare_raw(name, make_raw(), copies)}
    return measure(name, copies, programs, options.repeats)


def measure_pool(copies: int, options: Options) -> dict[str, Any]:
    """Compares Craftax with its pool of first states, and with a first state drawn for every step."""
    programs = {"pool": prepare(CRAFTAX, copies), "drawn": prepare(CRAFTAX, copies, reset_pool=0)}
    return measure(CRAFTAX, copies, programs, options.repeats)


def measure(name: str, copies: int, programs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, Any]:
    """Times two programs in turns, and prints the result.

    Returns:
        The steps per second of both, and the median of how much faster the first is than the second.
    """
    calls = {kind: math.ceil(SECONDS / seconds_of(program, 1)) for kind, program in programs.items()}
    turns = [
        {kind: seconds_of(program, calls[kind]) for kind, program in programs.items()} for _ in range(repeats)
    ]
    first, second = programs
    ratios = [turn[second] / turn[first] for turn in turns]
    speeds = {
        kind: round(copies * NUM_STEPS / statistics.median(turn[kind] for turn in turns)) for kind in programs
    }
    row = {
        "environment": name,
        "copies": copies,
        "steps_per_second": speeds,
        "ratio": round(statistics.median(ratios), 4),
        "ratios": [round(ratio, 4) for ratio in ratios],
    }
    Console().print(row)
    return row


def seconds_of(program: Callable[[], Any], calls: int) -> float:
    """Calls a program so many times, and returns the seconds that one call takes."""
    start = time.perf_counter()
    for _ in range(calls):
        jax.block_until_ready(program())
    return (time.perf_counter() - start) / calls


def prepare(name: str, copies: int, **arguments: Any) -> Callable[[], Any]:
    """Compiles a rollout in an environment as a run uses it."""
    environment = make_environment(name, tuple(arguments.items()))
    network = network_of(name, environment)

    def rollout(params: Any, key: jax.Array, state: Any, observation: Any) -> Any:
        def step(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], jax.Array]:
            state, observation = carry
            action_key, environment_key = jax.random.split(key)
            action = spaces.clip(
                environment.action_space, network.policy(params, observation).sample(action_key)
            )
            state, after = environment.step(environment.draw_one(copies, environment_key), state, action)
            return (state, after.observation), after.reward.sum()

        if environment.pool is not None:
            state = environment.pool.refill(key, state)
        return jax.lax.scan(step, (state, observation), jax.random.split(key, NUM_STEPS))

    return compiled(rollout, network, environment.reset(copies, jax.random.key(0)))


def prepare_raw(name: str, raw: Raw, copies: int) -> Callable[[], Any]:
    """Compiles a rollout in nothing but the library's own step."""
    environment = make_environment(name)  # for its spaces
    network = network_of(name, environment)

    def rollout(params: Any, key: jax.Array, state: Any) -> Any:
        def step(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            action_key, environment_key = jax.random.split(key)
            features, _ = jax.vmap(raw.tell)(state)
            policy = network.policy(params, jnp.asarray(features, jnp.float32))
            action = spaces.clip(environment.action_space, policy.sample(action_key))
            state = jax.vmap(raw.step)(jax.random.split(environment_key, copies), state, action)
            _, reward = jax.vmap(raw.tell)(state)
            return state, reward.sum()

        return jax.lax.scan(step, state, jax.random.split(key, NUM_STEPS))

    with concretely():
        state = jax.vmap(raw.reset)(jax.random.split(jax.random.key(0), copies))
    return compiled(rollout, network, (state,))


def network_of(name: str, environment: Environment) -> Network:
    """Makes the usual network for an environment."""
    return network_for(ppo_jax.Config(name), environment, make_network)


def compiled(rollout: Callable[..., Any], network: Network, state: tuple[Any, ...]) -> Callable[[], Any]:
    """Compiles a rollout, and calls it once."""
    arguments = (network.init(jax.random.key(1)), jax.random.key(2), *state)
    program = chunks.compile_ahead(rollout, *arguments)
    jax.block_until_ready(program(*arguments))
    return lambda: program(*arguments)


def brax() -> Raw:
    """Returns Brax's inverted pendulum."""
    with concretely():
        from brax import envs  # pyright: ignore[reportMissingImports]

        env = envs.get_environment("inverted_pendulum")
    return Raw(env.reset, lambda key, state, a: env.step(state, a), lambda state: (state.obs, state.reward))


def craftax() -> Raw:
    """Returns Craftax-Classic."""
    with concretely():
        from craftax.craftax_env import (  # pyright: ignore[reportMissingImports]
            make_craftax_env_from_name,
        )

        env = make_craftax_env_from_name(CRAFTAX.partition(":")[2], auto_reset=False)
        params = env.default_params

    def reset(key: jax.Array) -> Any:
        observation, state = env.reset_env(key, params)
        return state, observation, jnp.float32(0)

    def step(key: jax.Array, before: Any, action: jax.Array) -> Any:
        observation, state, reward, *_ = env.step_env(key, before[0], action, params)
        return state, observation, jnp.asarray(reward, jnp.float32)

    return Raw(reset, step, lambda state: state[1:])


def jumanji() -> Raw:
    """Returns Jumanji's Snake."""
    with concretely():
        import jumanji as library  # pyright: ignore[reportMissingImports]

        env = library.make("Snake-v1")
    return Raw(
        env.reset,
        lambda key, state, action: env.step(state[0], action),
        lambda state: (state[1].observation.grid, state[1].reward),
    )


def navix() -> Raw:
    """Returns an empty room of NAVIX."""
    with concretely():
        import navix as library  # pyright: ignore[reportMissingImports]

        env = library.make("Navix-Empty-5x5-v0")
    return Raw(
        env.reset,
        lambda key, timestep, action: env._step(timestep, action),
        lambda timestep: (timestep.observation, timestep.reward),
    )


def pgx() -> Raw:
    """Returns 2048 of Pgx."""
    with concretely():
        import pgx as library  # pyright: ignore[reportMissingImports]

        game = library.make("2048")
    return Raw(
        game.init,
        lambda key, state, action: game.step(state, action, key),
        lambda state: (state.observation, state.rewards[0]),
    )


def playground() -> Raw:
    """Returns MuJoCo Playground's balanced pole."""
    with concretely():
        from mujoco_playground import registry  # pyright: ignore[reportMissingImports]

        env = registry.load("CartpoleBalance", config_overrides={"impl": "jax"})
    return Raw(env.reset, lambda key, state, a: env.step(state, a), lambda state: (state.obs, state.reward))


def xminigrid() -> Raw:
    """Returns an empty room of XLand-MiniGrid."""
    with concretely():
        import xminigrid as library  # pyright: ignore[reportMissingImports]

        env, params = library.make("MiniGrid-Empty-5x5")
    return Raw(
        lambda key: env.reset(params, key),
        lambda key, timestep, action: env.step(params, timestep, action),
        lambda timestep: (timestep.observation, timestep.reward),
    )


# The environment of each library that is measured.
RAW = {
    "brax": ("brax:inverted_pendulum", brax),
    "craftax": (CRAFTAX, craftax),
    "jumanji": ("jumanji:Snake-v1", jumanji),
    "navix": ("navix:Navix-Empty-5x5-v0", navix),
    "pgx": ("pgx:2048", pgx),
    "playground": ("playground:CartpoleBalance", playground),
    "xminigrid": ("xminigrid:MiniGrid-Empty-5x5", xminigrid),
}
PARTS = (*RAW, POOL)


if __name__ == "__main__":
    main(tyro.cli(Options))
