"""Trainings in processes of their own, to which things happen."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from ppo_jax.host.runs.checkpoints import directories, manifest
from ppo_jax.host.runs.directory import RunDirectory

# Small, with all that a resume could lose.
FLAGS = (
    *("--num-envs", "4", "--num-steps", "8", "--num-epochs", "2", "--num-minibatches", "2"),
    *("--hidden-sizes", "8", "--memory-size", "4", "--normalize-observations", "--normalize-rewards"),
    *("--entropy-schedule", "cosine", "--final-entropy-coefficient", "0"),
)
EVERY_UPDATE = ("--checkpoint-every", "1")  # so that most of the time is saving


def start(*arguments: str | Path, limit: str = "") -> subprocess.Popen:
    """Starts the command line, under a limit of the shell if one is given."""
    command = [sys.executable, "-m", "tests.survival.processes", *map(str, arguments)]
    if limit:
        command = ["bash", "-c", f'{limit}; exec "$@"', "bash", *command]
    return subprocess.Popen(
        command,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def train(run: Path, updates: int, cache: Path, *flags: str, limit: str = "") -> subprocess.Popen:
    """Starts a training of so many updates, or goes on with it."""
    arguments = ("train", *FLAGS, "--total-timesteps", str(32 * updates), "--run-dir", run, "--resume")
    return start(*arguments, "--cache-dir", cache, *flags, limit=limit)


def end(process: subprocess.Popen) -> tuple[int, str]:
    """Waits for a process; returns its exit status and what it printed."""
    out, _ = process.communicate(timeout=300)
    return process.returncode, out


def saved(run: Path) -> list[int]:
    """Updates of the checkpoints that are there under their names."""
    return [int(path.name) for path in directories.directories(run / "checkpoints")]


def assert_whole(run: Path) -> None:
    """Everything that bears the name of a checkpoint is one."""
    for path in directories.directories(run / "checkpoints"):
        manifest.verify(path)


def outcome(run: Path) -> tuple:
    """All that must not depend on what happened: metrics without the time, and the policy."""
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
