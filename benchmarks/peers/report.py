"""The table of a comparison, and its JSON file."""

import json
import statistics
from pathlib import Path
from typing import Any

from contestant import XLA_OPTIONS, Outcome
from peer import CORES, LIBRARY, OURS, PRODUCTS
from rich.console import Console
from rich.table import Table
from workers.protocol import Job

from ppo_jax.host.programs import system
from ppo_jax.host.runs import files

WORDS = ("job", "XLA's options", "peer", "version")
NUMBERS = ("compile s", "steps/s", "slowest", "fastest", "ours/peer", "from", "to", "of products")
ROOT = Path(__file__).parents[2]
WIDTH = 160  # of the table, where the terminal is narrower or there is none


def show(outcomes: list[Outcome]) -> None:
    """Prints one row for each job, set of options of XLA and peer.

    Args:
        outcomes: The outcomes of all jobs, in the order of the table.
    """
    hardware, versions = system.hardware(), system.versions()
    title = (
        "CartPole-v1, whole training, environment steps per second, median over rounds; "
        f"{hardware['cpu']} x{hardware['cpu_count']}, Python {versions['python']}, jax {versions['jax']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in WORDS:
        table.add_column(heading, no_wrap=heading != "version")
    for heading in NUMBERS:
        table.add_column(heading, justify="right", no_wrap=True)
    for outcome in outcomes:
        table.add_row(*_row(outcome, outcomes))
    console = Console(width=max(WIDTH, Console().width))
    console.print(table)
    for outcome in outcomes:
        if outcome.failure is not None:
            line = f"{name(outcome.job)} {outcome.peer}, {outcome.xla} options: {outcome.failure}"
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
        "xla_options": XLA_OPTIONS,
        "code": system.git_commit(ROOT),
        "versions": system.versions(),
        "hardware": system.hardware(),
        "outcomes": [_as_json(outcome, outcomes) for outcome in outcomes],
    }
    with files.output(path) as draft:
        draft.write_text(json.dumps(content, indent=2, default=str) + "\n")


def name(job: Job) -> str:
    """Names a job: environments x steps, the number of agents if not 1, the number of cores if not all."""
    shape = f"{job.num_envs}x{job.num_steps}"
    agents = shape if job.agents == 1 else f"{job.agents} of {shape}"
    return agents if job.cores == CORES else f"{agents}, {job.cores} core{'s' * (job.cores > 1)}"


def _row(outcome: Outcome, outcomes: list[Outcome]) -> list[str]:
    words = [name(outcome.job), outcome.xla, outcome.peer]
    if outcome.failure is not None:
        return [*words, "no result"]
    compiling = "-" if outcome.compile_seconds is None else f"{outcome.compile_seconds:.1f}"
    rates = [f"{rate:,.0f}" for rate in _middle_and_ends(outcome.rates)]
    ratios = [f"{ratio:.2f}" for ratio in _middle_and_ends(_ratios(outcome, outcomes))] or [""] * 3
    shares = [f"{share:.0%}" for share in _middle_and_ends(_shares(outcome, outcomes))[:1]]
    return [*words, outcome.version or "", compiling, *rates, *ratios, *shares]


def _as_json(outcome: Outcome, outcomes: list[Outcome]) -> dict[str, Any]:
    return outcome._asdict() | {
        "job": outcome.job._asdict(),
        "steps_per_second": outcome.rates,
        "ours_over_peer": _ratios(outcome, outcomes),
        "share_of_products": _shares(outcome, outcomes),
    }


def _ratios(outcome: Outcome, outcomes: list[Outcome]) -> list[float]:
    """Returns our speed over the peer's in each round, with the same options of XLA; nothing if unknown."""
    ours = _rates(LIBRARY, outcome.xla, outcome.job, outcomes)
    return [mine / its for mine, its in zip(ours, outcome.rates, strict=False)]


def _shares(outcome: Outcome, outcomes: list[Outcome]) -> list[float]:
    """Returns the peer's speed over that of the matrix products in each round; nothing if unknown."""
    products = _rates(PRODUCTS, OURS, outcome.job, outcomes)
    return [its / most for its, most in zip(outcome.rates, products, strict=False)]


def _rates(peer: str, xla: str, job: Job, outcomes: list[Outcome]) -> list[float]:
    found = [other.rates for other in outcomes if (other.peer, other.xla, other.job) == (peer, xla, job)]
    return found[0] if found else []


def _middle_and_ends(numbers: list[float]) -> list[float]:
    return [statistics.median(numbers), min(numbers), max(numbers)] if numbers else []
