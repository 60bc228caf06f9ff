"""Measures how long it takes from the start of the process until CartPole-v1 is solved.

Each run is `ppo-jax train` in a process of its own. A cold run has an empty cache of compiled programs; a
warm run has the cache of an earlier run. The clock starts with the process, and stops when the line arrives
that reports the solution. The times that the run itself measured, of compiling and of training alone, are
given as well.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from ppo_jax.host.programs import system
from ppo_jax.host.runs import files

COMMAND = Path(sys.executable).with_name("ppo-jax")
SOLVED = "solved after"  # the beginning of this line


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the time to solve CartPole-v1."""

    num_seeds: int = 20
    """How many different seeds to use."""
    cold: int = 5
    """How many runs with an empty cache."""
    warm: int = 5
    """How many runs with the cache of an earlier run."""
    seed: int = 0
    """First seed."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


class Run(NamedTuple):
    """The times of one run.

    Attributes:
        kind: "cold" or "warm".
        seed: The seed of the run.
        wall_seconds: From the start of the process to the report; None if the task was not solved.
        compile_seconds: The seconds of compiling, inside the process.
        train_seconds: The seconds of training until the task was solved; None if it was not.
    """

    kind: str
    seed: int
    wall_seconds: float | None
    compile_seconds: float
    train_seconds: float | None


def main(options: Options) -> None:
    """Does all runs, prints the table and writes the JSON."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [*run_cold(options, Path(folder)), *run_warm(options, Path(folder))]
    show(runs)
    if options.output:
        with files.output(options.output) as draft:
            draft.write_text(json.dumps(as_json(options, runs), indent=2) + "\n")


def run_cold(options: Options, folder: Path) -> list[Run]:
    """Trains with an empty cache every time."""
    return [
        train("cold", seed_of(options, index), folder / f"cold-{index}", folder / f"cache-{index}")
        for index in range(options.cold)
    ]


def run_warm(options: Options, folder: Path) -> list[Run]:
    """Trains with the cache that a run before them has filled."""
    cache = folder / "cache-warm"
    if options.warm:
        train("filling", options.seed, folder / "filling", cache)
    return [
        train("warm", seed_of(options, index), folder / f"warm-{index}", cache)
        for index in range(options.warm)
    ]


def seed_of(options: Options, index: int) -> int:
    """Returns the seed of a run."""
    return options.seed + index % options.num_seeds


def train(kind: str, seed: int, run_dir: Path, cache_dir: Path) -> Run:
    """Trains once.

    Args:
        kind: "cold" or "warm".
        seed: The seed of the run.
        run_dir: The run directory, which must not exist yet.
        cache_dir: The directory of compiled programs.
    """
    command = [COMMAND, "train", "--seed", str(seed), "--run-dir", run_dir, "--cache-dir", cache_dir]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    wall_seconds = seconds_to_solve(process, start)
    if process.wait():
        raise SystemExit(f"`{' '.join(map(str, command))}` ended with status {process.returncode}")
    summary = json.loads((run_dir / "summary.json").read_text())
    solved = summary["solved"]
    return Run(kind, seed, wall_seconds, summary["compile_seconds"], solved and solved["seconds"])


def seconds_to_solve(process: subprocess.Popen[str], start: float) -> float | None:
    """Reads the output of a run to its end; returns when it reported the solution, if it did."""
    assert process.stdout is not None
    arrivals = [time.perf_counter() - start for line in process.stdout if line.strip().startswith(SOLVED)]
    return arrivals[0] if arrivals else None


def show(runs: list[Run]) -> None:
    """Prints one row for each kind of run."""
    hardware, versions = system.hardware(), system.versions()
    title = (
        f"CartPole-v1, seconds to solve; {hardware['cpu']} x{hardware['cpu_count']}, "
        f"Python {versions['python']}, jax {versions['jax']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in (
        "cache",
        "runs",
        "solved",
        "from start",
        "worst",
        "compiling",
        "worst",
        "training",
        "worst",
    ):
        table.add_column(heading, justify="left" if heading == "cache" else "right")
    for kind in dict.fromkeys(run.kind for run in runs):
        table.add_row(*row(kind, [run for run in runs if run.kind == kind]))
    Console(width=max(110, Console().width)).print(table)


def row(kind: str, runs: list[Run]) -> list[str]:
    """Returns medians and worst cases of one kind; runs that solved nothing count for compiling only."""
    solved = sum(run.wall_seconds is not None for run in runs)
    parts: list[Callable[[Run], float | None]] = [
        lambda run: run.wall_seconds,
        lambda run: run.compile_seconds,
        lambda run: run.train_seconds,
    ]
    cells = [cell for part in parts for cell in median_and_worst(list(map(part, runs)))]
    return [kind, str(len(runs)), str(solved), *cells]


def median_and_worst(seconds: list[float | None]) -> tuple[str, str]:
    """Returns the median and the largest of the times that are known."""
    known = [value for value in seconds if value is not None]
    return (f"{statistics.median(known):.2f}", f"{max(known):.2f}") if known else ("-", "-")


def as_json(options: Options, runs: list[Run]) -> dict[str, Any]:
    """Returns the content of the result file."""
    return {
        "options": {name: value for name, value in vars(options).items() if name != "output"},
        "versions": system.versions(),
        "hardware": system.hardware(),
        "runs": [run._asdict() for run in runs],
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
