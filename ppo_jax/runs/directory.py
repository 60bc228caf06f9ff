"""The directory of a run: where each file is, and how a new one comes to be."""

import fcntl
import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.runs.manifest import sync

DRAFT = ".tmp"  # ends the name of a file that is not yet whole
MAX_JSON_BYTES = 2**24  # no file of JSON in a run comes near


class RunDirectory(NamedTuple):
    """Paths inside a run directory.

    Attributes:
        path: The directory itself.
    """

    path: Path

    @property
    def config(self) -> Path:
        """What was asked for: preset, seed, `Config`, `Hyperparams`."""
        return self.path / "config.json"

    @property
    def metrics(self) -> Path:
        """One line of JSON per update."""
        return self.path / "metrics.jsonl"

    @property
    def evaluations(self) -> Path:
        """One line of JSON per evaluation during training."""
        return self.path / "evaluations.jsonl"

    @property
    def checkpoints(self) -> Path:
        """The checkpoints, a directory each."""
        return self.path / "checkpoints"

    @property
    def summary(self) -> Path:
        """The result, for machines."""
        return self.path / "summary.json"

    @property
    def policy(self) -> Path:
        """What the tensors of the policy mean."""
        return self.path / "policy.json"

    @property
    def tensors(self) -> Path:
        """The tensors of the policy."""
        return self.path / "policy.safetensors"

    @property
    def diagnostics(self) -> Path:
        """The picture of the training."""
        return self.path / "diagnostics.png"


def create(path: Path | None, label: str, content: dict[str, Any]) -> RunDirectory:
    """Makes a new run directory; one that holds anything is never touched.

    Args:
        path: Where; None makes a new one under `runs/`, named after the label and the time.
        label: Preset or environment, and seed.
        content: Of its `config.json`, with which the directory is taken.

    Raises:
        UsageError: If it is there already with something in it, or cannot be made or written to.
    """
    if path is not None:
        return _claim(path, content)
    first = Path("runs") / f"{label}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return _claim(next(path for path in itertools.chain([first], others) if not path.exists()), content)


def _claim(path: Path, content: dict[str, Any]) -> RunDirectory:
    """Takes a directory for a run by making its first file, which only one process can."""
    run = RunDirectory(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _make_first_file(run, content)
    except FileExistsError as error:
        raise UsageError(
            f"run_dir = '{path}' exists and is not an empty directory; a run is never overwritten: "
            "give another --run-dir, move the old one away, or go on with it: --resume"
        ) from error
    except OSError as error:
        raise UsageError(
            f"run_dir = '{path}' cannot be made or written to: {error.strerror}; give another --run-dir"
        ) from error
    return run


def _make_first_file(run: RunDirectory, content: dict[str, Any]) -> None:
    with locked(run):
        if not is_free(run.path):
            raise FileExistsError
        write_json(run.config, content)


def is_free(path: Path) -> bool:
    """Whether a directory holds nothing, or does not exist; drafts of files are nothing."""
    if not path.is_dir():
        return not path.exists()
    return all(entry.name.endswith(DRAFT) for entry in path.iterdir())


@contextmanager
def locked(run: RunDirectory) -> Iterator[None]:
    """Keeps other processes from training in a run directory; the system ends it with this process.

    Raises:
        UsageError: If another process is at it.
    """
    descriptor = os.open(run.path, os.O_RDONLY)
    try:
        _lock(run, descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(run: RunDirectory, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UsageError(
            f"RUN = '{run.path}' is in use: another process trains there; wait for it, or stop it"
        ) from error


def release(run: RunDirectory) -> None:
    """Gives back a directory in which nothing has happened yet; any other is left as it is."""
    if list(run.path.iterdir()) == [run.config]:
        run.config.unlink()
        run.path.rmdir()


def open_existing(path: Path) -> RunDirectory:
    """Opens the directory of an earlier run.

    Args:
        path: As `create` returned it.

    Raises:
        UsageError: If it is not the directory of a run.
    """
    directory = RunDirectory(path)
    if not path.is_dir():
        raise UsageError(f"RUN = '{path}' is not a directory; give one that `ppo-jax train` wrote")
    if not directory.config.is_file():
        raise UsageError(
            f"RUN = '{path}' has no {directory.config.name}; give a directory that `ppo-jax train` wrote"
        )
    for entry in path.iterdir():
        if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
            raise UsageError(
                f"RUN = '{path}' holds '{entry.name}', which is neither a plain file nor a directory; "
                "no run does, so remove it or give another"
            )
    return directory


def is_complete(run: RunDirectory, num_updates: int) -> bool:
    """Whether a run has come to the end of so many updates, its summary included."""
    try:
        summary = read_json(run.summary)
    except UsageError:  # it is written at the end, and may have been lost there
        return False
    return summary.get("status") == "done" and summary.get("updates") == num_updates


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON whole or not at all: to a neighbour first, which then takes its place.

    Args:
        path: The file to write.
        content: Strict JSON; no NaN.

    Raises:
        OSError: With the name of the file, if it cannot be written; it is then as it was before.
    """
    neighbour, text = path.with_name(path.name + DRAFT), _encode(content)
    try:
        neighbour.write_text(text)
        sync(neighbour)
        neighbour.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _encode(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2, allow_nan=False) + "\n"


def read_json(path: Path) -> dict[str, Any]:
    """Reads an object of JSON.

    Args:
        path: The file.

    Raises:
        UsageError: If it is missing, unreadable, or not an object of JSON.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is missing: its training diverged or was stopped early; train again")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UsageError(f"'{path}' is longer than {MAX_JSON_BYTES:,} bytes; it is damaged")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' cannot be read as JSON: {error}; it is damaged") from error
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is not an object of JSON; it is damaged")
    return content
