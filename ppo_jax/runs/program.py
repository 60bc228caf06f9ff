"""A compiled training, run a chunk of updates at a time so that the host hears of it."""

import dataclasses
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.runs import records
from ppo_jax.runs.records import Clock, Record
from ppo_jax.train import TrainState, advance, make_ppo

CAPACITY = 1024  # most updates of one chunk; a longer one would not save the host any more time
CHUNK_SECONDS = 0.25  # how long a chunk should take, so that the screen keeps moving
# Of XLA on a CPU. Level 1 compiles in three quarters of the time of level 3, and the programs are as fast;
# by itself XLA uses but half the width of AVX-512. See docs/performance.md for what they gain.
CPU_OPTIONS: dict[str, str | bool] = {
    "xla_backend_optimization_level": "1",
    "xla_cpu_prefer_vector_width": "512",
}


class Program(NamedTuple):
    """A compiled training.

    Attributes:
        init: `init(hyper, key) -> TrainState`.
        advance: `advance(hyper, state, num_updates) -> (TrainState, Metrics [CAPACITY])`.
        seconds: What tracing and compiling took.
    """

    init: Any
    advance: Any
    seconds: float


class Chunk(NamedTuple):
    """Some updates in a row.

    Attributes:
        state: After them.
        records: One per update.
        steps_per_second: Environment steps per second over the chunk.
    """

    state: TrainState
    records: list[Record]
    steps_per_second: float


def compile_program(config: Config, hyper: Hyperparams) -> Program:
    """Traces and compiles a training ahead of its start.

    Args:
        config: The static part. Its `total_timesteps` does not enter the program.
        hyper: The traced part; its values do not matter here.
    """
    start = time.perf_counter()
    ppo = make_ppo(dataclasses.replace(config, total_timesteps=config.batch_size))
    key = jax.random.key(0)
    state = jax.eval_shape(ppo.init, hyper, key)
    with ThreadPoolExecutor() as pool:
        init = pool.submit(compile_ahead, ppo.init, hyper, key)
        chunk = pool.submit(compile_ahead, partial(advance, ppo, CAPACITY), hyper, state, np.int32(0))
    return Program(init.result(), chunk.result(), time.perf_counter() - start)


def compile_ahead(function: Callable, *arguments: Any) -> Any:
    """Compiles a function for arguments of these shapes, with the options that suit the device."""
    options = CPU_OPTIONS if jax.default_backend() == "cpu" else None
    return jax.jit(function).lower(*arguments).compile(compiler_options=options)


def keep_compiled(directory: Path) -> None:
    """Makes JAX keep whatever it compiles, so that another process need not compile it again."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def begin(program: Program, config: Config, hyper: Hyperparams, seed: int) -> TrainState:
    """Makes the first state of a training of `config.num_updates` updates."""
    state = program.init(hyper, jax.random.key(seed))
    return state._replace(horizon=np.int32(config.num_updates))


def chunks(program: Program, config: Config, hyper: Hyperparams, state: TrainState) -> Iterator[Chunk]:
    """Runs a training to its end, a chunk at a time; their lengths do not change the result.

    Args:
        program: Compiled for the configuration.
        config: The static part.
        hyper: The traced part.
        state: Where to go on from.

    Yields:
        Chunks of about CHUNK_SECONDS each.
    """
    done, size = int(state.num_updates), 1
    began = time.perf_counter()
    start = 0.0
    while done < config.num_updates:
        size = min(size, config.num_updates - done)
        state, metrics = program.advance(hyper, state, np.int32(size))
        metrics = jax.device_get(metrics)  # waits for the device
        end = time.perf_counter() - began
        speed = size * config.batch_size / (end - start)
        yield Chunk(state, records.from_metrics(metrics, size, Clock(done + 1, start, end)), speed)
        done, size, start = done + size, _next_size(size, end - start), end


def _next_size(size: int, seconds: float) -> int:
    """How many updates fit into CHUNK_SECONDS, growing gently because first chunks mislead."""
    return max(1, min(int(size * CHUNK_SECONDS / seconds), 4 * size, CAPACITY))
