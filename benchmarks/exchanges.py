"""Measures the constants of the model in docs/scaling.md with two processes on this machine, and tests it.

Each process has one device. They add up vectors of two lengths, which gives the latency and the bandwidth of
an exchange. Then they train together, and the time of an update is compared with that of the model.
"""

import dataclasses
import json
import os
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import tyro
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console

import ppo_jax
from ppo_jax.algorithm.train import PPO, advance
from ppo_jax.host.programs import chunks, system
from ppo_jax.host.runs import files

PROCESSES = 2
LONG = 2**20  # numbers of the vector that gives the bandwidth
REPEATS = 5


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what processes exchange, and test the model of how throughput grows."""

    shapes: tuple[str, ...] = ("64x128", "512x128")
    """Batch shapes to train: environments x steps."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with ProcessPoolExecutor(PROCESSES, get_context("spawn")) as pool:
        each = [pool.submit(measure, options.shapes, address, number) for number in range(PROCESSES)]
        result, *_ = [one.result() for one in each]
    Console().print_json(data=result)
    if options.output is not None:
        with files.output(options.output) as draft:
            draft.write_text(json.dumps(result, indent=1) + "\n")


def measure(shapes: tuple[str, ...], address: str, number: int) -> dict[str, Any]:
    """Measures everything in one of the processes, with the other."""
    os.sched_setaffinity(0, {number})  # so that one process has the same core alone and with the other
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, PROCESSES, number)
    mesh = jax.make_mesh((PROCESSES,), ("environments",))
    latency = seconds_of_exchange(mesh, 1)
    transfer = seconds_of_exchange(mesh, LONG) - latency
    bandwidth = sent(LONG) / transfer
    return {
        "processes": PROCESSES,
        "latency_seconds": latency,
        "bytes_per_second": bandwidth,
        "updates": [compare(shape, mesh, latency, bandwidth) for shape in shapes],
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def sent(length: int) -> float:
    """Returns the bytes that each process of a ring sends to add up a vector of float32."""
    return 2 * 4 * length * (PROCESSES - 1) / PROCESSES


def seconds_of_exchange(mesh: Mesh, length: int) -> float:
    """Measures how long it takes to add up a vector of all processes."""
    count = 200 if length > 1000 else 2000

    def add_up(vector: jax.Array) -> jax.Array:
        def once(_: Any, vector: jax.Array) -> jax.Array:
            return jax.lax.psum(vector, "environments") / PROCESSES

        return jax.lax.fori_loop(0, count, once, vector)

    together = jax.shard_map(
        add_up, mesh=mesh, in_specs=PartitionSpec(), out_specs=PartitionSpec(), check_vma=False
    )
    everywhere = NamedSharding(mesh, PartitionSpec())
    vector = jax.jit(lambda: jnp.ones(length), out_shardings=everywhere)()
    return median_seconds(jax.jit(together), vector) / count


def compare(shape: str, mesh: Mesh, latency: float, bandwidth: float) -> dict[str, Any]:
    """Measures an update on one device and on all, and what the model says of the latter."""
    num_envs, num_steps = map(int, shape.split("x"))
    whole, part = config_of(num_envs, num_steps, PROCESSES), config_of(num_envs // PROCESSES, num_steps, 1)
    together = seconds_of_update(whole, ppo_jax.shard(ppo_jax.make_ppo(whole), mesh))
    alone = seconds_of_update(part, ppo_jax.make_ppo(part))
    single = config_of(num_envs, num_steps, 1)
    state = jax.eval_shape(ppo_jax.make_ppo(whole).init, ppo_jax.Hyperparams(), jax.random.key(0))
    num_params = sum(leaf.size for leaf in jax.tree.leaves(state.learner.params))
    gradient_steps = whole.num_epochs * whole.num_minibatches
    exchanges = 3 * gradient_steps + 8
    model = alone + exchanges * latency + gradient_steps * sent(num_params) / bandwidth
    return {
        "shape": shape,
        "seconds_on_one": seconds_of_update(single, ppo_jax.make_ppo(single)),
        "seconds_of_the_part": alone,
        "seconds_together": together,
        "seconds_of_the_model": model,
    }


def config_of(num_envs: int, num_steps: int, groups: int) -> ppo_jax.Config:
    """Returns a configuration for CartPole with 10 updates."""
    total = 10 * num_envs * num_steps
    return ppo_jax.Config(
        num_envs=num_envs, num_steps=num_steps, total_timesteps=total, shuffle_groups=groups
    )


def seconds_of_update(config: ppo_jax.Config, ppo: PPO) -> float:
    """Measures the update of a run, compiled as the command compiles it."""
    hyper = ppo_jax.Hyperparams()
    state = jax.jit(ppo.init)(hyper, jax.random.key(0))
    train = jax.jit(partial(advance, ppo, config.num_updates), compiler_options=chunks.compiler_options())
    return median_seconds(train, hyper, state) / config.num_updates


def median_seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Returns the median of the seconds that a call takes, after a first one."""
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


if __name__ == "__main__":
    main(tyro.cli(Options))
