"""A run as one page of HTML that needs nothing else: no network, no script, no other file."""

import dataclasses
import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.diagnosis import health
from ppo_jax.host.diagnosis.health import Reading
from ppo_jax.host.diagnosis.history import Columns
from ppo_jax.host.pictures import plots
from ppo_jax.host.pictures.style import SCHEMES, png
from ppo_jax.host.report.markup import Markup, data, element, join, picture, table
from ppo_jax.host.runs import options, policy, records, request
from ppo_jax.host.runs.directory import DRAFT, RunDirectory, read_json
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.records import Record
from ppo_jax.host.runs.request import Request

CSS = Path(__file__).with_name("report.css")
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"  # the page may load nothing at all
VERDICTS = {
    health.HEALTHY: "✓ healthy",
    health.LOOK: "! have a look",
    health.BAD: "✕ bad",
    health.UNKNOWN: "– not judged",
}
ENDS = {"done": "Done", "interrupted": "Stopped early", "failed": "Failed"}
POLICIES = ("greedy", "sampled")
PICTURE = (5, 3)  # inches
SAME = (
    "On the same versions and kind of device it gives the same bits, unless the run was made longer on the "
    "way, or had to go back."
)
NOTHING = "–"  # in place of a number


class Found(NamedTuple):
    """All that a run directory says.

    Attributes:
        run: The directory.
        asked: What was to be done.
        options: How it was to be kept.
        columns: The metrics, [U] each.
        readings: What the metrics say, by metric.
        summary: How it ended; empty if there is no summary.
        evaluations: Those during the training, in order.
    """

    run: RunDirectory
    asked: Request
    options: RunOptions
    columns: Columns
    readings: dict[str, Reading]
    summary: dict[str, Any]
    evaluations: list[Record]


def report(run: RunDirectory, output: Path | None = None, recording: bytes | None = None) -> Path:
    """Writes the report of a run, whole or not at all.

    Args:
        run: Done, stopped, failed, or still running.
        output: Page to write; by default report.html in the run.
        recording: A GIF of the policy, if there is one; see `record`.

    Returns:
        The page.

    Raises:
        UsageError: If the run cannot be read, or the page cannot be written.
    """
    path = output or run.path / "report.html"
    text = page(find(run), recording)
    neighbour = path.with_name(path.name + DRAFT)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        neighbour.write_text(text, encoding="utf-8")
        neighbour.replace(path)
    except OSError as error:
        raise UsageError(
            f"output = '{path}' cannot be written: {error.strerror}; give another path"
        ) from error
    return path


def record(run: RunDirectory) -> bytes | None:
    """Films one episode of the policy of a run.

    Returns:
        A GIF; None if no policy was saved, or there is nothing to draw its environment with.

    Raises:
        UsageError: If the policy cannot be read.
    """
    from ppo_jax.host.pictures import film
    from ppo_jax.host.programs import episode, evaluation

    asked = request.from_json(read_json(run.config))
    if not run.policy.exists() or not film.can_draw(asked.config.env):
        return None
    config, tensors = policy.load(run)
    return film.gif(episode.play(config, evaluation.restore(config, tensors), asked.seed))


def find(run: RunDirectory) -> Found:
    """Reads a run directory.

    Raises:
        UsageError: If a file is damaged, or one that there must be is missing.
    """
    content = read_json(run.config)
    asked = request.from_json(content)
    columns = plots.read(run)
    return Found(
        run=run,
        asked=asked,
        options=options.from_json(content),
        columns=columns,
        readings=health.read(columns, asked.config),
        summary=read_json(run.summary) if run.summary.exists() else {},
        evaluations=records.load(run.evaluations) if run.evaluations.exists() else [],
    )


def page(found: Found, recording: bytes | None = None) -> str:
    """Returns the report as HTML.

    Args:
        found: The run.
        recording: A GIF, if any.
    """
    title = f"PPO on {found.asked.config.env}, seed {found.asked.seed}"
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", Markup(CSS.read_text())),
    )
    sections = (
        _top(found, title),
        _diagnostics(found),
        _evaluation(found),
        _film(found, recording) if recording else "",
        _configuration(found.asked),
        _reproduction(found),
    )
    body = element("body", element("main", *sections))
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def command(asked: Request, options: RunOptions) -> str:
    """Returns the command that does the same training again, for a shell.

    Args:
        asked: The training.
        options: How it is kept.
    """
    preset = next((name for name in (asked.preset, asked.config.env) if name in presets.names()), None)
    start = ["--preset", preset] if preset else []
    flags = {**request.changes(asked._replace(preset=preset)), **_differences(options, RunOptions())}
    words = [word for name, value in flags.items() for word in _flag(name, value)]
    return shlex.join(["ppo-jax", "train", *start, *words, "--seed", str(asked.seed)])


