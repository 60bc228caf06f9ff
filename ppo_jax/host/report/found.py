"""Reads everything that a run directory says about its run."""

from typing import Any, NamedTuple

from ppo_jax.host.diagnosis import health
from ppo_jax.host.diagnosis.health import Reading
from ppo_jax.host.diagnosis.history import Columns
from ppo_jax.host.pictures import plots
from ppo_jax.host.runs import records, request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.records import Record
from ppo_jax.host.runs.request import Request


class Found(NamedTuple):
    """The content of a run directory.

    Attributes:
        run: The directory.
        asked: The request of the run.
        columns: The metrics, [U] each.
        readings: The readings of the diagnostics, by metric.
        summary: The result; empty if there is no summary.
        evaluations: The evaluations during training, in order.
    """

    run: RunDirectory
    asked: Request
    columns: Columns
    readings: dict[str, Reading]
    summary: dict[str, Any]
    evaluations: list[Record]


def find(run: RunDirectory) -> Found:
    """Reads a run directory.

    Raises:
        UsageError: If a file is damaged, or a file that every run has is missing.
    """
    asked = request.read(run)
    columns = plots.read(run)
    return Found(
        run=run,
        asked=asked,
        columns=columns,
        readings=health.read(columns, asked.config),
        summary=read_json(run.summary) if run.summary.exists() else {},
        evaluations=records.load(run.evaluations) if run.evaluations.exists() else [],
    )
