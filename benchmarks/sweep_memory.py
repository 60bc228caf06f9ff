"""Measures how much RAM a member of a sweep takes, beside what a sweep predicts when it divides its members.

Two sweeps with few and with many members run in processes of their own. What the peaks of the two differ by,
for each further member, is what a member takes.
"""

import dataclasses
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.programs import lanes


class Case(NamedTuple):
    """Networks to measure.

    Attributes:
        hidden_sizes: The sizes of their layers.
        few: The members of the smaller sweep.
        many: The members of the larger one.
    """

    hidden_sizes: tuple[int, ...]
    few: int
    many: int


PRESET = "CartPole-v1"
UPDATES = 10
CASES = (Case((64, 64), 64, 2048), Case((256, 256), 16, 128))


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure how much RAM a member of a sweep takes."""

    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    rows = [measure(case) for case in CASES]
    result = {"preset": PRESET, "updates": UPDATES, "cases": rows}
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def measure(case: Case) -> dict[str, Any]:
    """Measures what a member takes, and asks what is predicted."""
    config, _ = ppo_jax.preset(PRESET)
    config = dataclasses.replace(
        config, hidden_sizes=case.hidden_sizes, total_timesteps=UPDATES * config.batch_size
    )
    few, many = peak(config, case.few), peak(config, case.many)
    measured, (predicted, _) = (many - few) / (case.many - case.few), lanes.bytes_of_lane(config)
    return {
        **case._asdict(),
        "peak_of_few": few,
        "peak_of_many": many,
        "bytes_of_a_member": round(measured),
        "predicted": predicted,
        "ratio": round(predicted / measured, 3),
    }


def peak(config: ppo_jax.Config, members: int) -> int:
    """Trains so many members in a process of its own; returns the most bytes that it had."""
    sizes = ",".join(map(str, config.hidden_sizes))
    flags = ("--seeds", str(members), "--total-timesteps", str(config.total_timesteps))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sweep"
        words = [sys.executable, "-m", "ppo_jax", "sweep", "--preset", PRESET, *flags]
        words += ["--hidden-sizes", sizes, "--quiet", "--run-dir", str(path)]
        subprocess.run(words, check=True)
        return json.loads((path / "summary.json").read_text())["memory"]["process_peak"]


if __name__ == "__main__":
    main(tyro.cli(Options))
