"""Draws the pictures on the page of a run, each for a light and for a dark page."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ppo_jax.host.pictures import plots
from ppo_jax.host.pictures.style import SCHEMES, png
from ppo_jax.host.report.found import Found

SIZE = (5, 3)  # inches


def draw_panel(found: Found, metric: str) -> dict[str, bytes] | None:
    """Draws one diagnostic of a run.

    Args:
        found: The run.
        metric: One of `plots.PANELS`, or a metric of the environment's own.

    Returns:
        PNG files by the name of their scheme; None if there are no values to draw.
    """
    # The panel of returns shows the returns of single updates as well.
    names = (metric, "episode_return") if metric == "return_window" else (metric,)
    if not any(np.isfinite(found.columns[name]).any() for name in names):
        return None

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        histories = {found.asked.label: found.columns}
        plots.panel(figure.subplots(), metric, histories, found.asked.solved_return, colors)

    return in_schemes(draw)


def draw_curves(curves: Mapping[str, Sequence[tuple[float, float]]]) -> dict[str, bytes]:
    """Draws mean returns over environment steps.

    Args:
        curves: The points (steps, return) of each curve, by its name.

    Returns:
        PNG files by the name of their scheme.
    """

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        for (name, points), color in zip(curves.items(), colors, strict=False):
            steps, returns = np.array(points, dtype=float).reshape(-1, 2).T
            ax.plot(steps, returns, "o-", markersize=3, color=color, label=name)
        ax.set(xlabel="environment steps", ylabel="mean return")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.legend(fontsize="small")

    return in_schemes(draw)


def in_schemes(draw: Callable[[Figure, Sequence[str]], None]) -> dict[str, bytes]:
    """Draws a picture once for each scheme.

    Args:
        draw: A function that draws into a figure with the colors of a scheme.

    Returns:
        PNG files by the name of their scheme.
    """
    pictures = {}
    for name, scheme in SCHEMES.items():
        with matplotlib.rc_context(scheme.settings):
            figure = Figure(figsize=SIZE, layout="constrained")
            draw(figure, scheme.colors)
            pictures[name] = png(figure)
    return pictures
