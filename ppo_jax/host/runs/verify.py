"""Verifies what a run has on disk, without importing JAX."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.runs import known, policy, records, request
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.checkpoints.directories import Checkpoint
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.written import NewerError


class Finding(NamedTuple):
    """The result of checking a file or a directory.

    Attributes:
        path: The file or directory.
        problem: The damage, in words, or why nothing can be said; empty if there is neither.
        remark: A few words about the content if there is no problem.
        is_newer: Whether nothing can be said, because a newer version of this package wrote it.
    """

    path: Path
    problem: str
    remark: str = ""
    is_newer: bool = False


def verify(run: RunDirectory) -> list[Finding]:
    """Verifies the request, metrics, evaluations, summary, policy and checkpoints of a run.

    Only the request and the metrics have to exist.
    """
    checks: dict[Path, Callable[[], str]] = {
        run.config: lambda: _describe_request(run),
        run.metrics: lambda: _describe_metrics(run),
        run.evaluations: lambda: f"{len(records.load(run.evaluations)):,} evaluations",
        run.summary: lambda: str(read_json(run.summary).get("status")),
        run.policy: lambda: f"{len(policy.load(run)[1])} tensors",
    }
    required = (run.config, run.metrics)
    findings = [_try(path, check) for path, check in checks.items() if path.exists() or path in required]
    try:
        copies = known.problems_of(run, request.read(run))
    except UsageError:  # it is reported already
        copies = {}
    findings += [
        Finding(run.policies / field, problem, "copy of a policy") for field, problem in copies.items()
    ]
    best = directories.best(list(directories.readable(run.checkpoints)))
    for path in directories.newest_first(run.checkpoints):
        findings.append(_try(path, lambda path=path: _describe_checkpoint(run, path, best)))
    return findings


def describe(finding: Finding) -> str:
    """Describes a finding in one line."""
    verdict = "UNKNOWN" if finding.is_newer else "DAMAGED" if finding.problem else "ok"
    return f"{verdict:8}{finding.path}  {finding.problem or finding.remark}"


def _try(path: Path, check: Callable[[], str]) -> Finding:
    try:
        return Finding(path, problem="", remark=check())
    except (UsageError, DamageError) as error:
        return Finding(path, problem=str(error), is_newer=isinstance(error, NewerError))


def _describe_request(run: RunDirectory) -> str:
    asked = request.read(run)
    return f"{asked.label}, seed {asked.seed}, {asked.total_steps:,} steps"


def _describe_metrics(run: RunDirectory) -> str:
    updates = [record.get("update") for record in records.load(run.metrics)]
    if updates != list(range(1, len(updates) + 1)):
        raise DamageError("its updates are not numbered 1, 2, 3 and so on")
    newest = next(directories.readable(run.checkpoints), None)
    if newest is not None and newest.manifest.update > len(updates):
        raise DamageError(f"it ends at update {len(updates)}, before checkpoint {newest.path.name}")
    return f"{len(updates):,} updates"


def _describe_checkpoint(run: RunDirectory, path: Path, best: Checkpoint | None) -> str:
    checkpoint = directories.read(path)
    directories.check(checkpoint, request.digest(request.read(run)))
    value = checkpoint.manifest.return_window
    remark = "" if value is None else f", mean return of 100 episodes {value:.1f}"
    remark += ", the best" if checkpoint == best else ""
    return f"{len(checkpoint.manifest.leaves)} arrays{remark}"
