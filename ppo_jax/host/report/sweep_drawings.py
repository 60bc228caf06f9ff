"""Draws the pictures on the page of a sweep, each for a light and for a dark page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.host.pictures.plots import updates_of_band
from ppo_jax.host.report.drawings import SIZE, in_schemes

Numbers = Sequence[float]


def draw_bands(curves: Mapping[str, np.ndarray], batch_size: Mapping[str, int]) -> dict[str, bytes]:
    """Draws the interquartile mean of seeds over environment steps, with its interval.

    Args:
        curves: The values [S, U] of each curve, by its name; only updates with a value from each seed are
            shown.
        batch_size: The environment steps of an update of each curve.

    Returns:
        PNG files by the name of their scheme.
    """

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        for (name, values), color in zip(curves.items(), colors, strict=False):
            shown = updates_of_band(values)
            band, steps = interval(values[:, shown]), (shown + 1) * batch_size[name]
            ax.plot(steps, band.iqm, color=color, label=name)
            ax.fill_between(steps, band.low, band.high, color=color, alpha=0.2, linewidth=0)
        ax.set(xlabel="environment steps of a member")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        figure.set_figheight(SIZE[1] + 0.2 * len(curves))  # room for the legend
        figure.legend(loc="outside lower center", fontsize="x-small")

    return in_schemes(draw)


def draw_sensitivity(values: Sequence[Any], scores: Sequence[np.ndarray], name: str) -> dict[str, bytes]:
    """Draws the scores of all members over the values of one name.

    Args:
        values: The value of each point, [H].
        scores: The scores of the seeds of each point, [H, S].
        name: The name.

    Returns:
        PNG files by the name of their scheme.
    """
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    kinds = list(dict.fromkeys(values)) if is_number else list(dict.fromkeys(map(str, values)))
    places = [value if is_number else kinds.index(str(value)) for value in values]

    joined = {
        place: np.concatenate([x for x, y in zip(scores, places, strict=True) if y == place])
        for place in sorted(set(places))
    }
    bands = {place: interval(x[np.isfinite(x)]) for place, x in joined.items() if np.isfinite(x).any()}
    is_wide = is_number and min(places) > 0 and max(places) / min(places) >= 10

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        for place, of_seeds in joined.items():
            ax.plot([place] * len(of_seeds), of_seeds, ".", color=colors[0], alpha=0.4)
        for place, band in bands.items():
            ax.plot(place, band.iqm, "o", color=colors[1])
            ax.vlines(place, band.low, band.high, color=colors[1])
        ax.set(xlabel=name, ylabel="score", xscale="log" if is_wide else "linear")
        if not is_number:
            ax.set_xticks(range(len(kinds)), kinds, fontsize="x-small")

    return in_schemes(draw)


def draw_map(
    rows: Sequence[Any], columns: Sequence[Any], scores: Numbers, names: tuple[str, str]
) -> dict[str, bytes]:
    """Draws a heat map of the scores of points over two names.

    Args:
        rows: The value of the first name of each point, [H].
        columns: The value of the second name of each point, [H].
        scores: The score of each point, [H]; points with the same values are averaged.
        names: The two names.

    Returns:
        PNG files by the name of their scheme.
    """
    along = [sorted(set(values), key=lambda x: (str(type(x)), x)) for values in (rows, columns)]
    cells = np.full((len(along[0]), len(along[1])), np.nan)
    for i, j in np.ndindex(cells.shape):
        here = [
            score
            for row, column, score in zip(rows, columns, scores, strict=True)
            if (row, column) == (along[0][i], along[1][j]) and np.isfinite(score)
        ]
        cells[i, j] = np.mean(here) if here else np.nan

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        image = ax.imshow(cells, aspect="auto", origin="lower", cmap="cividis")
        figure.colorbar(image, ax=ax, label="score")
        ax.set_yticks(range(len(along[0])), [str(x) for x in along[0]], fontsize="x-small")
        ax.set_xticks(range(len(along[1])), [str(x) for x in along[1]], fontsize="x-small")
        ax.set(ylabel=names[0], xlabel=names[1])

    return in_schemes(draw)


def draw_generations(
    steps: Numbers, values: np.ndarray, ancestors: Sequence[int], name: str, is_log: bool
) -> dict[str, bytes]:
    """Draws what the members of a population have, generation by generation.

    Args:
        steps: The environment steps of a member at the end of each generation, [G].
        values: The value of each member, [G, L].
        ancestors: The member to highlight in each generation, [G].
        name: The name of the values.
        is_log: Whether to draw them on a logarithmic scale.

    Returns:
        PNG files by the name of their scheme.
    """
    highlighted = values[np.arange(len(steps)), list(ancestors)]

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        ax.plot(steps, values, ".", color=colors[1], alpha=0.5)
        ax.plot(steps, highlighted, color=colors[0])
        ax.set(xlabel="environment steps of a member", ylabel=name, yscale="log" if is_log else "linear")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))

    return in_schemes(draw)


def draw_cost(steps: Numbers, scores: Numbers) -> dict[str, bytes]:
    """Draws the best score that was found over the environment steps that it took to find it.

    Args:
        steps: The environment steps of each point, [H], in the order in which they were trained.
        scores: The score of each point, [H].

    Returns:
        PNG files by the name of their scheme.
    """
    spent = np.cumsum(steps)
    best = np.fmax.accumulate(np.asarray(scores, float))

    def draw(figure: Figure, colors: Sequence[str]) -> None:
        ax = figure.subplots()
        ax.plot(spent, scores, ".", color=colors[1], label="a point")
        ax.step(spent, best, where="post", color=colors[0], label="best so far")
        ax.set(xlabel="environment steps of all members", ylabel="score")
        ax.xaxis.set_major_formatter(EngFormatter(sep=""))
        ax.legend(fontsize="x-small")

    return in_schemes(draw)
