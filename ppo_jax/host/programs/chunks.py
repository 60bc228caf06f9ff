"""Compiles the program of a run, and trains with it one chunk of updates at a time.

Between chunks the host can report, save and evaluate.
"""

import dataclasses
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.compilation_cache.compilation_cache import reset_cache
from jax.sharding import Mesh

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.metrics import Metrics
from ppo_jax.algorithm.train import TrainState, advance, agent_of, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import footprint
from ppo_jax.host.programs.crew import Crew
from ppo_jax.host.programs.spread import Spread, spread_over
from ppo_jax.scale.sharding import ENVIRONMENTS, on_all_shards, shard

CAPACITY = 1024  # most updates of one chunk; longer chunks would save no more time on the host
CHUNK_SECONDS = 0.25  # how long a chunk should take, so that the screen keeps moving
# XLA's options for a CPU. Level 1 compiles in three quarters of the time that level 3 takes, and the programs
# are as fast. By default XLA uses only half the width of AVX-512. docs/performance.md says what both gain.
CPU_OPTIONS: dict[str, str | bool] = {
    "xla_backend_optimization_level": "1",
    "xla_cpu_prefer_vector_width": "512",
}


class Program(NamedTuple):
    """The compiled program of a run.

    Attributes:
        init: `init(hyper, seed) -> TrainState`.
        advance: `advance(hyper, state, num_updates) -> (TrainState, Metrics [capacity])`.
        check: `check(state) -> [] bool`, whether all floats are finite. It is a program of its own because
            it then compiles beside the others.
        template: Shapes and dtypes of a TrainState.
        seconds: The time that tracing and compiling took.
        capacity: The most updates of one chunk.
        spread: How its state gets onto several devices, and back; None if it is on one.
    """

    init: Any
    advance: Any
    check: Any
    template: TrainState
    seconds: float
    capacity: int = CAPACITY
    spread: Spread | None = None


class Running(NamedTuple):
    """A chunk that the devices have been given to run.

    Attributes:
        state: The state after it, on the device.
        metrics: Its metrics, on the device.
        num_updates: The number of updates.
        first_update: The number of the first update, counted from 1.
        start: Seconds of training when it was dispatched.
    """

    state: TrainState
    metrics: Metrics
    num_updates: int
    first_update: int
    start: float


class Chunk(NamedTuple):
    """Several updates in a row.

    Attributes:
        state: The state after these updates, on the device.
        metrics: Their metrics on the host, [..., capacity]; only the first `num_updates` are meaningful.
        num_updates: The number of updates.
        first_update: The number of the first update, counted from 1.
        start: Seconds of training before these updates.
        end: Seconds of training after these updates.
        finite: Whether all floats of the state are finite, [] bool; [L] for several lanes. True if that was
            not looked at (see `Training.fetch`).
    """

    state: TrainState
    metrics: Metrics
    num_updates: int
    first_update: int
    start: float
    end: float
    finite: np.ndarray


def compile_program(config: Config, hyper: Hyperparams, num_devices: int = 1) -> Program:
    """Traces and compiles the program of a run.

    Args:
        config: The static part. Its `total_timesteps` does not enter the program.
        hyper: The traced part; its values do not matter here.
        num_devices: The number of devices to divide the environments among (see `scale.shard`).

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration, or if the run's
            footprint is too large.
    """
    start = time.perf_counter()
    ppo = make_ppo(dataclasses.replace(config, total_timesteps=config.batch_size))
    functions = Functions(seeded(ppo.init), partial(advance, ppo, CAPACITY), check=is_finite)
    # JAX remembers this trace when it compiles the function.
    template = jax.eval_shape(functions.init, hyper, np.uint32(0))
    footprint.check(footprint.of_devices(config, template, num_devices))
    spread = None
    if num_devices > 1:
        mesh = Mesh(jax.devices()[:num_devices], (ENVIRONMENTS,))
        sharded = shard(ppo, mesh)
        functions = Functions(
            init=seeded(sharded.init),
            advance=partial(advance, sharded, CAPACITY),
            check=on_all_shards(is_finite, mesh),
        )
        spread = spread_over(mesh, template)
        template = spread.template
    program = compile_functions(functions, hyper, np.uint32(0), template)
    return program._replace(seconds=time.perf_counter() - start, spread=spread)


def seeded(init: Callable[..., TrainState]) -> Callable[..., TrainState]:
    """Returns an `init` that takes a seed in place of a key."""
    return lambda hyper, seed: init(hyper, jax.random.key(seed))


