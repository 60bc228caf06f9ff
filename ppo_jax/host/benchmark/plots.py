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
        result: What was measured.
        path: Picture to write.

    Raises:
        UsageError: If it cannot be written there.
    """
    several_agents = len({row.agents for row in result.measurements}) > 1
    panels = [_draw_over_environments, *([_draw_over_agents] if several_agents else [])]
    figure = Figure(figsize=(4.4 * (len(panels) + 1), 4.2), layout="constrained")
    *axes, roofline = figure.subplots(1, len(panels) + 1)
    for panel, ax in zip(panels, axes, strict=True):
        panel(ax, result.measurements)
    _draw_roofline(roofline, result.limits, result.measurements)
    options = result.options
    figure.suptitle(
        f"{options.env}, K = {options.num_epochs}, {options.num_minibatches} minibatches, {options.precision}"
    )
    save(figure, path)


def _draw_over_environments(ax: Axes, measurements: list[Measurement]) -> None:
    for name, color in zip(PARTS, COLORS, strict=False):
        rows = [row for row in measurements if row.part == name and row.agents == 1]
        _draw_line(ax, [_num_envs(row) for row in rows], rows, name, color)
    _label(ax, "environments", "one agent, by part")
    _tick(ax, [_num_envs(row) for row in measurements])


def _draw_over_agents(ax: Axes, measurements: list[Measurement]) -> None:
    rows = [row for row in measurements if row.part == "training"]
    for shape, color in zip(dict.fromkeys(row.shape for row in rows), COLORS, strict=False):
        of_shape = [row for row in rows if row.shape == shape]
        _draw_line(ax, [row.agents for row in of_shape], of_shape, shape, color)
    _label(ax, "agents trained side by side", "whole training, by shape")
    _tick(ax, [row.agents for row in rows])


def _draw_line(ax: Axes, x: list[int], rows: list[Measurement], label: str, color: str) -> None:
    if not rows:
        return
    middle = np.array([row.steps_per_second for row in rows])
    below = middle - [row.slowest for row in rows]
    above = np.array([row.fastest for row in rows]) - middle
    ax.errorbar(x, middle, [below, above], marker="o", markersize=4, capsize=2, label=label, color=color)


def _draw_roofline(ax: Axes, limits: Limits, measurements: list[Measurement]) -> None:
    counted = [row for row in measurements if row.flops_per_step and row.bytes_per_sample]
    intensity = np.geomspace(0.1, 1000, 200)
    bandwidths = {"memory": limits.memory_bytes_per_second, "cache": limits.cache_bytes_per_second}
    for (name, bandwidth), style in zip(bandwidths.items(), ("-", "--"), strict=True):
        roof = np.minimum(limits.flops_per_second, intensity * bandwidth)
        ax.plot(intensity, roof / 1e9, style, color=GUIDE, label=f"limit: {name}, then arithmetic")
    rows = [row for row in counted if row.part == "training" and row.agents == 1]
    for row, color in zip(rows, COLORS, strict=False):
        ax.plot(*_reached(row), "o", color=color, label=f"training {row.shape}")
    for row in (row for row in counted if row.part == "matrix products"):
        ax.plot(*_reached(row), "x", color=GUIDE)
    _label(ax, "FLOP per byte of the update's operations", "roofline (x: the matrix products alone)")
    ax.set_ylabel("GFLOP/s in matrix products")


def _reached(row: Measurement) -> tuple[float, float]:
    """Arithmetic intensity, and GFLOP/s."""
    assert row.flops_per_step is not None
    assert row.flops_per_sample is not None
    assert row.bytes_per_sample is not None
    return row.flops_per_sample / row.bytes_per_sample, row.flops_per_step * row.steps_per_second / 1e9


def _num_envs(row: Measurement) -> int:
    return int(row.shape.split("x")[0])


def _tick(ax: Axes, values: list[int]) -> None:
    """Marks the values that were measured."""
    ticks = sorted(set(values))
    ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    ax.minorticks_off()


def _label(ax: Axes, x_label: str, title: str) -> None:
    ax.set(xscale="log", yscale="log", xlabel=x_label, ylabel="environment steps per second", title=title)
    ax.grid(alpha=0.3, which="major")
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8)
