"""A compiled training, run a chunk of updates at a time so that the host hears of it."""

import time
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.runs import records
from ppo_jax.runs.records import Clock, Record
from ppo_jax.train import TrainState, advance, make_ppo

CAPACITY = 1024  # most updates of one chunk; a longer one would not save the host any more time
CHUNK_SECONDS = 0.25  # how long a chunk should take, so that the screen keeps moving


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
        config: The static part.
        hyper: The traced part; its values do not matter here.
    """
    start = time.perf_counter()
    ppo = make_ppo(config)
    key = jax.random.key(0)
    state = jax.eval_shape(ppo.init, hyper, key)
    init = jax.jit(ppo.init).lower(hyper, key).compile()
    chunk = jax.jit(partial(advance, ppo, CAPACITY)).lower(hyper, state, np.int32(0)).compile()
    return Program(init, chunk, time.perf_counter() - start)


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
