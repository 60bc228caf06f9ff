"""Pictures of trainings: the diagnostics of one run, or of several over each other."""

import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator
from numpy.lib.stride_tricks import sliding_window_view

from ppo_jax.envs import registry
from ppo_jax.errors import UsageError
from ppo_jax.runs import records
from ppo_jax.runs.directory import RunDirectory, read_json
from ppo_jax.runs.health import CLIP_FRACTION
from ppo_jax.runs.style import COLORS, GUIDE, HEALTHY, save

SMOOTHING = 25  # updates in the rolling median of the noisy diagnostics
PANELS = {
    "return_window": "Episode return",
    "clip_fraction": "Clip fraction",
    "entropy": "Policy entropy (nats)",
    "approx_kl": "KL(old || new), mean over gradient steps (nats)",
    "explained_variance": "Explained variance of the value",
    "value_loss": "Value loss",
}

Columns = Mapping[str, np.ndarray]


def draw(runs: Sequence[RunDirectory], output: Path | None = None) -> Path:
    """Draws the diagnostics of runs and writes the picture.

    Args:
        runs: One or more run directories.
        output: Picture to write; by default diagnostics.png in the run, or comparison.png in the
            current directory for several.

    Returns:
        The picture.

    Raises:
        UsageError: If a run cannot be read, or the picture cannot be written.
    """
    if output is None:
        output = runs[0].diagnostics if len(runs) == 1 else Path("comparison.png")
    marks = {_solved_return(run) for run in runs}
    histories = {str(run.path): records.read(run) for run in runs}
    save(diagnostics(histories, marks.pop() if len(marks) == 1 else None), output)
    return output


def diagnostics(histories: Mapping[str, Columns], solved_return: float | None = None) -> Figure:
    """Draws what a practitioner looks at first, over environment steps.

    Args:
        histories: Metrics by the name of the run: a column [U] for each of `env_steps`,
            `episode_return` and the keys of PANELS.
        solved_return: Mean return at which the task is solved, if there is such a mark.

    Returns:
        One panel per diagnostic: raw and smoothed for a single run, smoothed for several.
    """
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = dict(zip(PANELS, figure.subplots(2, 3).flat, strict=True))
    for metric, ax in axes.items():
        ax.set_title(PANELS[metric], fontsize="medium", loc="left")
        ax.set_xlabel("environment steps")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
        ax.xaxis.set_major_locator(MaxNLocator(6))
    for (name, columns), color in zip(histories.items(), cycle(COLORS), strict=False):
        _draw_run(axes, columns, color, name, alone=len(histories) == 1)
    _explain(axes, solved_return)
    figure.suptitle(next(iter(histories)) if len(histories) == 1 else f"{len(histories)} runs")
    return figure


def _draw_run(axes: Mapping[str, Axes], columns: Columns, color: str, name: str, alone: bool) -> None:
    steps, returns = columns["env_steps"], axes["return_window"]
    if alone:
        returns.plot(steps, columns["episode_return"], ".", color=GUIDE, ms=3, label="mean of an update")
    label = "mean of the last 100 episodes" if alone else name
    returns.plot(steps, columns["return_window"], color=color, label=label)
    for metric in list(PANELS)[1:]:
        _draw_noisy(axes[metric], steps, columns[metric], color, alone)


def _draw_noisy(ax: Axes, steps: np.ndarray, values: np.ndarray, color: str, alone: bool) -> None:
    """Draws a noisy diagnostic faintly and its rolling median firmly; among other runs only that."""
    width = min(SMOOTHING, len(values))
    if alone:
        ax.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    with warnings.catch_warnings(action="ignore", category=RuntimeWarning):  # a window of NaN is NaN
        median = np.nanmedian(sliding_window_view(values, width), axis=-1)
    ax.plot(steps[width - 1 :], median, color=color)


def _explain(axes: Mapping[str, Axes], solved_return: float | None) -> None:
    """Adds the marks and healthy ranges that the curves are to be read against."""
    if solved_return is not None:
        label = f"solved: {solved_return:g}"
        axes["return_window"].axhline(solved_return, color=GUIDE, linestyle="--", label=label)
    axes["return_window"].legend(loc="best", fontsize="small")
    axes["clip_fraction"].axhspan(*CLIP_FRACTION, color=HEALTHY, label="healthy")
    axes["clip_fraction"].legend(loc="upper right", fontsize="small")
    axes["explained_variance"].axhline(1, color=GUIDE, linestyle="--")
    axes["explained_variance"].set_ylim(-1.05, 1.1)
    axes["value_loss"].set_yscale("log")
    for metric in ("clip_fraction", "entropy", "approx_kl"):
        axes[metric].set_ylim(bottom=min(0, axes[metric].dataLim.y0))  # densities: negative entropy


def _solved_return(run: RunDirectory) -> float | None:
    try:
        return registry.solved_return(read_json(run.config)["config"]["env"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"'{run.config}' is damaged: it names no environment") from error
