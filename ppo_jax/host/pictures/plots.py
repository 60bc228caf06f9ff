"""Pictures of trainings: the diagnostics of one run, or of groups of seeds over each other."""

import warnings
from collections.abc import Mapping, Sequence
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
from ppo_jax.host.diagnosis.intervals import CONFIDENCE, interval
from ppo_jax.host.pictures.style import COLORS, GUIDE, HEALTHY, save
from ppo_jax.host.runs import records, request
from ppo_jax.host.runs.directory import RunDirectory, read_json

SMOOTHING = 25  # updates in the rolling median of the noisy diagnostics
LEGEND_WIDTH = 140  # characters that fit below the panels
BAND_POINTS = 150  # of a band: as many as can be seen, since each is bootstrapped
PANELS = {
    "return_window": "Episode return",
    "clip_fraction": "Clip fraction",
    "entropy": "Policy entropy (nats)",
    "approx_kl": "KL(old || new), mean over gradient steps (nats)",
    "explained_variance": "Explained variance of the value",
    "value_loss": "Value loss",
}
COLUMNS = ("env_steps", "episode_return", *PANELS)

Columns = Mapping[str, np.ndarray]


def draw(runs: Sequence[RunDirectory], output: Path | None = None) -> Path:
    """Draws the diagnostics of runs and writes the picture.

    Args:
        runs: One or more run directories. Those that differ only in their seed are one curve, up to the
            end of the shortest: what goes on without the others would be a mean of the survivors.
        output: Picture to write; by default diagnostics.png in the run, or comparison.png in the
            current directory for several.

    Returns:
        The picture.

    Raises:
        UsageError: If a run cannot be read, or the picture cannot be written.
    """
    if output is None:
        output = runs[0].diagnostics if len(runs) == 1 else Path("comparison.png")
    histories = dict(_history(label, seeds) for label, seeds in seed_groups.by_label(runs).items())
    marks = {request.from_json(read_json(run.config)).solved_return for run in runs}
    save(diagnostics(histories, marks.pop() if len(marks) == 1 else None), output)
    return output


