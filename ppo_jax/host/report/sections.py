"""The sections of the page of a run, from top to bottom.

A run directory may come from anywhere, so a section does not trust what its files hold: it leaves out what is
missing, and turns everything into text.
"""

import json
import math
from collections import Counter
from typing import Any

import numpy as np

from ppo_jax.host.diagnosis.verdicts import BAD, HEALTHY, LOOK, UNKNOWN
from ppo_jax.host.pictures import plots
from ppo_jax.host.report.drawings import draw_curves, draw_panel
from ppo_jax.host.report.found import Found
from ppo_jax.host.report.markup import Markup, data, element, join, picture, table
from ppo_jax.host.runs import records, request
from ppo_jax.host.runs.files import DRAFT
from ppo_jax.host.runs.request import Request

BADGES = {
    HEALTHY: ("✓", "healthy"),
    LOOK: ("!", "have a look"),
    BAD: ("✕", "bad"),
    UNKNOWN: ("–", "not judged"),
}
ENDS = {"done": "Done", "interrupted": "Stopped early", "failed": "Failed"}
POLICIES = ("greedy", "sampled")
SAME_BITS = (
    "With the same versions, on the same kind of device, this gives the same bits, unless the run was "
    "extended later or had to rewind."
)
NOTHING = "–"  # in place of a number


def header(found: Found, title: str) -> Markup:
    """Says what the run was and how it ended, and shows the most important numbers."""
    asked, columns, summary = found.asked, found.columns, found.summary
    changed = ", ".join(f"{name} = {value}" for name, value in asked.changes.items())
    solved, final = _object(summary, "solved"), _object(summary, "evaluation")
    numbers = [("Return", _number(columns["return_window"][-1], ",.2f"), "mean of the last 100 episodes")]
    if asked.solved_return is not None:
        after = f"after {_number(solved.get('env_steps'), ',')} steps" if solved else "no"
        numbers.append(("Solved", after, f"at a mean of {asked.solved_return:g} over 100 episodes"))
    seconds = _number(columns["seconds"][-1], ",.1f")
    numbers += [
        ("Final evaluation", _number(final.get("mean"), ",.2f"), _describe_evaluation(final)),
        (
            "Trained",
            _number(columns["env_steps"][-1], ",.0f"),
            f"of {asked.total_steps:,} steps, in {seconds} s",
        ),
        ("Speed", _number(summary.get("steps_per_second"), ",.0f"), "steps per second"),
    ]
    cards = [
        element("div", element("dt", name), element("dd", value, element("small", remark)))
        for name, value, remark in numbers
    ]
    return element(
        "header",
        element("h1", title),
        element("p", _origin(asked), " with " if changed else "", changed, class_="soft"),
        element("p", element("strong", _describe_end(found))),
        element("dl", *cards, class_="cards numbers"),
    )


def _origin(asked: Request) -> str:
    return f"preset {asked.preset}" if asked.preset else "default settings"


def _describe_end(found: Found) -> str:
    done, total = len(found.columns["update"]), found.asked.config.num_updates
    if not found.summary:
        return (
            "There is no summary: the run is still in progress, or it was killed. "
            f"This page is about the first {done:,} of {total:,} updates."
        )
    status, failure = str(found.summary.get("status")), found.summary.get("failure")
    return f"{ENDS.get(status, status)}: {done:,} of {total:,} updates{f'; {failure}' if failure else ''}."


def diagnostics(found: Found) -> Markup:
    """Shows each diagnostic with its picture, its verdict and advice."""
    counts = Counter(reading.verdict for reading in found.readings.values())
    tally = ", ".join(f"{counts[verdict]} {name}" for verdict, (_, name) in BADGES.items() if counts[verdict])
    others = [metric for metric in found.readings if metric not in plots.PANELS]
    return element(
        "section",
        element("h2", "Diagnostics"),
        element("p", f"{tally}. Rules of thumb: where they contradict the return, believe the return."),
        element("div", *(_card(found, metric) for metric in plots.PANELS), class_="cards"),
        element("div", *(_card(found, metric) for metric in others), class_="cards"),
    )


def own_metrics(found: Found) -> Markup | str:
    """Shows the environment's own metrics, each with its picture and its newest value; "" without any."""
    names = records.own(found.columns)[: plots.MAX_OWN]
    if not names:
        return ""
    about = "Sums over an episode, as means over the episodes that ended in an update."
    cards = [_own_card(found, name) for name in names]
    return element(
        "section",
        element("h2", "Metrics of the environment"),
        element("p", about),
        element("div", *cards, class_="cards"),
    )


def _own_card(found: Found, name: str) -> Markup:
    values = found.columns[name][np.isfinite(found.columns[name])]
    newest = _number(float(values[-1]), ",.4g") if len(values) else "no episode has ended"
    parts = [element("h3", name)]
    if pictures := draw_panel(found, name):
        alt = f"{name} over environment steps: {newest}."
        parts.append(element("figure", picture(**pictures, alt=alt)))
    return element("article", *parts, element("p", element("strong", newest), " at the end"), class_="card")


