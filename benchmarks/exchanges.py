"""Measures the exchanges between processes, and compares an update with the model in docs/scaling.md.

Each process has one core and one device. Exchanges are those of JAX's collectives between processes of one
machine, over its loopback interface; the time of computing is that of one process with the environments of
one device.
"""

import dataclasses
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
import numpy as np
import record
import tyro
from jax.sharding import Mesh, PartitionSpec
from rich.console import Console

import ppo_jax
from ppo_jax.algorithm.train import PPO, advance
from ppo_jax.host.programs import chunks

CONFIG = ppo_jax.Config(num_envs=64, num_steps=128, num_epochs=4, num_minibatches=4)
UPDATES = 4  # in each call that is timed
EXCHANGES = 100  # in each call that is timed
SMALL = 4  # numbers in most exchanges: moments of advantages, counts, flags
SIZES = (1, SMALL, 64, 1_024, 16_384, 262_144, 1_048_576)  # numbers in a vector


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure exchanges between processes, and updates with them."""

    processes: int = 2
    """The number of processes, at most one for each core."""
    repeats: int = 9
    """Repeats, of which the median counts."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    count = options.processes
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        computing = pool.submit(measure_alone, CONFIG.num_envs // count, options.repeats).result()
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    with ProcessPoolExecutor(count, get_context("spawn")) as pool:
        parts = [
            pool.submit(measure_together, rank, count, address, options.repeats) for rank in range(count)
        ]
        exchanged, update, num_params = parts[0].result()

    gradient_steps = CONFIG.num_epochs * CONFIG.num_minibatches
    exchanging = gradient_steps * exchanged[num_params] + (2 * gradient_steps + 8) * exchanged[SMALL]
    result = {
        "processes": count,
        "num_envs": CONFIG.num_envs,
        "num_steps": CONFIG.num_steps,
        "num_params": num_params,
        "seconds_of_an_exchange": exchanged,
        "seconds_of_a_small_exchange": exchanged[SMALL],
        "seconds_of_a_gradient": exchanged[num_params],
        "seconds_of_computing": computing,
        "seconds_of_exchanging": exchanging,
        "predicted_seconds_of_an_update": computing + exchanging,
        "seconds_of_an_update": update,
    }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def measure_alone(num_envs: int, repeats: int) -> float:
    """Returns the seconds of an update with the environments of one device, on one core."""
    use_core(0)
    ppo = ppo_jax.make_ppo(dataclasses.replace(CONFIG, num_envs=num_envs))
    return seconds_of_update(ppo, repeats)


def measure_together(
    rank: int, count: int, address: str, repeats: int
) -> tuple[dict[int, float], float, int]:
    """Measures in one of several processes, which are called at the same time.

    Returns:
        The seconds of an exchange by the size of its vector, those of an update, and the number of
        parameters.
    """
    use_core(rank)
    jax.distributed.initialize(address, count, rank)
    mesh = Mesh(np.array(jax.devices()), ("environments",))
    config = dataclasses.replace(CONFIG, shuffle_groups=count)
    ppo = ppo_jax.make_ppo(config)
    state = jax.eval_shape(ppo.init, ppo_jax.Hyperparams(), jax.random.key(0))
    num_params = sum(x.size for x in jax.tree.leaves(state.learner.params))
    exchanged = {size: seconds_of_exchange(mesh, size, repeats) for size in sorted((*SIZES, num_params))}
    return exchanged, seconds_of_update(ppo_jax.shard(ppo, mesh), repeats), num_params


def use_core(number: int) -> None:
    """Lets this process use one core only; before JAX looks for its devices."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[number % len(cores)]})


def seconds_of_update(ppo: PPO, repeats: int) -> float:
    """Measures an update, as the commands of this package compile it."""
    hyper = jax.tree.map(np.float32, ppo_jax.Hyperparams())
    state = chunks.compile_ahead(chunks.seeded(ppo.init), hyper, np.uint32(0))(hyper, np.uint32(0))
    program = chunks.compile_ahead(partial(advance, ppo, UPDATES), hyper, state)
    return median_seconds(lambda: program(hyper, state), repeats) / UPDATES


def seconds_of_exchange(mesh: Mesh, size: int, repeats: int) -> float:
    """Measures the sum over all devices of a vector of float32."""

    def add(vector: jax.Array, _: None) -> tuple[jax.Array, None]:
        # Halved, so that numbers stay what they are.
        return jax.lax.psum(vector, "environments") / mesh.size, None

    def add_again_and_again(vector: jax.Array) -> jax.Array:
        return jax.lax.scan(add, vector, None, EXCHANGES)[0]

    everywhere = PartitionSpec()
    together = jax.shard_map(add_again_and_again, mesh=mesh, in_specs=everywhere, out_specs=everywhere)
    program = chunks.compile_ahead(together, jax.ShapeDtypeStruct((size,), jnp.float32))
    vector = np.ones(size, np.float32)
    return median_seconds(lambda: program(vector), repeats) / EXCHANGES


def median_seconds(call: Callable[[], Any], repeats: int) -> float:
    """Times calls after a first one that is not timed; returns the median of their seconds."""
    jax.block_until_ready(call())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(call())
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main(tyro.cli(Options))