def diagnostics(histories: Mapping[str, Columns], solved_return: float | None = None) -> Figure:
    """Draws what a practitioner looks at first, over environment steps.

    Args:
        histories: Metrics by the name of the run: a column [U] for each of COLUMNS; or [S, U] for
            several seeds, drawn as their interquartile mean with its bootstrap interval.
        solved_return: Mean return at which the task is solved, if there is such a mark.

    Returns:
        One panel per diagnostic: raw and smoothed for a single run, smoothed for several.
    """
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = dict(zip(PANELS, figure.subplots(2, 3).flat, strict=True))
    for metric, ax in axes.items():
        ax.set_title(PANELS[metric], fontsize="medium", loc="left")
        panel(ax, metric, histories, solved_return)
    if len(histories) > 1:
        lines = [line for line in axes["return_window"].lines if line.get_label() in histories]
        columns = max(1, LEGEND_WIDTH // max(map(len, histories)))
        figure.legend(handles=lines, loc="outside lower center", ncols=columns, fontsize="small")
    figure.suptitle(_title(histories))
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
        ax: Where.
        metric: One of PANELS.
        histories: See `diagnostics`, as for the mark.
        solved_return: The mark.
        colors: Of the histories.
    """
    ax.set_xlabel("environment steps")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
    ax.xaxis.set_major_locator(MaxNLocator(6))
    for (name, columns), color in zip(histories.items(), cycle(colors), strict=False):
        if np.ndim(columns[metric]) == 2:
            _draw_band(ax, metric, columns, color, name)
        else:
            _draw_run(ax, metric, columns, color, name, alone=len(histories) == 1)
    _explain(ax, metric, solved_return)
    handles, labels = ax.get_legend_handles_labels()
    legend = {label: handle for handle, label in zip(handles, labels, strict=True) if label not in histories}
    if legend:
        ax.legend(legend.values(), legend.keys(), loc="best", fontsize="small")


def read(run: RunDirectory) -> dict[str, np.ndarray]:
    """Reads the metrics of a run, and makes sure that all that is drawn is there.

    Raises:
        UsageError: If it is not, or the file cannot be read.
    """
    columns = records.read(run)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise UsageError(f"'{run.metrics}' is damaged: it has no {', '.join(missing)}")
    return columns


def _history(label: str, runs: list[RunDirectory]) -> tuple[str, Columns]:
    """The name and the columns of a group: [U] of a single run, [S, U] of several up to the shortest."""
    histories = [read(run) for run in runs]
    if len(runs) == 1:
        return label, histories[0]
    lengths = {len(columns["env_steps"]) for columns in histories}
    end = "" if len(lengths) == 1 else ", to the end of the shortest"
    stacked = {name: np.stack([columns[name][: min(lengths)] for columns in histories]) for name in COLUMNS}
    return f"{label}{end}", stacked


def _title(histories: Mapping[str, Columns]) -> str:
    band = f"interquartile mean over seeds, with its {CONFIDENCE:.0%} bootstrap interval"
    has_band = any(np.ndim(columns["env_steps"]) == 2 for columns in histories.values())
    name = next(iter(histories)) if len(histories) == 1 else f"{len(histories)} trainings"
    return f"{name}: {band}" if has_band else name


def _draw_run(ax: Axes, metric: str, columns: Columns, color: str, name: str, alone: bool) -> None:
    """Draws a diagnostic: the noisy ones as rolling medians, and alone with the raw values behind them."""
    steps, values = columns["env_steps"], columns[metric]
    if metric == "return_window":
        if alone:
            ax.plot(steps, columns["episode_return"], ".", color=GUIDE, ms=3, label="mean of an update")
        ax.plot(steps, values, color=color, label="mean of the last 100 episodes" if alone else name)
        return
    if alone:
        ax.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    smooth = _smooth(values)
    ax.plot(steps[-len(smooth) :], smooth, color=color)


def _draw_band(ax: Axes, metric: str, columns: Columns, color: str, name: str) -> None:
    """Draws the interquartile mean of seeds and its interval, where all of them have a value."""
    values = columns[metric] if metric == "return_window" else _smooth(columns[metric])  # [S, U]
    steps = columns["env_steps"][0][-values.shape[1] :]
    known = np.flatnonzero(np.isfinite(values).all(axis=0))
    shown = known[np.unique(np.linspace(0, len(known) - 1, BAND_POINTS).astype(int))] if len(known) else known
    band = interval(values[:, shown])
    ax.plot(steps[shown], band.iqm, color=color, label=name)
    ax.fill_between(steps[shown], band.low, band.high, color=color, alpha=0.2, linewidth=0)


def _smooth(values: np.ndarray) -> np.ndarray:
    """The rolling median along the last axis, [..., U'] from the first whole window on."""
    width = min(SMOOTHING, values.shape[-1])
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a window of NaN is NaN
        return np.nanmedian(sliding_window_view(values, width, axis=-1), axis=-1)


def _explain(ax: Axes, metric: str, solved_return: float | None) -> None:
    """Adds the marks and healthy ranges that the curves are to be read against."""
    if metric == "return_window":
        if solved_return is not None:
            ax.axhline(solved_return, color=GUIDE, linestyle="--", label=f"solved: {solved_return:g}")
    elif metric == "clip_fraction":
        ax.axhspan(*CLIP_FRACTION, color=HEALTHY, label="healthy")
    elif metric == "explained_variance":
        ax.axhline(1, color=GUIDE, linestyle="--")
        ax.set_ylim(-1.05, 1.1)
    elif metric == "value_loss" and ax.dataLim.y1 > 0:
        ax.set_yscale("log")
    if metric in ("clip_fraction", "entropy", "approx_kl"):
        ax.set_ylim(bottom=min(0, ax.dataLim.y0))  # densities: negative entropy
