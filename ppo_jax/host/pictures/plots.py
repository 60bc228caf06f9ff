"""Draws the diagnostics of one run, or of several runs or groups of seeds on top of each other."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.lib.stride_tricks import sliding_window_view

from ppo_jax.errors import UsageError
from ppo_jax.host.diagnosis import seed_groups
from ppo_jax.host.diagnosis.health import CLIP_FRACTION
from ppo_jax.host.diagnosis.history import Columns
from ppo_jax.host.diagnosis.intervals import CONFIDENCE, interval
from ppo_jax.host.pictures.style import COLORS, GUIDE, HEALTHY, save
from ppo_jax.host.runs import records, request
from ppo_jax.host.runs.directory import RunDirectory

SMOOTHING = 25  # updates in the rolling median of the noisy diagnostics
LEGEND_WIDTH = 140  # characters that fit below the panels
BAND_POINTS = 150  # points of a band: no more than can be seen, since each of them is bootstrapped
PANELS = {
    "return_window": "Episode return",
    "clip_fraction": "Clip fraction",
    "entropy": "Policy entropy (nats)",
    "approx_kl": "KL(old || new), mean over gradient steps (nats)",
    "explained_variance": "Explained variance of the value",
    "value_loss": "Value loss",
}
COLUMNS = ("env_steps", "episode_return", *PANELS)
MAX_OWN = 99  # panels for the environment's own metrics


def draw(runs: Sequence[RunDirectory], output: Path | None = None) -> Path:
    """Draws the diagnostics of runs and writes the picture.

    Args:
        runs: One or more run directories. Runs that differ only in their seed become one curve, which ends
            where the shortest of them ends: beyond that, only some of the seeds are left.
        output: The picture to write; by default diagnostics.png in the run, or comparison.png in the
            current directory for several runs.

    Returns:
        The path of the picture.

    Raises:
        UsageError: If a run cannot be read, or the picture cannot be written.
    """
    path = output or (runs[0].diagnostics if len(runs) == 1 else Path("comparison.png"))
    groups = seed_groups.by_label(runs)
    histories = dict(_join(label, [read(run) for run in seeds]) for label, seeds in groups.items())
    marks = {request.read(run).solved_return for run in runs}
    save(diagnostics(histories, marks.pop() if len(marks) == 1 else None), path)
    return path


def read(run: RunDirectory) -> dict[str, np.ndarray]:
    """Reads the metrics of a run, and makes sure that everything to draw is there.

    Returns:
        One array [U] per metric, NaN where there was no value.

    Raises:
        UsageError: If a metric is missing, or the file cannot be read.
    """
    columns = records.read(run)
    missing = [name for name in COLUMNS if name not in columns]

    if missing:
        raise UsageError(f"'{run.metrics}' is damaged: it has no {', '.join(missing)}")
    return columns


def diagnostics(histories: Mapping[str, Columns], solved_return: float | None = None) -> Figure:
    """Draws the diagnostics that a practitioner looks at first, over environment steps.

    Args:
        histories: The metrics by the name of the run: a column [U] for each of COLUMNS; or [S, U] for
            several seeds, drawn as their interquartile mean with its bootstrap interval.
        solved_return: The mean return at which the task counts as solved; None without such a mark.

    Returns:
        One panel per diagnostic, and per metric of the environment's own that all histories have: raw and
        smoothed for a single run, smoothed for several.
    """
    titles = {**PANELS, **{name: name for name in _own(histories.values())}}
    rows = math.ceil(len(titles) / 3)
    figure = Figure(figsize=(12, 3.2 * rows), layout="constrained")
    axes = dict(zip(titles, figure.subplots(rows, 3).flat, strict=False))
    for metric, ax in axes.items():
        ax.set_title(titles[metric], fontsize="medium", loc="left", parse_math=False)
        panel(ax, metric, histories, solved_return)
    for ax in figure.axes[len(titles) :]:
        ax.remove()
    has_band = any(np.ndim(columns["env_steps"]) == 2 for columns in histories.values())
    title = next(iter(histories))
    if len(histories) > 1:
        title = f"{len(histories)} {'groups of seeds' if has_band else 'runs'}"
        lines = [line for line in axes["return_window"].lines if line.get_label() in histories]
        columns = max(1, LEGEND_WIDTH // max(map(len, histories)))
        figure.legend(handles=lines, loc="outside lower center", ncols=columns, fontsize="small")
    band = f": interquartile mean over seeds, with its {CONFIDENCE:.0%} bootstrap interval"
    figure.suptitle(f"{title}{band if has_band else ''}")
    return figure


def panel(
    ax: Axes,
    metric: str,
    histories: Mapping[str, Columns],
    solved_return: float | None = None,
    colors: Sequence[str] = COLORS,
) -> None:
    """Draws one diagnostic.

    Args:
        ax: The axes to draw in.
        metric: One of PANELS, or a metric of the environment's own.
        histories: The metrics by the name of the run (see `diagnostics`).
        solved_return: The mean return at which the task counts as solved; None without such a mark.
        colors: The colors of the histories, in order.
    """
    ax.set_xlabel("environment steps")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
    ax.xaxis.set_major_locator(MaxNLocator(6))
    for (name, columns), color in zip(histories.items(), cycle(colors), strict=False):
        if np.ndim(columns[metric]) == 2:
            _draw_band(ax, metric, columns, color, name)
        else:
            _draw_run(ax, metric, columns, color, name, is_alone=len(histories) == 1)
    _explain(ax, metric, solved_return)
    handles, labels = ax.get_legend_handles_labels()
    legend = {label: handle for handle, label in zip(handles, labels, strict=True) if label not in histories}
    if legend:
        ax.legend(legend.values(), legend.keys(), loc="best", fontsize="small")


def _join(label: str, seeds: list[dict[str, np.ndarray]]) -> tuple[str, Columns]:
    """Joins the columns of a group: [U] for one run; [S, U] for several, up to the end of the shortest."""
    if len(seeds) == 1:
        return label, seeds[0]
    lengths = {len(columns["env_steps"]) for columns in seeds}
    # [S, U] of each metric, with U the length of the shortest.
    names = (*COLUMNS, *_own(seeds))
    stacked = {name: np.stack([columns[name][: min(lengths)] for columns in seeds]) for name in names}
    return label if len(lengths) == 1 else f"{label}, to the end of the shortest", stacked


def _own(histories: Iterable[Columns]) -> list[str]:
    """Returns the environment's own metrics that all histories have."""
    first, *others = histories
    return [name for name in records.own(first) if all(name in other for other in others)][:MAX_OWN]


