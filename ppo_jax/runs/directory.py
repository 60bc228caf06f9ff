"""The directory of a run: where each file is, and how a new one comes to be."""

import itertools
import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.errors import UsageError


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


def create(path: Path | None, label: str) -> RunDirectory:
    """Makes a new run directory; one that holds anything is never touched.

    Args:
        path: Where; None makes a new one under `runs/`, named after the label and the time.
        label: Preset or environment, and seed.

    Returns:
        The directory, empty but for an empty `config.json`, which marks it as taken.

    Raises:
        UsageError: If it is there already with something in it, or cannot be made or written to.
    """
    if path is not None:
        return _claim(path)
    first = Path("runs") / f"{label}-{time.strftime('%Y%m%d-%H%M%S')}"
    others = (first.with_name(f"{first.name}-{number}") for number in itertools.count(2))
    return _claim(next(path for path in itertools.chain([first], others) if not path.exists()))


def _claim(path: Path) -> RunDirectory:
    """Takes a directory for a run by making its first file, which only one process can."""
    run = RunDirectory(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        _make_first_file(run)
    except FileExistsError as error:
        raise UsageError(
            f"run_dir = '{path}' exists and is not an empty directory; a run is never overwritten: "
            "give another --run-dir, or move the old one away"
        ) from error
    except OSError as error:
        raise UsageError(
            f"run_dir = '{path}' cannot be made or written to: {error.strerror}; give another --run-dir"
        ) from error
    return run


def _make_first_file(run: RunDirectory) -> None:
    if any(run.path.iterdir()):
        raise FileExistsError
    run.config.open("x").close()


def release(run: RunDirectory) -> None:
    """Gives back a directory in which nothing has happened yet."""
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
    return directory


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes JSON whole or not at all: to a neighbour first, which then takes its place.

    Args:
        path: The file to write.
        content: Strict JSON; no NaN.
    """
    neighbour = path.with_name(path.name + ".tmp")
    neighbour.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    neighbour.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Reads an object of JSON.

    Args:
        path: The file.

    Raises:
        UsageError: If it is missing, unreadable, or not an object of JSON.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is missing: its training diverged or was stopped early; train again")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' cannot be read as JSON: {error}; it is damaged") from error
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is not an object of JSON; it is damaged")
    return content
