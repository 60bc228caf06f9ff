"""Pictures of trainings: the diagnostics of one run, or of several over each other."""

from collections.abc import Sequence
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

Columns = dict[str, np.ndarray]


def draw(runs: Sequence[RunDirectory], output: Path | None = None) -> Path:
    """Draws what a practitioner looks at first, over environment steps.

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
    columns = [records.read(run) for run in runs]
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    axes = figure.subplots(2, 3)
    for run, color, column in zip(runs, _cycle(len(runs)), columns, strict=True):
        _draw_run(axes.flat, column, color, run.path.name, alone=len(runs) == 1)
    marks = {_solved_return(run) for run in runs}
    _explain(axes, marks.pop() if len(marks) == 1 else None)
    figure.suptitle(runs[0].path.name if len(runs) == 1 else f"{len(runs)} runs")
    if len(runs) > 1:
        axes[0, 0].legend(loc="lower right", fontsize="small")
    save(figure, output)
    return output


def _draw_run(axes: Sequence[Axes], columns: Columns, color: str, name: str, alone: bool) -> None:
    returns, clip, entropy, kl, explained, value = axes
    steps = columns["env_steps"]
    if alone:
        returns.plot(
            steps, columns["episode_return"], ".", color=GUIDE, markersize=3, label="mean of an update"
        )
    label = "mean of the last 100 episodes" if alone else name
    returns.plot(steps, columns["return_window"], color=color, label=label)
    for ax, metric in ((clip, "clip_fraction"), (kl, "approx_kl"), (value, "value_loss")):
        _noisy(ax, steps, columns[metric], color, alone)
    _noisy(explained, steps, columns["explained_variance"], color, alone)
    _noisy(entropy, steps, columns["entropy"], color, alone)


def _noisy(ax: Axes, steps: np.ndarray, values: np.ndarray, color: str, alone: bool) -> None:
    """Draws a noisy diagnostic faintly and its rolling median firmly; among other runs only that."""
    width = min(SMOOTHING, len(values))
    if alone:
        ax.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    median = np.median(sliding_window_view(values, width), axis=-1)
    ax.plot(steps[width - 1 :], median, color=color)


def _explain(axes: np.ndarray, solved_return: float | None) -> None:
    returns, clip, entropy, kl, explained, value = axes.flat
    titles = ("Episode return", "Clip fraction", "Policy entropy (nats)")
    titles += ("KL(old || new) per update (nats)", "Explained variance of the value", "Value loss")
    for ax, title in zip(axes.flat, titles, strict=True):
        ax.set_title(title, fontsize="medium", loc="left")
        ax.set_xlabel("environment steps")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))  # 150k
        ax.xaxis.set_major_locator(MaxNLocator(6))
    if solved_return is not None:
        returns.axhline(solved_return, color=GUIDE, linestyle="--", label=f"solved: {solved_return:g}")
    returns.legend(loc="lower right", fontsize="small")
    clip.axhspan(CLIP_FRACTION.low, CLIP_FRACTION.high, color=HEALTHY, label="healthy")
    clip.legend(loc="upper right", fontsize="small")
    clip.set_ylim(bottom=0)
    entropy.set_ylim(bottom=0)
    kl.set_ylim(bottom=0)
    explained.axhline(1, color=GUIDE, linestyle="--")
    explained.set_ylim(-1.05, 1.1)
    value.set_yscale("log")


def _cycle(count: int) -> list[str]:
    return [COLORS[index % len(COLORS)] for index in range(count)]


def _solved_return(run: RunDirectory) -> float | None:
    try:
        return registry.solved_return(read_json(run.config)["config"]["env"])
    except (KeyError, TypeError) as error:
        raise UsageError(f"'{run.config}' is damaged: it names no environment") from error
