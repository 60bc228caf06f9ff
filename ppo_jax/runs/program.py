"""A compiled training, run a chunk of updates at a time so that the host hears of it."""

import dataclasses
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.runs import memory, records
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
        template: Shapes and dtypes of a TrainState.
        seconds: What tracing and compiling took.
    """

    init: Any
    advance: Any
    template: TrainState
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

    Raises:
        UsageError: If the environment cannot be made, does not fit the configuration, or there is not
            enough memory.
    """
    start = time.perf_counter()
    ppo = make_ppo(dataclasses.replace(config, total_timesteps=config.batch_size))
    key = jax.random.key(0)
    template = jax.eval_shape(ppo.init, hyper, key)
    memory.check(memory.estimate(config, template))
    with ThreadPoolExecutor() as pool:
        init = pool.submit(compile_ahead, ppo.init, hyper, key)
        chunk = pool.submit(compile_ahead, partial(advance, ppo, CAPACITY), hyper, template, np.int32(0))
    return Program(init.result(), chunk.result(), template, time.perf_counter() - start)


def compile_ahead(function: Callable, *arguments: Any) -> Any:
    """Compiles a function for arguments of these shapes, with the options that suit the device."""
    return jax.jit(function).lower(*arguments).compile(compiler_options=compiler_options())


def compiler_options() -> dict[str, str | bool] | None:
    """Returns the options of XLA that suit the device."""
    return CPU_OPTIONS if jax.default_backend() == "cpu" else None


def keep_compiled(directory: Path) -> None:
    """Makes JAX keep whatever it compiles, so that another process need not compile it again."""
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def begin(program: Program, config: Config, hyper: Hyperparams, seed: int) -> TrainState:
    """Makes the first state of a training of `config.num_updates` updates."""
    state = program.init(hyper, jax.random.key(seed))
    return state._replace(horizon=np.int32(config.num_updates))


@dataclasses.dataclass
class Training:
    """A compiled training under way.

    Attributes:
        program: Compiled for the configuration.
        config: The static part.
        hyper: The traced part.
        state: Where it stands.
        seconds: It has taken so far, whatever was done between chunks included.
    """

    program: Program
    config: Config
    hyper: Hyperparams
    state: TrainState
    seconds: float = 0.0

    def __post_init__(self):
        self._began = time.perf_counter() - self.seconds
        self._size = 1  # of the next chunk

    @property
    def update(self) -> int:
        """Updates done."""
        return int(self.state.num_updates)

    def advance(self, until: int) -> Chunk:
        """Runs the next chunk, of about CHUNK_SECONDS; how long chunks are does not change the result.

        Args:
            until: Update not to go beyond.
        """
        done, size = self.update, min(self._size, until - self.update)
        start = time.perf_counter() - self._began
        self.state, metrics = self.program.advance(self.hyper, self.state, np.int32(size))
        metrics = jax.device_get(metrics)  # waits for the device
        self.seconds = time.perf_counter() - self._began
        self._size = _next_size(size, self.seconds - start)
        speed = size * self.config.batch_size / (self.seconds - start)
        clock = Clock(done + 1, start, self.seconds)
        return Chunk(self.state, records.from_metrics(metrics, size, clock), speed)


def _next_size(size: int, seconds: float) -> int:
    """How many updates fit into CHUNK_SECONDS, growing gently because first chunks mislead."""
    return max(1, min(int(size * CHUNK_SECONDS / seconds), 4 * size, CAPACITY))
