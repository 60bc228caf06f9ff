"""Measures what the host costs: training as `ppo-jax train` does it, against the same program in few calls.

Both run the same compiled program in one process, in turns. The host's share consists of chunks, records in
metrics.jsonl, the watch for NaN, and lines for the screen. Checkpoints are timed separately.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.count import Count
from ppo_jax.host.monitor.screen import QuietScreen
from ppo_jax.host.programs import chunks
from ppo_jax.host.programs.chunks import Program
from ppo_jax.host.runs.checkpoints import store
from ppo_jax.host.runs.checkpoints.store import Progress
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import session
from ppo_jax.host.training.session import Session
from ppo_jax.host.training.signals import Stop


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what the host adds to the time of training."""

    preset: str = "CartPole-v1"
    """Preset to train."""
    total_timesteps: int | None = None
    """Environment steps of one training; by default those of the preset."""
    repeats: int = 21
    """Pairs of measurements."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    config, hyper = ppo_jax.preset(options.preset)
    if options.total_timesteps is not None:
        config = dataclasses.replace(config, total_timesteps=options.total_timesteps)
    asked = Request(preset=options.preset, config=config, hyper=hyper, seed=0)
    program = chunks.compile_program(config, hyper)
    pairs = [
        (train_at_once(program, asked), *train_in_chunks(program, asked)) for _ in range(options.repeats + 1)
    ]
    at_once, in_chunks, saving = zip(*pairs[1:], strict=True)  # without the first pair, which warms up
    shares = [with_host / alone - 1 for with_host, alone in zip(in_chunks, at_once, strict=True)]
    result = {
        "preset": options.preset,
        "updates": config.num_updates,
        "seconds_at_once": spread(at_once),
        "seconds_in_chunks": spread(in_chunks),
        "share_of_the_host": spread(shares),
        "seconds_per_checkpoint": spread(saving),
    }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def train_at_once(program: Program, asked: Request) -> float:
    """Runs all updates in calls as long as the program allows, and fetches the metrics.

    Returns:
        The seconds of training.
    """
    state, _ = chunks.begin(program, asked.hyper, asked.seed)
    state = jax.block_until_ready(state._replace(horizon=Count.of(asked.config.num_updates)))
    start, left = time.perf_counter(), asked.config.num_updates
    while left:
        size = min(left, chunks.CAPACITY)
        state, metrics = program.advance(asked.hyper, state, np.int32(size))
        jax.device_get(metrics)
        left -= size
    return time.perf_counter() - start


def train_in_chunks(program: Program, asked: Request) -> tuple[float, float]:
    """Trains as the command line does, in a run directory that is removed afterwards.

    Returns:
        The seconds of training, and those of a checkpoint.
    """
    with tempfile.TemporaryDirectory() as path:
        run = RunDirectory(Path(path))
        screen = QuietScreen(asked.total_steps, asked.solved_return)
        with run.metrics.open("a") as file:
            loop = session.prepare(Session(asked, run, screen, Stop()), program, file)
            jax.block_until_ready(loop.training.state)
            start = time.perf_counter()
            while not loop.is_done:
                loop.advance()
            trained = time.perf_counter()
            progress = Progress(loop.training.update, None, 0)
            store.save(loop.store, loop.training.state, progress)
        return trained - start, time.perf_counter() - trained


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median, the least and the most of some numbers."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


if __name__ == "__main__":
    main(tyro.cli(Options))
