"""The picture of a benchmark: throughput against environments and agents, and the roofline."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ppo_jax.host.benchmark.measure import Measurement, Result
from ppo_jax.host.benchmark.roofline import Limits
from ppo_jax.host.pictures.style import COLORS, GUIDE, save

PARTS = ("environment", "rollout", "update", "matrix products", "training")


def draw(result: Result, path: Path) -> None:
    """Draws a benchmark.

    Args:
        result: The result of the benchmark.
        path: The picture to write.

    Raises:
        UsageError: If the picture cannot be written.
    """
    several_agents = len({row.agents for row in result.measurements}) > 1
    num_panels = 3 if several_agents else 2
    figure = Figure(figsize=(4.4 * num_panels, 4.2), layout="constrained")
    over_environments, *over_agents, roofline = figure.subplots(1, num_panels)
    _draw_parts(over_environments, result.measurements)
    if several_agents:
        _draw_agents(over_agents[0], result.measurements)
    _draw_roofline(roofline, result.limits, result.measurements)
    options = result.options
    figure.suptitle(
        f"{options.env}, K = {options.num_epochs}, {options.num_minibatches} minibatches, {options.precision}"
    )
    save(figure, path)


def _draw_parts(ax: Axes, measurements: list[Measurement]) -> None:
    """Draws the throughput of one agent against its environments, a line for each part."""
    rows = [row for row in measurements if row.agents == 1]
    lines = {name: [row for row in rows if row.part == name] for name in PARTS}
    num_envs = {row.shape: int(row.shape.split("x")[0]) for row in measurements}
    for (name, line), color in zip(lines.items(), COLORS, strict=False):
        _draw_line(ax, [num_envs[row.shape] for row in line], line, name, color)
    _finish(ax, "environments", "environment steps per second", "one agent, by part")
    _mark(ax, list(num_envs.values()))


def _draw_agents(ax: Axes, measurements: list[Measurement]) -> None:
    """Draws the throughput of whole training against the number of agents, a line for each shape."""
    rows = [row for row in measurements if row.part == "training"]
    lines = {
        shape: [row for row in rows if row.shape == shape] for shape in dict.fromkeys(r.shape for r in rows)
    }
    for (shape, line), color in zip(lines.items(), COLORS, strict=False):
        _draw_line(ax, [row.agents for row in line], line, shape, color)
    _finish(ax, "agents trained side by side", "environment steps per second", "whole training, by shape")
    _mark(ax, [row.agents for row in rows])


def _draw_line(ax: Axes, x: list[int], rows: list[Measurement], label: str, color: str) -> None:
    """Draws the medians of measurements as a line, with bars from the slowest to the fastest."""
    if not rows:
        return
    middle = np.array([row.steps_per_second for row in rows])
    below = middle - [row.slowest for row in rows]
    above = [row.fastest for row in rows] - middle
    ax.errorbar(x, middle, [below, above], marker="o", markersize=4, capsize=2, label=label, color=color)


def _draw_roofline(ax: Axes, limits: Limits, measurements: list[Measurement]) -> None:
    """Draws what the device could do at most, and what training and its matrix products alone reach."""
    intensity = np.geomspace(0.1, 1000, 200)
    bandwidths = {"memory": limits.memory_bytes_per_second, "cache": limits.cache_bytes_per_second}
    for (name, bandwidth), style in zip(bandwidths.items(), ("-", "--"), strict=True):
        roof = np.minimum(limits.flops_per_second, intensity * bandwidth)
        ax.plot(intensity, roof / 1e9, style, color=GUIDE, label=f"limit: {name}, then arithmetic")

    colors = iter(COLORS)
    for row in measurements:
        if not (row.flops_per_step and row.flops_per_sample and row.bytes_per_sample):
            continue  # nothing was counted
        reached = (
            row.flops_per_sample / row.bytes_per_sample,
            row.flops_per_step * row.steps_per_second / 1e9,
        )
        if row.part == "training" and row.agents == 1:
            ax.plot(*reached, "o", color=next(colors, GUIDE), label=f"training {row.shape}")
        elif row.part == "matrix products":
            ax.plot(*reached, "x", color=GUIDE)
    title = "roofline (x: the matrix products alone)"
    _finish(ax, "FLOP per byte of the update's operations", "GFLOP/s in matrix products", title)


def _finish(ax: Axes, x_label: str, y_label: str, title: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label, title=title)
    ax.grid(alpha=0.3, which="major")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8)


def _mark(ax: Axes, values: list[int]) -> None:
    """Marks the values that were measured on the x-axis, and no others."""
    ticks = sorted(set(values))
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.set_xticks([], minor=True)