def _differences(options: RunOptions, base: RunOptions) -> dict[str, Any]:
    values = dataclasses.asdict(base)
    return {name: value for name, value in dataclasses.asdict(options).items() if value != values[name]}


def _flag(name: str, value: Any) -> list[str]:
    flag = name.replace("_", "-")
    if isinstance(value, bool):
        return [f"--{flag}" if value else f"--no-{flag}"]
    return [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]


# The sections


def _top(found: Found, title: str) -> Markup:
    changed = ", ".join(f"{name} = {value}" for name, value in request.changes(found.asked).items())
    numbers = [
        element("div", element("dt", name), element("dd", value, element("small", remark)))
        for name, value, remark in _numbers(found)
    ]
    return element(
        "header",
        element("h1", title),
        element("p", _origin(found.asked), " with " if changed else "", changed, class_="soft"),
        element("p", element("strong", _status(found))),
        element("dl", *numbers, class_="cards numbers"),
    )


def _origin(asked: Request) -> str:
    return f"preset {asked.preset}" if asked.preset else "default settings"


def _status(found: Found) -> str:
    done, of = len(found.columns["update"]), found.asked.config.num_updates
    if not found.summary:
        return (
            "There is no summary: the training is still running, or was ended by force. "
            f"This is what the first {done:,} of {of:,} updates say."
        )
    status, failure = str(found.summary.get("status")), found.summary.get("failure")
    return f"{ENDS.get(status, status)}: {done:,} of {of:,} updates{f'; {failure}' if failure else ''}."


def _numbers(found: Found) -> list[tuple[str, str, str]]:
    """Name, value and remark of what one wants to know first."""
    summary, mark, columns = found.summary, found.asked.solved_return, found.columns
    solved, final = _object(summary, "solved"), _object(summary, "evaluation")
    steps = f"of {found.asked.total_steps:,} steps, in {_number(columns['seconds'][-1], ',.1f')} s"
    after = f"after {_number(solved.get('env_steps'), ',')} steps" if solved else "no"
    marks = [] if mark is None else [("Solved", after, f"mark: a mean of {mark:g} over 100 episodes")]
    return [
        ("Return", _number(columns["return_window"][-1], ",.2f"), "mean of the last 100 episodes"),
        *marks,
        ("Final evaluation", _number(final.get("mean"), ",.2f"), _spread(final)),
        ("Trained", _number(columns["env_steps"][-1], ",.0f"), steps),
        ("Speed", _number(summary.get("steps_per_second"), ",.0f"), "steps per second"),
    ]


def _diagnostics(found: Found) -> Markup:
    counts = Counter(reading.verdict for reading in found.readings.values())
    tally = ", ".join(
        f"{counts[verdict]} {name[2:]}" for verdict, name in VERDICTS.items() if counts[verdict]
    )
    others = [metric for metric in found.readings if metric not in plots.PANELS]
    return element(
        "section",
        element("h2", "Diagnostics"),
        element("p", f"{tally}. Rules of thumb: where they contradict the return, believe the return."),
        element("div", *(_card(found, metric) for metric in plots.PANELS), class_="cards"),
        element("div", *(_card(found, metric) for metric in others), class_="cards"),
    )


def _card(found: Found, metric: str) -> Markup:
    reading = found.readings[metric]
    name = plots.PANELS.get(metric, metric.replace("_", " ").capitalize())
    badge = element("span", VERDICTS[reading.verdict], class_=f"verdict {reading.verdict}")
    advice = f" Try {reading.advice}." if reading.advice else ""
    drawn = []
    if metric in plots.PANELS and _has_values(found.columns, metric):
        pictures = _in_schemes(partial(_panel, found, metric))
        drawn = [
            element("figure", picture(**pictures, alt=f"{name} over environment steps: {reading.value}."))
        ]
    return element(
        "article",
        element("h3", name, badge),
        *drawn,
        element("p", element("strong", reading.value), f": {reading.meaning}.{advice}"),
        class_=f"card {reading.verdict}",
    )


def _has_values(columns: Columns, metric: str) -> bool:
    """Whether there is anything to draw; the panel of returns shows those of single updates, too."""
    names = (metric, "episode_return") if metric == "return_window" else (metric,)
    return any(np.isfinite(columns[name]).any() for name in names)


def _in_schemes(draw: Callable[..., Figure]) -> dict[str, bytes]:
    """Draws a picture for a light and for a dark page."""
    pictures = {}
    for name, scheme in SCHEMES.items():
        with matplotlib.rc_context(scheme.settings):
            pictures[name] = png(draw(colors=scheme.colors))
    return pictures


def _panel(found: Found, metric: str, colors: Sequence[str]) -> Figure:
    figure = Figure(figsize=PICTURE, layout="constrained")
    histories = {found.asked.label: found.columns}
    plots.panel(figure.subplots(), metric, histories, found.asked.solved_return, colors)
    return figure


