"""Runs in processes of their own, to which things happen."""

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from ppo_jax.host.runs import request
from ppo_jax.host.runs.checkpoints import directories, manifest
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from tests.host.conftest import EVERYTHING, changed

EVERY_UPDATE = ("--checkpoint-every", "1")  # so that most of the time is saving


def asked_for(updates: int) -> Request:
    """A small run of so many updates, with all that a resume could lose."""
    return changed(EVERYTHING, total_timesteps=EVERYTHING.config.batch_size * updates)


def train(run: Path, updates: int, *flags: str, limit: str = "") -> subprocess.Popen:
    """Starts a run of so many updates, or continues it, under a limit of the shell if one is given.

    All of them compile the same program, which the tests' own cache keeps.
    """
    _, *arguments = shlex.split(request.command(asked_for(updates)))
    cache = os.environ["JAX_COMPILATION_CACHE_DIR"]
    place = ("--run-dir", str(run), "--resume", "--cache-dir", cache)
    command = [sys.executable, "-m", "tests.survival.processes", *arguments, *place, *flags]
    if limit:
        command = ["bash", "-c", f'{limit}; exec "$@"', "bash", *command]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Waits for a process; returns its exit status and what it printed."""
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def saved(run: Path) -> list[int]:
    """The updates whose checkpoints are there under their names."""
    return [int(path.name) for path in directories.newest_first(run / "checkpoints")]


def assert_whole(run: Path) -> None:
    """Checks that everything that has the name of a checkpoint is one."""
    for path in directories.newest_first(run / "checkpoints"):
        manifest.verify(path)


def outcome(run: Path) -> tuple:
    """Everything that must not depend on what happened: metrics without the time, and the policy."""
    directory = RunDirectory(run)
    records = map(json.loads, directory.metrics.read_text().splitlines())
    lines = [{name: value for name, value in record.items() if name != "seconds"} for record in records]
    return lines, directory.tensors.read_bytes()


def wait_for(run: Path, update: int, process: subprocess.Popen) -> None:
    """Waits until a checkpoint of this update or a later one is there, or the process has ended."""
    while process.poll() is None and max(saved(run), default=-1) < update:
        time.sleep(0.01)


if __name__ == "__main__":
    import tests.conftest  # noqa: F401  as in the tests: several devices, on the CPU
    from ppo_jax.cli import main

    main()
