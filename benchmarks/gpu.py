"""Measures what choices gain on a GPU: options of XLA, precisions, batch shapes, many agents.

Each variant runs `ppo-jax benchmark` in a process of its own, because XLA reads its options only once. The
script writes a JSON file and a picture for each variant, and prints one table of whole training. It runs on a
CPU too, where the options change nothing.
"""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

WHILE_GRAPHS = "--xla_gpu_enable_command_buffer=+WHILE"  # loops as one graph, not a launch per kernel
SMALL_GRAPHS = "--xla_gpu_graph_min_graph_size=1"


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure training on a GPU."""

    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32", "16384x32", "65536x32")
    """Batch shapes for a single agent: environments x steps of one update."""
    agents: int = 2048
    """How many agents to train side by side at 4x128."""
    repeats: int = 5
    """Measurements of each part; their median, least and most are reported."""
    seconds: float = 1.0
    """About how many seconds one measurement should take."""
    output: Path = Path("gpu-results")
    """Directory to write the results to."""


class Variant(NamedTuple):
    """One way to run the benchmark.

    Attributes:
        name: The name in the table and in the names of files.
        xla_flags: Options of XLA, in addition to those in the environment.
        precision: The precision of the layers' matrix products.
    """

    name: str
    xla_flags: str = ""
    precision: str = "float32"


VARIANTS = (
    Variant("plain"),
    Variant("graphs of loops", WHILE_GRAPHS),
    Variant("graphs of loops, small ones too", f"{WHILE_GRAPHS} {SMALL_GRAPHS}"),
    Variant("TF32", precision="tensorfloat32"),
    Variant("bfloat16", precision="bfloat16"),
    Variant("TF32, graphs of loops", WHILE_GRAPHS, "tensorfloat32"),
)


def main(options: Options) -> None:
    """Runs all variants, and prints the table."""
    options.output.mkdir(parents=True, exist_ok=True)
    table = Table(title="whole training, environment steps per second", title_justify="left")
    for heading in ("variant", "shape", "agents", "compile s", "steps/s", "slowest", "fastest"):
        table.add_column(heading)
    for variant in VARIANTS:
        single = measure(options, variant, "single", options.shapes, agents=1)
        many = measure(options, variant, "many", ("4x128",), options.agents)
        for row in (row for row in single + many if row["part"] == "training"):
            rates = [f"{row[name]:,.0f}" for name in ("steps_per_second", "slowest", "fastest")]
            compiling = f"{row['compile_seconds']:.1f}"
            table.add_row(variant.name, row["shape"], str(row["agents"]), compiling, *rates)
    Console(width=120).print(table)


def measure(
    options: Options, variant: Variant, name: str, shapes: tuple[str, ...], agents: int
) -> list[dict[str, Any]]:
    """Runs the benchmark in one way.

    Args:
        options: How long and how often to measure, and where to write.
        variant: The options of XLA and the precision.
        name: The end of the result file's name, after the name of the variant.
        shapes: The batch shapes, environments x steps.
        agents: The number of agents trained side by side.

    Returns:
        The measurements of the result file; none if the benchmark failed.
    """
    path = options.output / f"{variant.name} {name}.json".replace(",", "").replace(" ", "-")
    flags = {"shapes": shapes, "agents": (str(agents),), "precision": (variant.precision,)}
    flags |= {"repeats": (str(options.repeats),), "seconds": (str(options.seconds),), "output": (str(path),)}
    command = [str(Path(sys.executable).with_name("ppo-jax")), "benchmark"]
    command += [part for flag, values in flags.items() for part in (f"--{flag}", *values)]
    xla_flags = f"{os.environ.get('XLA_FLAGS', '')} {variant.xla_flags}".strip()
    finished = subprocess.run(command, env=os.environ | {"XLA_FLAGS": xla_flags}, check=False)
    if finished.returncode:
        print(f"{variant.name}, {name}: failed with exit status {finished.returncode}")
        return []
    return json.loads(path.read_text())["measurements"]


if __name__ == "__main__":
    main(tyro.cli(Options))
