"""Looking through everything a run has on disk, without JAX."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.runs import checkpoints, directory, policy, records, request, run_options
from ppo_jax.runs.checkpoints import Checkpoint
from ppo_jax.runs.directory import RunDirectory
from ppo_jax.runs.manifest import DamageError


class Finding(NamedTuple):
    """What was found out about a file or a directory.

    Attributes:
        path: Its path.
        problem: What is wrong; empty if nothing is.
        remark: What is worth knowing if nothing is wrong.
    """

    path: Path
    problem: str
    remark: str = ""


def verify(run: RunDirectory) -> list[Finding]:
    """Checks configuration, metrics, policy and checkpoints of a run, as far as they are there.

    Args:
        run: Its directory.
    """
    return [*_files(run), *_checkpoints(run)]


def describe(finding: Finding) -> str:
    """Says a finding in one line."""
    verdict = "DAMAGED" if finding.problem else "ok"
    return f"{verdict:8}{finding.path}  {finding.problem or finding.remark}"


def _files(run: RunDirectory) -> Iterator[Finding]:
    checks: dict[Path, Callable[[RunDirectory], str]] = {
        run.config: _config,
        run.metrics: _metrics,
        run.evaluations: _evaluations,
        run.summary: _summary,
        run.policy: _policy,
    }
    for path, check in checks.items():
        if path.exists() or path in (run.config, run.metrics):
            yield _try(path, check, run)


def _try(path: Path, check: Callable[[RunDirectory], str], run: RunDirectory) -> Finding:
    try:
        return Finding(path, "", check(run))
    except (UsageError, DamageError) as error:
        return Finding(path, str(error))


def _config(run: RunDirectory) -> str:
    content = directory.read_json(run.config)
    run_options.from_json(content)
    asked = request.from_json(content)
    return f"{asked.label}, seed {asked.seed}, {asked.total_steps:,} steps"


def _metrics(run: RunDirectory) -> str:
    updates = [record.get("update") for record in records.load(run.metrics)]
    if updates != list(range(1, len(updates) + 1)):
        raise DamageError("its updates are not numbered one after the other from 1 on")
    newest = next(checkpoints.readable(run.checkpoints), None)
    if newest is not None and newest.manifest.update > len(updates):
        raise DamageError(f"it ends at update {len(updates)}, before checkpoint {newest.path.name}")
    return f"{len(updates):,} updates"


def _evaluations(run: RunDirectory) -> str:
    return f"{len(records.load(run.evaluations)):,} evaluations"


def _summary(run: RunDirectory) -> str:
    return str(directory.read_json(run.summary).get("status"))


def _policy(run: RunDirectory) -> str:
    _, tensors = policy.load(run)
    return f"{len(tensors)} tensors"


def _checkpoints(run: RunDirectory) -> Iterator[Finding]:
    best = checkpoints.best(list(checkpoints.readable(run.checkpoints)))
    for path in checkpoints.directories(run.checkpoints):
        yield _try(path, partial(_checkpoint, path, best), run)


def _checkpoint(path: Path, best: Checkpoint | None, run: RunDirectory) -> str:
    checkpoint = checkpoints.read(path)
    asked = request.from_json(directory.read_json(run.config))
    checkpoints.check(checkpoint, request.digest(asked))
    value = checkpoint.manifest.return_window
    remark = "" if value is None else f", mean return of 100 episodes {value:.1f}"
    return f"{len(checkpoint.manifest.leaves)} arrays{remark}{', the best' if checkpoint == best else ''}"