def _evaluation(found: Found) -> Markup:
    final = _object(found.summary, "evaluation")
    mean = join(element("strong", _number(final.get("mean"), ",.2f")), ", ") if final else ""
    during = _during(found.evaluations) if found.evaluations else []
    return element(
        "section",
        element("h2", "Evaluation"),
        element("p", "At the end: ", mean, _spread(final), "."),
        *during,
    )


def _spread(evaluation: dict[str, Any]) -> str:
    if not evaluation:
        return "there was none"
    kind = POLICIES[0] if evaluation.get("greedy") else POLICIES[1]
    least, most = (_number(evaluation.get(name), ",.2f") for name in ("min", "max"))
    cut = f", {evaluation['unfinished']} of them cut off" if evaluation.get("unfinished") else ""
    return f"mean of {_number(evaluation.get('episodes'), ',')} {kind} episodes, from {least} to {most}{cut}"


def _during(evaluations: list[Record]) -> list[Markup]:
    headings = (
        "update",
        "steps",
        *(f"{kind}, {name}" for kind in POLICIES for name in ("mean", "deviation")),
    )
    rows = [
        (
            *(_number(row.get(name), ",") for name in ("update", "env_steps")),
            *(_number(_object(row, kind).get(name), ",.2f") for kind in POLICIES for name in ("mean", "std")),
        )
        for row in evaluations
    ]
    alt = "Mean return of the greedy and of the sampled policy over environment steps, as in the table below."
    curves = picture(**_in_schemes(partial(_curves, evaluations)), alt=alt)
    return [
        element("figure", curves, class_="card"),
        element(
            "details",
            element("summary", f"All {len(rows)} evaluations during training"),
            table(headings, rows),
        ),
    ]


def _curves(evaluations: list[Record], colors: Sequence[str]) -> Figure:
    figure = Figure(figsize=PICTURE, layout="constrained")
    ax = figure.subplots()
    for kind, color in zip(POLICIES, colors, strict=False):
        points = [(row.get("env_steps"), _object(row, kind).get("mean")) for row in evaluations]
        known = np.array([point for point in points if all(map(_is_number, point))], dtype=float).reshape(
            -1, 2
        )
        ax.plot(*known.T, "o-", markersize=3, color=color, label=kind)
    ax.set(xlabel="environment steps", ylabel="mean return")
    ax.xaxis.set_major_formatter(EngFormatter(sep=""))
    ax.legend(fontsize="small")
    return figure


def _film(found: Found, recording: bytes) -> Markup:
    alt = f"One greedy episode of the policy in {found.asked.config.env}."
    film = element("img", src=data("gif", recording), alt=alt)
    return element("section", element("h2", "The policy at work"), element("figure", film, class_="card"))


def _configuration(asked: Request) -> Markup:
    base = asked._replace(preset=None)
    if asked.preset:
        config, hyper = presets.preset(asked.preset)
        base = base._replace(config=config, hyper=hyper)
    else:
        base = base._replace(config=Config(), hyper=Hyperparams())
    values, usual = _fields(asked), _fields(base)
    rows = [(name, value, usual[name]) for name, value in values.items() if value != usual[name]]
    difference = (
        table(("field", "here", _origin(asked)), rows) if rows else element("p", f"As in {_origin(asked)}.")
    )
    return element(
        "section",
        element("h2", "Configuration"),
        difference,
        element("details", element("summary", "All fields"), table(("field", "value"), values.items())),
    )


def _fields(asked: Request) -> dict[str, Any]:
    return {**dataclasses.asdict(asked.config), **asked.hyper._asdict()}


def _reproduction(found: Found) -> Markup:
    known = [name for name in ("versions", "hardware", "git") if found.summary.get(name)]
    files = sorted(entry.name for entry in found.run.path.iterdir() if not entry.name.endswith(DRAFT))
    rows = [
        *((name, _listed(found.summary[name])) for name in known),
        ("directory", found.run.path),
        ("files", ", ".join(files)),
    ]
    whole = json.dumps(found.summary, indent=2)
    return element(
        "section",
        element("h2", "The same again"),
        element("pre", element("code", command(found.asked, found.options)), class_="card", tabindex=0),
        element("p", SAME),
        table(("what", "which"), rows),
        element(
            "details",
            element("summary", "The whole summary"),
            element("pre", whole, class_="card", tabindex=0),
        ),
    )


def _listed(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {part}" for name, part in value.items())


# What a file holds, whatever that is


def _object(record: dict[str, Any], name: str) -> dict[str, Any]:
    value = record.get(name)
    return value if isinstance(value, dict) else {}


def _number(value: Any, form: str) -> str:
    return format(value, form) if _is_number(value) else NOTHING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < math.inf