def _card(found: Found, metric: str) -> Markup:
    reading = found.readings[metric]
    name = plots.PANELS.get(metric, metric.replace("_", " ").capitalize())
    badge = element("span", " ".join(BADGES[reading.verdict]), class_=f"verdict {reading.verdict}")
    advice = f" Try {reading.advice}." if reading.advice else ""
    parts = [element("h3", name, badge)]
    pictures = draw_panel(found, metric) if metric in plots.PANELS else None
    if pictures:
        alt = f"{name} over environment steps: {reading.value}."
        parts.append(element("figure", picture(**pictures, alt=alt)))
    parts.append(element("p", element("strong", reading.value), f": {reading.meaning}.{advice}"))
    return element("article", *parts, class_=f"card {reading.verdict}")


def evaluation(found: Found) -> Markup:
    """Shows the evaluation at the end, and those during training as curves and as a table."""
    final = _object(found.summary, "evaluation")
    mean = join(element("strong", _number(final.get("mean"), ",.2f")), ", ") if final else ""
    last = element("p", "At the end: ", mean, _describe_evaluation(final), ".")
    if not found.evaluations:
        return element("section", element("h2", "Evaluation"), last)
    columns = [(kind, name) for kind in POLICIES for name in ("mean", "std")]
    headings = [
        "update",
        "steps",
        *(f"{kind}, {name.replace('std', 'standard deviation')}" for kind, name in columns),
    ]
    rows = [
        [
            *(_number(record.get(name), ",") for name in ("update", "env_steps")),
            *(_number(_object(record, kind).get(name), ",.2f") for kind, name in columns),
        ]
        for record in found.evaluations
    ]
    curves = draw_curves({kind: _points(found, kind) for kind in POLICIES})
    alt = "Mean return of the greedy and of the sampled policy over environment steps, as in the table below."
    return element(
        "section",
        element("h2", "Evaluation"),
        last,
        element("figure", picture(**curves, alt=alt), class_="card"),
        element(
            "details",
            element("summary", f"All {len(rows)} evaluations during training"),
            table(headings, rows),
        ),
    )


def _points(found: Found, kind: str) -> list[tuple[float, float]]:
    """Returns (steps, mean return) of the evaluations that have both."""
    points = []
    for record in found.evaluations:
        steps, mean = record.get("env_steps"), _object(record, kind).get("mean")
        points += [(steps, mean)] if _is_number(steps) and _is_number(mean) else []
    return points


def _describe_evaluation(result: dict[str, Any]) -> str:
    if not result:
        return "there was none"
    kind = POLICIES[0] if result.get("greedy") else POLICIES[1]
    least, most = (_number(result.get(name), ",.2f") for name in ("min", "max"))
    cut = f", {result['unfinished']} of them cut off" if result.get("unfinished") else ""
    return f"mean of {_number(result.get('episodes'), ',')} {kind} episodes, from {least} to {most}{cut}"


def film(found: Found, recording: bytes) -> Markup:
    """Shows one episode, recorded as a GIF."""
    alt = f"One greedy episode of the policy in {found.asked.config.env}."
    moving = element("img", src=data("gif", recording), alt=alt)
    return element(
        "section", element("h2", "One episode of the policy"), element("figure", moving, class_="card")
    )


def configuration(asked: Request) -> Markup:
    """Shows how the configuration differs from its preset or the defaults, and all of it behind a click."""
    usual = asked.origin.fields
    rows = [(name, value, usual[name]) for name, value in asked.changes.items()]
    same = element("p", f"As in {_origin(asked)}.")
    return element(
        "section",
        element("h2", "Configuration"),
        table(("field", "here", _origin(asked)), rows) if rows else same,
        element("details", element("summary", "All fields"), table(("field", "value"), asked.fields.items())),
    )


def reproduction(found: Found) -> Markup:
    """Shows the command that repeats the run, what it ran on, its files and its summary."""
    summary, entries = found.summary, found.run.path.iterdir()
    rows = [(name, _list(summary[name])) for name in ("versions", "hardware", "git") if summary.get(name)]
    files = sorted(entry.name for entry in entries if not entry.name.endswith(DRAFT))
    rows += [("directory", str(found.run.path)), ("files", ", ".join(files))]
    command = element("code", request.command(found.asked))
    return element(
        "section",
        element("h2", "Repeat this run"),
        element("pre", command, class_="card", tabindex=0),
        element("p", SAME_BITS),
        table(("item", "value"), rows),
        element(
            "details",
            element("summary", "The whole summary"),
            element("pre", json.dumps(summary, indent=2), class_="card", tabindex=0),
        ),
    )


def _list(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {part}" for name, part in value.items())


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any, form: str) -> str:
    return format(value, form) if _is_number(value) else NOTHING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf
