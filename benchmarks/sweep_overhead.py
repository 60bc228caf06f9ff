"""Measures what a sweep costs beyond its members: the host, its files and its tables.

The same members are trained in turns: as `ppo-jax sweep` trains them, from the call to the summary, less
the time of compiling; and by the same program in as few calls as it allows, of which only the metrics are
fetched. Which of the two comes first alternates, so that a machine that grows slower or faster favors
neither.
"""

import dataclasses
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.count import Count
from ppo_jax.host.programs import lanes
from ppo_jax.host.programs.chunks import Program
from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start_sweep


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what a sweep costs beyond its members."""

    preset: str = "CartPole-v1"
    """The preset to train, for as long as it says."""
    members: int = 64
    """The number of seeds."""
    repeats: int = 4
    """Pairs of measurements."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    lanes.use_all_cores()
    config, hyper = ppo_jax.preset(options.preset)
    asked = SweepRequest(Request(options.preset, config, hyper, 0), ({},), num_seeds=options.members)
    settings = lanes.settings_of([(config, hyper)] * options.members, ())
    program = lanes.compile_lanes(config, settings)
    measurements = [partial(train_alone, program, asked, settings), partial(train_as_sweep, asked)]
    pairs = []
    for repeat in range(options.repeats):
        order = (0, 1) if repeat % 2 == 0 else (1, 0)
        seconds = {which: measurements[which]() for which in order}
        pairs.append((seconds[0], seconds[1]))
    result: dict[str, Any] = {
        "preset": options.preset,
        "members": options.members,
        "seconds_alone": [round(alone, 3) for alone, _ in pairs],
        "seconds_as_sweep": [round(as_sweep, 3) for _, as_sweep in pairs],
        "overhead": round(statistics.median(as_sweep / alone - 1 for alone, as_sweep in pairs), 4),
    }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def train_alone(program: Program, asked: SweepRequest, settings: lanes.Settings) -> float:
    """Trains all members in as few calls as the program allows; returns the seconds that it takes."""
    start, left = time.perf_counter(), asked.base.config.num_updates
    state = program.init(settings, np.arange(asked.num_members, dtype=np.uint32))
    state = state._replace(horizon=Count.of(left, state.horizon.shape))
    state = lanes.place(state)
    while left:
        size = min(left, program.capacity)
        state, metrics = program.advance(settings, state, np.int32(size))
        jax.device_get(metrics)
        left -= size
    return time.perf_counter() - start


def train_as_sweep(asked: SweepRequest) -> float:
    """Carries out the sweep; returns the seconds that it takes, without those of compiling."""
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        sweep, status = start_sweep.run(asked, Path(folder) / "sweep", quiet=True)
        seconds = time.perf_counter() - start
        assert status == 0
        return seconds - json.loads(sweep.summary.read_text())["compile_seconds"]


if __name__ == "__main__":
    main(tyro.cli(Options))
