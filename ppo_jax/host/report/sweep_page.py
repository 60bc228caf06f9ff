"""A sweep as one page of HTML that needs nothing else: no network, no script, no other file."""

from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.host.report import sweep_drawings
from ppo_jax.host.report.markup import Markup, element, join, picture, table
from ppo_jax.host.report.page import document
from ppo_jax.host.runs import family, files, points, population
from ppo_jax.host.runs.family import SweepDirectory, SweepRequest
from ppo_jax.host.runs.files import read_json

CURVES = 6  # of the best points
ROWS = 100  # of the ranking


def report(sweep: SweepDirectory, output: Path | None = None) -> Path:
    """Writes the page of a sweep, whole or not at all; makes its directory if need be.

    Args:
        sweep: The directory of a sweep that is done or was stopped.
        output: The page to write; by default report.html in the directory.

    Returns:
        The path of the page.

    Raises:
        UsageError: If the sweep cannot be read or has no results yet, or the page cannot be written.
    """
    path = output or sweep.report
    asked = family.read(sweep)
    if not sweep.summary.exists():
        raise UsageError(f"'{sweep.path}' has no results yet; wait until the sweep ends or is stopped")
    summary = read_json(sweep.summary)
    with files.output(path) as draft:
        draft.write_text(to_html(sweep, asked, summary), encoding="utf-8")
    return path


def to_html(sweep: SweepDirectory, asked: SweepRequest, summary: dict[str, Any]) -> str:
    """Returns the page of a sweep as HTML.

    Args:
        sweep: The directory.
        asked: The request of the sweep.
        summary: The content of its `summary.json`.
    """
    try:
        ranked = [row for row in summary["ranking"] if row["iqm"] is not None]
        parts = [_header(asked, summary), _ranking(asked, summary)]
        if ranked:
            searched = (_sensitivity, _cost) if asked.population is None else (_schedules,)
            parts += [_curves(sweep, asked, ranked), *(part(asked, ranked) for part in searched)]
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise UsageError(f"'{sweep.summary}' is damaged: {error!r}") from error
    return document(f"Sweep of PPO on {asked.base.config.env}", *parts)


def _header(asked: SweepRequest, summary: dict[str, Any]) -> Markup:
    best, search = summary["ranking"][0], asked.population
    if search is None:
        again, again_title = summary.get("winner_from_other_seeds"), "From other seeds"
        again_text = _interval(again) if again else "–"
        of_members = f"{len(asked.points):,} points x {asked.num_seeds} seeds"
        about = (
            f"The score of a member is its last {asked.metric}. Points are ranked by the interquartile mean "
            "over their seeds, shown with its 95 % bootstrap interval."
        )
    else:
        again, again_title = summary.get("winner"), "On fresh episodes"
        again_text = f"{again['fresh']['mean']:.1f}" if again else "–"
        of_members = f"a population in {search.generations} generations"
        about = (
            f"The score of a member is the mean return of {search.episodes} episodes after the last "
            "generation. Its values are those of the last generation; it may have had others before."
        )
    numbers = [
        ("Members", f"{asked.num_members:,}", of_members),
        ("Best point", _interval(best), points.describe(asked.latest_points[best["point"]])),
        (again_title, again_text, "the best of many has also been lucky"),
        ("Failed", str(len(summary["failed_members"])), "members in which a number was not finite"),
        ("Steps", f"{summary['env_steps']:,}", f"in {summary['train_seconds']:,.1f} s of training"),
    ]
    cards = [
        element("div", element("dt", name), element("dd", value, element("small", remark)))
        for name, value, remark in numbers
    ]
    return element(
        "header",
        element("h1", f"Sweep of PPO on {asked.base.config.env}"),
        element("p", about, class_="soft"),
        element("dl", *cards, class_="cards numbers"),
    )


def _interval(row: dict[str, Any]) -> str:
    if row["iqm"] is None:
        return "no score"
    if len(row["scores"]) == 1:
        return f"{row['iqm']:.1f}"
    return f"{row['iqm']:.1f} [{row['low']:.1f}, {row['high']:.1f}]"