def _draw_run(ax: Axes, metric: str, columns: Columns, color: str, name: str, is_alone: bool) -> None:
    """Draws one run: noisy diagnostics as rolling medians, with the raw values behind them if it is alone."""
    steps, values = columns["env_steps"], columns[metric]
    if metric == "return_window":
        if is_alone:
            ax.plot(steps, columns["episode_return"], ".", color=GUIDE, ms=3, label="mean of an update")
        ax.plot(steps, values, color=color, label="mean of the last 100 episodes" if is_alone else name)
        return
    if is_alone:
        ax.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    smooth = _smooth(metric, values)
    ax.plot(steps[-len(smooth) :], smooth, color=color)


def _draw_band(ax: Axes, metric: str, columns: Columns, color: str, name: str) -> None:
    """Draws the interquartile mean of seeds and its interval, where all of them have a value."""
    values = columns[metric] if metric == "return_window" else _smooth(metric, columns[metric])  # [S, U]
    steps = columns["env_steps"][0][-values.shape[1] :]
    shown = updates_of_band(values)
    band = interval(values[:, shown])
    ax.plot(steps[shown], band.iqm, color=color, label=name)
    ax.fill_between(steps[shown], band.low, band.high, color=color, alpha=0.2, linewidth=0)


def updates_of_band(values: np.ndarray) -> np.ndarray:
    """Returns the updates to draw a band at, from 0: evenly spread over those with a value from each seed.

    Args:
        values: The values of the seeds, [S, U].
    """
    known = np.flatnonzero(np.isfinite(values).all(axis=0))
    evenly = np.linspace(0, len(known) - 1, BAND_POINTS).astype(int)
    return known[np.unique(evenly)] if len(known) else known


def _smooth(metric: str, values: np.ndarray) -> np.ndarray:
    """Returns the rolling median along the last axis, [..., U'], starting with the first whole window.

    Of the environment's own metrics it is the mean, as the median of a rate of success says little.
    """
    statistic = np.nanmedian if metric in PANELS else np.nanmean
    width = min(SMOOTHING, values.shape[-1])
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a window of NaN is NaN
        return statistic(sliding_window_view(values, width, axis=-1), axis=-1)


def _explain(ax: Axes, metric: str, solved_return: float | None) -> None:
    """Adds the marks and healthy ranges to compare the curves with."""
    if metric == "return_window" and solved_return is not None:
        ax.axhline(solved_return, color=GUIDE, linestyle="--", label=f"solved: {solved_return:g}")
    elif metric == "clip_fraction":
        ax.axhspan(*CLIP_FRACTION, color=HEALTHY, label="healthy")
    elif metric == "explained_variance":
        ax.axhline(1, color=GUIDE, linestyle="--")
        ax.set_ylim(-1.05, 1.1)
    elif metric == "value_loss" and ax.dataLim.y1 > 0:
        ax.set_yscale("log")
    if metric in ("clip_fraction", "entropy", "approx_kl"):
        ax.set_ylim(bottom=min(0, ax.dataLim.y0))  # densities can have negative entropy
