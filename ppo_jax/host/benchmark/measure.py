"""Measures compile time, memory and steps per second: whole training, rollout, environment, update.

Each part is one compiled loop whose length is chosen at run time, so that a measurement takes about as long
on any machine and nothing is compiled twice. Reported are the median and the spread of several measurements,
interleaved over the parts of a shape.
"""

import dataclasses
import itertools
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ppo_jax.host.benchmark import parts, roofline
from ppo_jax.host.benchmark.options import Options, make_config
from ppo_jax.host.benchmark.parts import Part, Timed
from ppo_jax.host.benchmark.roofline import Limits
from ppo_jax.host.programs import system


class Measurement(NamedTuple):
    """One part at one shape.

    Attributes:
        shape: Environments x steps.
        agents: Trained side by side.
        part: Its name.
        compile_seconds: Tracing and compiling.
        memory_bytes: That the program needs on the device.
        steps_per_second: Median; environment steps of all agents.
        slowest: Least of the repeated measurements.
        fastest: Most of them.
        rates: All of them, in the order of the rounds.
        flops_per_step: Of the matrix products of a whole training; None where they are not counted.
        flops_per_sample: Of the matrix products of a gradient step, likewise.
        bytes_per_sample: Read and written by all operations of a gradient step, likewise.
    """

    shape: str
    agents: int
    part: str
    compile_seconds: float
    memory_bytes: int
    steps_per_second: float
    slowest: float
    fastest: float
    rates: list[float]
    flops_per_step: int | None
    flops_per_sample: int | None
    bytes_per_sample: float | None


class Result(NamedTuple):
    """All that a run of the benchmark found out."""

    options: Options
    limits: Limits
    measurements: list[Measurement]


def run(options: Options, console: Console) -> Result:
    """Measures everything, and says on the console what it is at.

    Args:
        options: What to measure.
        console: Where to say it.
    """
    console.print("measuring the limits of the device")
    measured = roofline.measure_limits()
    measurements = []
    for shape, num_agents in itertools.product(options.shapes, options.agents):
        console.print(f"measuring {shape}, {num_agents} agent{'s' if num_agents > 1 else ''}")
        measurements += _measure(options, shape, num_agents)
    return Result(options, measured, measurements)


def as_json(result: Result) -> dict[str, Any]:
    """Returns the content of the result file."""
    return {
        "options": dataclasses.asdict(result.options),
        "limits": result.limits._asdict(),
        "measurements": [measurement._asdict() for measurement in result.measurements],
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def show(result: Result, console: Console) -> None:
    """Prints the measurements as a table."""
    hardware, versions, options = system.hardware(), system.versions(), result.options
    table = Table(
        title=f"{options.env}, K = {options.num_epochs}, {options.num_minibatches} minibatches, "
        f"{options.precision}, median of {options.repeats}; {hardware['cpu']} x{hardware['cpu_count']}, "
        f"{hardware['device']}, Python {versions['python']}, jax {versions['jax']}",
        title_justify="left",
        caption=f"measured limits: {result.limits.flops_per_second / 1e9:,.0f} GFLOP/s in large matrix "
        f"products, {result.limits.memory_bytes_per_second / 1e9:,.0f} GB/s to and from memory, "
        f"{result.limits.cache_bytes_per_second / 1e9:,.0f} GB/s to and from a cache",
        caption_justify="left",
    )
    for heading in ("shape", "agents", "part"):
        table.add_column(heading)
    for heading in ("compile s", "memory MB", "steps/s", "slowest", "fastest", "ns/step", "GFLOP/s"):
        table.add_column(heading, justify="right")
    for row in result.measurements:
        rates = [f"{rate:,.0f}" for rate in (row.steps_per_second, row.slowest, row.fastest)]
        compiling, memory = f"{row.compile_seconds:.1f}", f"{row.memory_bytes / 1e6:,.1f}"
        numbers = (compiling, memory, *rates, f"{1e9 / row.steps_per_second:,.0f}", _gflops(row))
        table.add_row(row.shape, str(row.agents), row.part, *numbers)
    console.print(table)


def _measure(options: Options, shape: str, num_agents: int) -> list[Measurement]:
    config = make_config(options, shape)
    to_time, counts = parts.make_parts(config, num_agents), (None, None, None)
    towers = roofline.kernels(config)
    if towers is not None:
        counts = (*roofline.count_flops(config, towers), roofline.bytes_per_sample(config))
        to_time += [roofline.products_part(config, towers)] if num_agents == 1 else []
    timed = [parts.prepare(part, options.seconds) for part in to_time]
    measured = zip(to_time, timed, parts.measure(timed, options.repeats), strict=True)
    return [_row(shape, num_agents, part, loop, rates, counts) for part, loop, rates in measured]


def _row(
    shape: str, num_agents: int, part: Part, loop: Timed, rates: list[float], counts: tuple
) -> Measurement:
    head = (shape, num_agents, part.name, round(loop.compile_seconds, 3), loop.memory)
    return Measurement(*head, *parts.summarize(rates), rates, *counts)


def _gflops(row: Measurement) -> str:
    if row.flops_per_step is None or row.part not in ("training", "matrix products"):
        return ""
    return f"{row.flops_per_step * row.steps_per_second / 1e9:,.0f}"
