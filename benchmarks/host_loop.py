"""Measures what the host costs: a training as `ppo-jax train` runs it against the same program in one call.

Both are of the same compiled program, in one process and in turns. The host's share is chunks, their
records in metrics.jsonl, the watch for NaN, and lines for the screen; checkpoints are timed apart.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.monitor.screen import QuietScreen
from ppo_jax.host.programs import chunks, system
from ppo_jax.host.programs.chunks import Program
from ppo_jax.host.runs.checkpoints import store
from ppo_jax.host.runs.checkpoints.store import Progress
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import session
from ppo_jax.host.training.loop import Trainer
from ppo_jax.host.training.session import Session
from ppo_jax.host.training.signals import Stop


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what the host adds to a training."""

    preset: str = "CartPole-v1"
    """Whose training."""
    repeats: int = 21
    """Pairs of measurements."""
    output: Path | None = None
    """File of JSON to write."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    config, hyper = ppo_jax.preset(options.preset)
    asked = Request(options.preset, config, hyper, 0)
    compiled = chunks.compile_program(config, hyper)
    at_once, in_chunks, saving = [], [], []
    for _ in range(options.repeats + 1):
        at_once.append(_train_at_once(compiled, asked))
        seconds, saved = _train_in_chunks(compiled, asked)
        in_chunks.append(seconds)
        saving.append(saved)
    at_once, in_chunks, saving = at_once[1:], in_chunks[1:], saving[1:]  # without the first, to warm up
    shares = [chunks / once - 1 for chunks, once in zip(in_chunks, at_once, strict=True)]
    result = {
        "preset": options.preset,
        "updates": config.num_updates,
        "seconds_at_once": _spread(at_once),
        "seconds_in_chunks": _spread(in_chunks),
        "share_of_the_host": _spread(shares),
        "seconds_per_checkpoint": _spread(saving),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }
    Console().print_json(data=result)
    if options.output is not None:
        options.output.write_text(json.dumps(result, indent=1) + "\n")


def _train_at_once(compiled: Program, asked: Request) -> float:
    """Runs all updates in calls as long as the program allows, and fetches the metrics."""
    state = chunks.begin(compiled, asked.config, asked.hyper, asked.seed)
    jax.block_until_ready(state)
    start, left = time.perf_counter(), asked.config.num_updates
    while left:
        size = min(left, chunks.CAPACITY)
        state, metrics = compiled.advance(asked.hyper, state, np.int32(size))
        jax.device_get(metrics)
        left -= size
    return time.perf_counter() - start


def _train_in_chunks(compiled: Program, asked: Request) -> tuple[float, float]:
    """Trains as the command line does; returns the seconds, and those of a checkpoint."""
    with tempfile.TemporaryDirectory() as path:
        run = RunDirectory(Path(path))
        screen = QuietScreen(asked.total_steps, asked.solved_return)
        with run.metrics.open("a") as file:
            trainer = session.make_trainer(Session(asked, RunOptions(), run, screen, Stop()), compiled, file)
            jax.block_until_ready(trainer.training.state)
            seconds = _time(_advance_to_end, trainer)
        arguments = (trainer.store, trainer.training.state, Progress(trainer.training.update, None, 0))
        return seconds, _time(store.save, *arguments)


def _advance_to_end(trainer: Trainer) -> None:
    while not trainer.is_done:
        trainer.advance()


def _time(function: Any, *arguments: Any) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


if __name__ == "__main__":
    main(tyro.cli(Options))