class Functions(NamedTuple):
    """The functions of a `Program` before they are compiled."""

    init: Callable[..., TrainState]
    advance: Callable[..., tuple[TrainState, Metrics]]
    check: Callable[[TrainState], jax.Array]


def compile_functions(functions: Functions, hyper: Any, seed: Any, template: TrainState) -> Program:
    """Compiles the functions of a program, all at the same time.

    Args:
        functions: The functions.
        hyper: The traced part; its values do not matter here.
        seed: A seed, or the seeds of several lanes.
        template: Shapes and dtypes of the state that `init` returns.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor() as pool:  # the longest first
        compiled_advance = pool.submit(compile_ahead, functions.advance, hyper, template, np.int32(0))
        compiled_init = pool.submit(compile_ahead, functions.init, hyper, seed)
        compiled_check = pool.submit(compile_ahead, functions.check, template)
    return Program(
        init=compiled_init.result(),
        advance=compiled_advance.result(),
        check=compiled_check.result(),
        template=template,
        seconds=time.perf_counter() - start,
    )


def float_arrays(state: Any) -> dict[str, Any]:
    """Returns the arrays of a state that hold floats, by their paths."""
    return {path: leaf for path, leaf in by_path(state).items() if jnp.issubdtype(leaf.dtype, jnp.inexact)}


def is_finite(state: Any) -> jax.Array:
    """Computes whether all floats of a state are finite, [] bool."""
    # One array of all numbers: a reduction for each array would take four times as long to compile.
    flat = [array.ravel() for array in float_arrays(state).values()]
    with jax.numpy_dtype_promotion("standard"):  # the environment may mix kinds of floats
        return jnp.isfinite(jnp.concatenate(flat)).all()


def find_nonfinite(state: Any) -> list[str]:
    """Returns the paths of the arrays of a state that contain NaN or an infinity; copies them to the host."""
    arrays = jax.device_get(float_arrays(state))
    return [path for path, array in arrays.items() if not np.isfinite(array).all()]


def compile_ahead(function: Callable, *arguments: Any, donated: int | None = None) -> Any:
    """Compiles a function for arguments of the given shapes, with the options that suit the device.

    Args:
        function: The function.
        *arguments: Arguments, or their shapes and dtypes.
        donated: The number of an argument whose arrays the result may take over; it can be used only once.
    """
    jitted = jax.jit(function, donate_argnums=donated)
    return jitted.lower(*arguments).compile(compiler_options=compiler_options())


def compiler_options() -> dict[str, str | bool] | None:
    """Returns the options of XLA that the command compiles with, for `jax.jit(..., compiler_options=...)`.

    With them, a program of your own trains as fast as the command does. JAX takes them for the outermost
    `jax.jit` only.

    Returns:
        The options that suit a CPU, less those that the environment variable XLA_FLAGS sets. None on other
        devices, where XLA's own are used.
    """
    if jax.default_backend() != "cpu":
        return None
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in CPU_OPTIONS.items() if name not in flags}


def keep_compiled(directory: Path) -> None:
    """Makes JAX keep what it compiles in a directory, so that no other process compiles it again.

    Raises:
        UsageError: If nothing can be written there.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=directory):
            pass
    except OSError as error:
        raise UsageError(
            f"cache_dir = '{directory}' cannot be made or written to: {error.strerror}; give another"
        ) from error
    jax.config.update("jax_compilation_cache_dir", str(directory))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    reset_cache()  # JAX looks for the directory once, when it first compiles


