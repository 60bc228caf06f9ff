"""The table of a comparison, and its JSON file."""

import json
import statistics
from pathlib import Path
from typing import Any

from contestant import Outcome
from peer import OURS
from rich.console import Console
from rich.table import Table

from ppo_jax.host.programs import system
from ppo_jax.host.runs import files

HEADINGS = ("job", "peer", "version", "compile s", "steps/s", "slowest", "fastest", "ours/peer", "from", "to")
WORDS = ("job", "peer", "version")


def show(outcomes: list[Outcome]) -> None:
    """Prints one row for each job and peer.

    Args:
        outcomes: The outcomes of all jobs, in the order of the table.
    """
    hardware, versions = system.hardware(), system.versions()
    title = (
        "CartPole-v1, whole training, environment steps per second, median over rounds; "
        f"{hardware['cpu']} x{hardware['cpu_count']}, Python {versions['python']}, jax {versions['jax']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in HEADINGS:
        justify = "left" if heading in WORDS else "right"
        table.add_column(heading, justify=justify, no_wrap=heading != "version")
    for outcome in outcomes:
        table.add_row(*_row(outcome, outcomes))
    console = Console(width=max(120, Console().width))
    console.print(table)
    for outcome in outcomes:
        if outcome.failure is not None:
            line = f"{name(outcome)} {outcome.peer}: {outcome.failure}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def write(path: Path, options: dict[str, Any], outcomes: list[Outcome]) -> None:
    """Writes everything that was measured as JSON.

    Args:
        path: The file to write.
        options: The options of the comparison.
        outcomes: The outcomes of all jobs.
    """
    content = {
        "options": options,
        "versions": system.versions(),
        "hardware": system.hardware(),
        "outcomes": [_as_json(outcome, outcomes) for outcome in outcomes],
    }
    with files.output(path) as draft:
        draft.write_text(json.dumps(content, indent=2, default=str) + "\n")


def name(outcome: Outcome) -> str:
    """Names a job: environments x steps, and the number of agents if there are several."""
    job = outcome.job
    shape = f"{job.num_envs}x{job.num_steps}"
    return shape if job.agents == 1 else f"{job.agents} of {shape}"


def _row(outcome: Outcome, outcomes: list[Outcome]) -> list[str]:
    version = outcome.version or ""
    if outcome.failure is not None:
        return [name(outcome), outcome.peer, "no result"]
    compiling = "-" if outcome.compile_seconds is None else f"{outcome.compile_seconds:.1f}"
    rates = [f"{rate:,.0f}" for rate in _middle_and_ends(outcome.rates)]
    ratios = [f"{ratio:.2f}" for ratio in _middle_and_ends(_ratios(outcome, outcomes))]
    return [name(outcome), outcome.peer, version, compiling, *rates, *ratios]


def _as_json(outcome: Outcome, outcomes: list[Outcome]) -> dict[str, Any]:
    return outcome._asdict() | {
        "job": outcome.job._asdict(),
        "steps_per_second": outcome.rates,
        "ours_over_peer": _ratios(outcome, outcomes),
    }


def _ratios(outcome: Outcome, outcomes: list[Outcome]) -> list[float]:
    """Returns our speed divided by the peer's in each round; nothing if ours has not been measured."""
    ours = [other.rates for other in outcomes if other.peer == OURS and other.job == outcome.job]
    return [mine / its for mine, its in zip(*ours, outcome.rates, strict=False)] if ours else []


def _middle_and_ends(numbers: list[float]) -> list[float]:
    return [statistics.median(numbers), min(numbers), max(numbers)] if numbers else []
