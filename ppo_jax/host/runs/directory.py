"""The directory of a run: the paths of its files, its lock, and how a new run claims it."""

import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.runs.files import DRAFT, is_supported, read_json, write_json


class RunDirectory(NamedTuple):
    """The paths in a run directory.

    Attributes:
        path: The directory itself.
        config: The request (see `request`).
        metrics: One line of JSON per update.
        evaluations: One line of JSON per evaluation during training.
        checkpoints: The directory of the checkpoints.
        summary: The result, for programs to read.
        policy: The description of the saved policy.
        tensors: The tensors of the saved policy.
        diagnostics: The picture of the run.
        policies: The copies of the policies that the run starts from or is taught by (see `known`).
    """

    path: Path

    config = property(lambda run: run.path / "config.json")
    metrics = property(lambda run: run.path / "metrics.jsonl")
    evaluations = property(lambda run: run.path / "evaluations.jsonl")
    checkpoints = property(lambda run: run.path / "checkpoints")
    summary = property(lambda run: run.path / "summary.json")
    policy = property(lambda run: run.path / "policy.json")
    tensors = property(lambda run: run.path / "policy.safetensors")
    diagnostics = property(lambda run: run.path / "diagnostics.png")
    policies = property(lambda run: run.path / "policies")


def create(
    path: Path | None, label: str, content: dict[str, Any], kind: type[RunDirectory] = RunDirectory
) -> RunDirectory:
    """Makes a new run directory. A directory that holds anything but drafts is never touched.

    Args:
        path: The directory to make; None makes a new one under `runs/`, named after the label and the time.
        label: The preset or environment, and the seed.
        content: The content of `config.json`, the file that claims the directory for this run.
        kind: The kind of directory.

    Raises:
        UsageError: If the directory holds something already, or cannot be made or written to.
    """
    run = kind(path or Path("runs"))
    try:
        run = kind(_make_new(label) if path is None else path)
        run.path.mkdir(parents=True, exist_ok=True)
        with locked(run):  # if several processes want this directory, only one finds it free
            _claim(run, content)
    except FileExistsError as error:
        raise UsageError(
            f"run_dir = '{run.path}' exists and is not an empty directory; a run is never overwritten: "
            "give another --run-dir, move the old one away, or continue it with --resume"
        ) from error
    except OSError as error:
        raise UsageError(
            f"run_dir = '{run.path}' cannot be made or written to: {error.strerror}; give another --run-dir"
        ) from error
    return run


def _make_new(label: str) -> Path:
    """Makes a directory under `runs/` that no other process has, named after a label and the time."""
    first = Path("runs") / f"{label}-{time.strftime('%Y%m%d-%H%M%S')}"
    for number in itertools.count(1):
        path = first if number == 1 else first.with_name(f"{first.name}-{number}")
        with suppress(FileExistsError):
            path.mkdir(parents=True)
            return path
    raise AssertionError  # the numbers have no end


def _claim(run: RunDirectory, content: dict[str, Any]) -> None:
    if not is_free(run.path):
        raise FileExistsError
    write_json(run.config, content)


def is_free(path: Path) -> bool:
    """Whether a directory does not exist, or holds nothing but drafts of files."""
    if not path.is_dir():
        return not path.exists()
    return all(entry.name.endswith(DRAFT) for entry in path.iterdir())


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Locks a run directory, so that no other process trains there. The lock ends with the process at latest.

    Raises:
        UsageError: If another process is training there.
    """
    descriptor = os.open(run.path, os.O_RDONLY)
    try:
        _lock(run, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(run: RunDirectory, descriptor: int) -> None:
    try:
        # Without locks, nothing is guaranteed, and `limits` says so.
        is_supported(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"RUN = '{run.path}' is in use: another process trains there; wait for it, or stop it"
        ) from error


def limits(run: RunDirectory) -> Iterator[str]:
    """Says in a sentence each what the file system of a run directory cannot do, so is not guaranteed."""
    descriptor = os.open(run.path, os.O_RDONLY)
    try:
        if not _can(fcntl.flock, descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
            yield (
                "this file system has no locks, so nothing keeps another process from training in "
                f"'{run.path}' at the same time: do not start one"
            )
        if not _can(os.fsync, descriptor):
            yield (
                "this file system cannot write directories through to the disk, so after a loss of power "
                "the newest checkpoint may be missing; older ones are kept"
            )
    finally:
        os.close(descriptor)


def _can(call: Callable[..., None], *arguments: int) -> bool:
    """Whether a file system has a function; that it fails for another reason is found where it matters."""
    with suppress(OSError):
        return is_supported(call, *arguments)
    return True


def release(run: RunDirectory) -> None:
    """Removes a run directory that holds nothing but its request and copies; leaves any other unchanged."""
    if run.config.exists() and set(run.path.iterdir()) <= {run.config, run.policies}:
        shutil.rmtree(run.policies, ignore_errors=True)
        run.config.unlink()
        run.path.rmdir()


def open_existing(path: Path, kind: type[RunDirectory] = RunDirectory) -> RunDirectory:
    """Opens the directory of an earlier run.

    Args:
        path: The directory, as `create` made it.
        kind: The kind of directory.

    Raises:
        UsageError: If it is not the directory of a run.
    """
    run = kind(path)
    if not path.is_dir():
        raise UsageError(f"RUN = '{path}' is not a directory; give one that `ppo-jax train` wrote")
    if not run.config.is_file():
        raise UsageError(
            f"RUN = '{path}' has no {run.config.name}; give a directory that `ppo-jax train` wrote"
        )
    for entry in path.iterdir():
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise UsageError(
                f"RUN = '{path}' holds '{entry.name}', which is neither a plain file nor a directory; "
                "ppo-jax never writes such files, so remove it or give another run"
            )
    return run


def is_complete(run: RunDirectory, num_updates: int) -> bool:
    """Whether a run has finished this many updates and written its summary."""
    try:
        summary = read_json(run.summary)
    except UsageError:  # the summary is written last, and may have been lost
        return False
    return summary.get("status") == "done" and summary.get("updates") == num_updates
