"""Lists, checks and prunes the directories of a run's checkpoints, without importing JAX."""

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints import manifest
from ppo_jax.host.runs.checkpoints.manifest import DamageError, Manifest
from ppo_jax.host.runs.directory import RunDirectory

ARRAYS = "state"  # the directory of the arrays inside a checkpoint
SAVING, REMOVING = ".saving", ".removing"  # whatever a crash leaves under these names is ignored


class Checkpoint(NamedTuple):
    """One checkpoint on disk.

    Attributes:
        path: The directory of the checkpoint.
        manifest: The table of contents.
    """

    path: Path
    manifest: Manifest


def newest_first(path: Path) -> list[Path]:
    """Returns the directories that should each hold a checkpoint, newest first.

    Args:
        path: The directory of all checkpoints; it need not exist.
    """
    if not path.is_dir():
        return []

    # The name of a checkpoint is its update; other names are drafts, or damaged and set aside.
    named = [entry for entry in path.iterdir() if entry.name.isdecimal()]
    return sorted(named, key=lambda entry: int(entry.name), reverse=True)


def name_of(update: int) -> str:
    """Returns the name of a checkpoint's directory."""
    return f"{update:010d}"


def read(path: Path) -> Checkpoint:
    """Reads the manifest of a checkpoint, without the files that it describes.

    Raises:
        DamageError: If it cannot be read, or belongs to another checkpoint.
    """
    if path.is_symlink() or not path.is_dir():
        raise DamageError("it is not a directory")
    found = manifest.read(path)
    if path.name != name_of(found.update):
        raise DamageError(f"it was made at update {found.update}, not at the one it is named after")
    return Checkpoint(path, found)


def readable(path: Path) -> Iterator[Checkpoint]:
    """Yields the checkpoints whose manifests can be read, newest first."""
    for directory in newest_first(path):
        try:
            checkpoint = read(directory)
        except DamageError:
            continue
        yield checkpoint


def check(checkpoint: Checkpoint, run_digest: str) -> None:
    """Makes sure that a checkpoint is complete and belongs to this run.

    Args:
        checkpoint: The checkpoint, from `read`.
        run_digest: Digest of the run's request (see `request.digest`).

    Raises:
        DamageError: If anything is not as it was written, or belongs to another run.
    """
    if checkpoint.manifest.run_digest != run_digest:
        raise DamageError("it belongs to a run that was asked for something other than config.json says")
    manifest.verify(checkpoint.path)


def check_one_is_good(run: RunDirectory, run_digest: str) -> None:
    """Makes sure that a run that has made progress can continue from a checkpoint.

    Raises:
        DamageError: If the run has checkpoints but none of them is good, or has a summary but no checkpoint.
    """
    problems = []
    for directory in newest_first(run.checkpoints):
        try:
            return check(read(directory), run_digest)
        except DamageError as error:
            problems.append(f"{directory.name}: {error}")
    if problems:
        raise DamageError(
            f"none of the checkpoints in '{run.checkpoints}' is good ({'; '.join(problems)}); "
            "nothing was changed: put back what is missing, or start another run"
        )
    if run.summary.exists():
        raise DamageError(
            f"'{run.path}' has trained, but has no checkpoint to continue from; nothing was changed: "
            "put its checkpoints back, or start another run"
        )
    return None


def best(known: list[Checkpoint]) -> Checkpoint | None:
    """Returns the checkpoint with the largest mean return, the newest of equal ones; None if none has any."""
    scored = [one for one in known if one.manifest.return_window is not None]
    return max(scored, key=lambda one: (one.manifest.return_window, one.manifest.update), default=None)


def find_best(path: Path) -> Checkpoint:
    """Returns the best of the checkpoints that can be read.

    Raises:
        UsageError: If none has a return.
    """
    found = best(list(readable(path)))
    if found is None:
        raise UsageError(f"'{path}' has no checkpoint with a mean return of 100 episodes; leave out --best")
    return found


def prune(path: Path, keep: int) -> None:
    """Removes all checkpoints but the newest `keep` and the best one; leaves alone what cannot be read."""
    known = list(readable(path))
    spared = [*known[:keep], best(known)]
    trash = path / REMOVING
    shutil.rmtree(trash, ignore_errors=True)
    for one in known:
        if one not in spared:
            # Renamed first, so that a half-removed directory is never taken for a checkpoint.
            one.path.rename(trash)
            shutil.rmtree(trash, ignore_errors=True)


def set_aside(path: Path) -> None:
    """Renames a damaged checkpoint, so that it is neither loaded nor counted again and its name is free."""
    names = (f"{path.name}.damaged{number}" for number in itertools.count(1))
    path.rename(next(path.with_name(name) for name in names if not path.with_name(name).exists()))
