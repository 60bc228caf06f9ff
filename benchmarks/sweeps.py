"""Measures what many seeds cost in one sweep, beside as many runs one after the other.

Each sweep and each run is a command of its own: the times contain starting Python and compiling. A sweep of
one point trains nothing again, so its members are exactly the seeds.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import record
import tyro
from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what many seeds cost in one sweep."""

    seeds: tuple[int, ...] = (1, 4, 16, 64, 256)
    """Numbers of seeds."""
    preset: str = "CartPole-v1"
    """The preset to train, for as long as it says."""
    repeats: int = 3
    """Measurements of the single run, of which the median counts."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    runs = [measure("train", options.preset) for _ in range(options.repeats)]
    run = sorted(runs, key=lambda row: row["total_seconds"])[len(runs) // 2]
    rows = []
    for count in options.seeds:
        row = {"seeds": count, **measure("sweep", options.preset, "--seeds", str(count))}
        row["share_of_runs"] = round(row["total_seconds"] / (count * run["total_seconds"]), 3)
        row["share_of_training"] = round(row["train_seconds"] / (count * run["train_seconds"]), 3)
        rows.append(row)
        Console().print(row)
    result = {"preset": options.preset, "run": run, "sweeps": rows}
    record.write(options.output, record.complete(result))


def measure(command: str, preset: str, *flags: str) -> dict[str, Any]:
    """Runs a command of the program, and returns what it took."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        words = [sys.executable, "-m", "ppo_jax", command, "--preset", preset, *flags]
        start = time.perf_counter()
        subprocess.run([*words, "--quiet", "--run-dir", str(path)], check=True)
        total = time.perf_counter() - start
        summary = json.loads((path / "summary.json").read_text())
    return {
        "total_seconds": round(total, 2),
        "compile_seconds": summary["compile_seconds"],
        "train_seconds": summary["train_seconds"],
        "steps_per_second": round(summary["env_steps"] / summary["train_seconds"]),
        "peak_bytes": summary["memory"]["process_peak"],
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