def _ranking(asked: SweepRequest, summary: dict[str, Any]) -> Markup:
    rows = [
        (
            points.describe(asked.latest_points[row["point"]]),
            _interval(row),
            len(row["failed_seeds"]) or "–",
            f"members/{row['point'] * asked.num_seeds}",
        )
        for row in summary["ranking"][:ROWS]
    ]
    more = len(summary["ranking"]) - len(rows)
    rest = element("p", f"{more:,} more points are in summary.json.") if more else ""
    whole = table(("Point", "Score", "Failed seeds", "First member"), rows)
    return element("section", element("h2", "Ranking"), whole, rest)


def _curves(sweep: SweepDirectory, asked: SweepRequest, ranked: list[dict[str, Any]]) -> Markup:
    from ppo_jax.host.runs import members  # imported here, because it needs JAX

    groups, curves, batch_size = members.groups_of(asked), {}, {}
    for row in ranked[:CURVES]:
        config, columns = members.metrics_of(sweep, asked, groups, row["point"])
        name = points.describe(asked.latest_points[row["point"]])
        curves[name], batch_size[name] = columns[asked.metric], config.batch_size
    pictures = sweep_drawings.draw_bands(curves, batch_size)
    alt = f"{asked.metric} over environment steps of the best {len(curves)} points."
    return _section("Learning curves", f"{asked.metric} of the best points.", [(pictures, alt)])


def _sensitivity(asked: SweepRequest, ranked: list[dict[str, Any]]) -> Markup | str:
    names = [name for name in asked.varied if all(name in asked.points[row["point"]] for row in ranked)]
    if not names:
        return ""
    scores = [np.array([np.nan if x is None else x for x in row["scores"]], float) for row in ranked]
    shown = []
    for name in names:
        values = [asked.points[row["point"]][name] for row in ranked]
        shown.append((sweep_drawings.draw_sensitivity(values, scores, name), f"score over {name}."))
    if len(names) == 2:
        rows, columns = ([asked.points[row["point"]][name] for row in ranked] for name in names)
        pictures = sweep_drawings.draw_map(
            rows, columns, [row["iqm"] for row in ranked], (names[0], names[1])
        )
        shown.append((pictures, f"score over {names[0]} and {names[1]}."))
    about = "Each dot is a member; the mark is the interquartile mean of all members with that value."
    return _section("Sensitivity", about, shown)


def _schedules(asked: SweepRequest, ranked: list[dict[str, Any]]) -> Markup:
    assert asked.population is not None
    config, member = asked.base.config, ranked[0]["point"]
    num_generations = len(asked.generations)
    ends = [asked.population.end_of(one, config.num_updates) for one in range(num_generations)]
    steps = [end * config.batch_size for end in ends]
    ancestors = population.lineage(asked.generations, member)
    given = population.points_of(asked.points, asked.generations)
    drawn = {name: [[point[name] for point in then] for then in given] for name in asked.population.ranges}
    drawn["score"] = [[np.nan if x is None else x for x in one.scores] for one in asked.generations]
    shown = []
    for name, values in drawn.items():
        is_log = name != "score" and asked.population.ranges[name].is_log
        pictures = sweep_drawings.draw_generations(steps, np.array(values, float), ancestors, name, is_log)
        shown.append((pictures, f"{name} of all members over steps."))
    about = "Each dot is a member at the end of a generation; the line is what the best one comes from."
    return _section("Generations", about, shown)


def _cost(asked: SweepRequest, ranked: list[dict[str, Any]]) -> Markup:
    in_order = sorted(ranked, key=lambda row: row["point"])
    steps = [asked.num_seeds * asked.member(row["point"] * asked.num_seeds).total_steps for row in in_order]
    pictures = sweep_drawings.draw_cost(steps, [row["iqm"] for row in in_order])
    return _section(
        "Return against cost",
        "The best score over the steps spent so far.",
        [(pictures, "best score over steps.")],
    )


def _section(title: str, about: str, pictures: list[tuple[dict[str, bytes], str]]) -> Markup:
    cards = [
        element("article", element("figure", picture(**pair, alt=alt)), class_="card")
        for pair, alt in pictures
    ]
    return element(
        "section", element("h2", title), element("p", about), element("div", join(*cards), class_="cards")
    )
