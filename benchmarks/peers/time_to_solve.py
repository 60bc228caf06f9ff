"""Measures how long it takes from the start of the process until CartPole-v1 is solved.

Each run is `ppo-jax train` as a process of its own. A cold run has an empty cache of compiled programs, a
warm one the cache of an earlier run. The clock starts with the process and stops when the line that reports
the solution arrives. What the run itself measured stands beside it: compiling, and training alone.
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

COMMAND = Path(sys.executable).with_name("ppo-jax")
SOLVED = "solved after"  # how the line begins


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the time to solve CartPole-v1."""

    num_seeds: int = 20
    """Seeds to take in turn."""
    cold: int = 5
    """Runs with an empty cache."""
    warm: int = 5
    """Runs with a full one."""
    seed: int = 0
    """First seed."""
    output: Path | None = None
    """File of JSON to write."""


class Run(NamedTuple):
    """One training.

    Attributes:
        kind: Cold or warm.
        seed: Of the training.
        wall_seconds: From the start of the process to the report; None if it was not solved.
        compile_seconds: What compiling took, inside the process.
        train_seconds: What training took until it was solved; None if it was not.
    """

    kind: str
    seed: int
    wall_seconds: float | None
    compile_seconds: float
    train_seconds: float | None


def main(options: Options) -> None:
    """Runs all trainings, prints the table and writes the JSON."""
    with tempfile.TemporaryDirectory() as folder:
        runs = [*run_cold(options, Path(folder)), *run_warm(options, Path(folder))]
    show(runs)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(as_json(options, runs), indent=2) + "\n")


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
        kind: Cold or warm.
        seed: Of the training.
        run_dir: Where to; must not be there yet.
        cache_dir: Of compiled programs.
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
    """Reads a training to its end; returns when it said that it was solved, if it did."""
    assert process.stdout is not None
    arrivals = [time.perf_counter() - start for line in process.stdout if line.strip().startswith(SOLVED)]
    return arrivals[0] if arrivals else None


def show(runs: list[Run]) -> None:
    """Prints a row per kind."""
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
    """Returns medians and worst cases of one kind; runs that were not solved count in none but compiling."""
    solved = sum(run.wall_seconds is not None for run in runs)
    parts: list[Callable[[Run], float | None]] = [
        lambda run: run.wall_seconds,
        lambda run: run.compile_seconds,
        lambda run: run.train_seconds,
    ]
    cells = [cell for part in parts for cell in median_and_worst(list(map(part, runs)))]
    return [kind, str(len(runs)), str(solved), *cells]


def median_and_worst(seconds: list[float | None]) -> tuple[str, str]:
    """Returns the median and the largest of those that are known."""
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