@dataclasses.dataclass
class Training:
    """A compiled run in progress.

    Attributes:
        program: The program, compiled for the configuration.
        config: The static part.
        hyper: The traced part.
        state: The state after the updates that are done; that of several lanes, [L, ...], if the program is
            for lanes.
        update: Updates done.
        seconds: The time training has taken so far, including the time between chunks.
        crew: The processes that train together: whatever the devices compute is an order to all of them.
        chunk_seconds: About how many seconds a chunk takes.
    """

    program: Program
    config: Config
    hyper: Any
    state: TrainState
    update: int = 0
    seconds: float = 0.0
    crew: Crew = dataclasses.field(default_factory=Crew)
    chunk_seconds: float = CHUNK_SECONDS

    def __post_init__(self):
        # A program is compiled for runs of any length: the schedules read the length from the state.
        horizon = Count.of(self.config.num_updates, self.state.horizon.shape)
        self.state = self.state._replace(horizon=horizon)
        self._began = time.perf_counter() - self.seconds
        self._size = 1  # updates in the next chunk
        self._before = self.state, self.update

    @property
    def orders(self) -> dict[str, Callable[[Any], Any]]:
        """The computations that the processes that follow have to do as well, by name."""
        return {
            "advance": self._advance,
            "go back": self._go_back,
            "reseed": self._reseed,
            "collect": self._collect,
        }

    def advance(self, until: int) -> Chunk:
        """Runs the next chunk, of about `chunk_seconds`; the length of chunks does not change the result.

        Args:
            until: The last update that the chunk may include.
        """
        return self._ended(*self._order("advance", min(self._size, until - self.update)))

    def dispatch(self, until: int) -> Running:
        """Gives the devices the next chunk to run, and does not wait for them.

        With a chunk dispatched before the last one is fetched, no device waits for the host or for another
        device. Only for a process that trains alone.

        Args:
            until: The last update that the chunk may include.
        """
        return self._dispatch(min(self._size, until - self.update))

    def fetch(self, running: Running) -> Chunk:
        """Waits until a dispatched chunk has been run; of several, the oldest has to be fetched first.

        Whether its state is finite is not looked at while another chunk runs, because that would wait for it:
        what is not finite shows in the metrics of the next update.
        """
        return self._ended(*self._fetch(running))

    def go_back(self) -> None:
        """Undoes the last chunk."""
        self._order("go back", None)

    def reseed(self, number: int) -> None:
        """Lets the run go on with other random numbers, different ones for each number."""
        self._order("reseed", number)

    def whole_state(self) -> TrainState:
        """Returns the state as whole arrays that this process can read."""
        return self._order("collect", None)

    def agent(self) -> Agent:
        """Returns the agent as it is now, on the host."""
        return jax.device_get(agent_of(self.state))

    def _order(self, name: str, value: Any) -> Any:
        self.crew.tell(name, value)
        return self.orders[name](value)

    def _advance(self, size: int) -> tuple[Running, Metrics, np.ndarray]:
        return self._fetch(self._dispatch(size))

    def _dispatch(self, size: int) -> Running:
        self._before = self.state, self.update
        start, first = time.perf_counter() - self._began, self.update + 1
        self.state, metrics = self.program.advance(self.hyper, self.state, np.int32(size))
        self.update += size
        return Running(state=self.state, metrics=metrics, num_updates=size, first_update=first, start=start)

    def _fetch(self, running: Running) -> tuple[Running, Metrics, np.ndarray]:
        is_newest = running.state is self.state
        finite = self.program.check(running.state) if is_newest else np.True_
        return running, *jax.device_get((running.metrics, finite))

    def _ended(self, running: Running, metrics: Metrics, finite: np.ndarray) -> Chunk:
        """Notes the time that a chunk has taken, and chooses the size of the next."""
        start = max(running.start, self.seconds)  # it may have waited for the chunk before it
        self.seconds = time.perf_counter() - self._began
        size, taken = running.num_updates, self.seconds - start
        self._size = next_size(size, taken, self.program.capacity, self.chunk_seconds)
        return Chunk(
            state=running.state,
            metrics=metrics,
            num_updates=size,
            first_update=running.first_update,
            start=start,
            end=self.seconds,
            finite=finite,
        )

    def _go_back(self, _: None) -> None:
        self.state, self.update = self._before

    def _reseed(self, number: int) -> None:
        self.state = self.state._replace(key=jax.random.fold_in(self.state.key, number))

    def _collect(self, _: None) -> TrainState:
        return self.state if self.program.spread is None else self.program.spread.collect(self.state)


def begin(program: Program, hyper: Hyperparams, seed: int) -> tuple[TrainState, list[str]]:
    """Makes the first state of a run.

    Returns:
        The state, and the paths of its arrays that contain NaN or an infinity.
    """
    state = program.init(hyper, np.uint32(seed))
    if program.check(state):
        return state, []
    return state, find_nonfinite(state if program.spread is None else program.spread.collect(state))


def next_size(size: int, seconds: float, capacity: int = CAPACITY, wanted: float = CHUNK_SECONDS) -> int:
    """Returns how many updates fit into some seconds; at most 4 times `size`, as early timings mislead."""
    return max(1, min(int(size * wanted / seconds), 4 * size, capacity))
