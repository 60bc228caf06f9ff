"""Measures compile time, memory and steps per second of training and of its parts.

Each part is one compiled loop whose length is chosen when it runs, so that a measurement takes about as long
on any machine and nothing is compiled twice. The parts of a shape are measured in turns, several times; the
median and the spread are reported.
"""

import dataclasses
import statistics
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from ppo_jax.host.benchmark import parts, roofline
from ppo_jax.host.benchmark.options import Options, make_config
from ppo_jax.host.benchmark.roofline import Limits
from ppo_jax.host.programs import system


class Measurement(NamedTuple):
    """One part at one shape.

    Attributes:
        shape: The batch shape, environments x steps.
        agents: The number of agents trained side by side.
        part: The name of the part.
        compile_seconds: The seconds of tracing and compiling.
        memory_bytes: The bytes that the program needs on the device.
        steps_per_second: The median of `rates`.
        slowest: The least of `rates`.
        fastest: The most of `rates`.
        rates: The environment steps per second of all agents together, one number for each repetition.
        flops_per_step: The FLOP of the matrix products of training per environment step; None where they
            are not counted.
        flops_per_sample: The FLOP of the matrix products of a gradient step per sample, likewise.
        bytes_per_sample: The bytes read and written by all operations of a gradient step, likewise.
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
    """The result of a benchmark.

    Attributes:
        options: The options of the benchmark.
        limits: The limits of the device.
        measurements: A measurement for each shape, number of agents and part.
    """

    options: Options
    limits: Limits
    measurements: list[Measurement]


def run(options: Options, console: Console) -> Result:
    """Measures everything, and says on the console what is being measured.

    Args:
        options: The options of the benchmark.
        console: The console to print on.
    """
    console.print("measuring the limits of the device")
    limits = roofline.measure_limits()
    measurements = []
    for shape in options.shapes:
        measurements += _measure(options, shape, console)
    return Result(options=options, limits=limits, measurements=measurements)


def _measure(options: Options, shape: str, console: Console) -> list[Measurement]:
    """Measures all parts at one shape, for each number of agents."""
    config = make_config(options, shape)
    towers = roofline.kernels(config)
    flops_per_step, flops_per_sample, bytes_per_sample = None, None, None
    if towers is not None:
        flops_per_step, flops_per_sample = roofline.count_flops(config, towers)
        bytes_per_sample = roofline.bytes_per_sample(config)

    measurements = []
    for num_agents in options.agents:
        console.print(f"measuring {shape}, {num_agents} agent{'s' if num_agents > 1 else ''}")
        to_time = parts.make_parts(config, num_agents)
        if towers is not None and num_agents == 1:
            to_time.append(roofline.products_part(config, towers))
        loops = [parts.prepare(part, options.seconds) for part in to_time]
        all_rates = parts.measure_in_turns(loops, options.repeats)
        measurements += [
            Measurement(
                shape=shape,
                agents=num_agents,
                part=part.name,
                compile_seconds=round(loop.compile_seconds, 3),
                memory_bytes=loop.memory,
                steps_per_second=statistics.median(rates),
                slowest=min(rates),
                fastest=max(rates),
                rates=rates,
                flops_per_step=flops_per_step,
                flops_per_sample=flops_per_sample,
                bytes_per_sample=bytes_per_sample,
            )
            for part, loop, rates in zip(to_time, loops, all_rates, strict=True)
        ]
    return measurements


def as_json(result: Result) -> dict[str, Any]:
    """Returns the content of the result file, strict JSON."""
    return {
        "options": dataclasses.asdict(result.options),
        "limits": result.limits._asdict(),
        "measurements": [measurement._asdict() for measurement in result.measurements],
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def show(result: Result, console: Console) -> None:
    """Prints the measurements as a table.

    Args:
        result: The result to show.
        console: The console to print on.
    """
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
        gflops = ""
        if row.flops_per_step is not None and row.part in ("training", "matrix products"):
            gflops = f"{row.flops_per_step * row.steps_per_second / 1e9:,.0f}"
        rates = [f"{rate:,.0f}" for rate in (row.steps_per_second, row.slowest, row.fastest)]
        compiling, memory = f"{row.compile_seconds:.1f}", f"{row.memory_bytes / 1e6:,.1f}"
        nanoseconds = f"{1e9 / row.steps_per_second:,.0f}"
        table.add_row(row.shape, str(row.agents), row.part, compiling, memory, *rates, nanoseconds, gflops)
    console.print(table)
