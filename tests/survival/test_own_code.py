"""Runs of environments and networks of the user's own: killed, resumed in a new process, and looked at."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.survival.processes import end, outcome, saved, wait_for

ROOT = Path(__file__).parents[2]
FILES = {
    "corridor.py": ROOT / "scripts" / "custom_environment.py",
    "reach.py": ROOT / "tests" / "support" / "own" / "reach.py",
    "networks.py": ROOT / "tests" / "support" / "own" / "networks.py",
}
PROGRAM = """
import json, sys
import tests.conftest  # the tests' own cache
from ppo_jax.cli import main

for arguments in json.loads(sys.argv[1]):
    try:
        main(arguments)
    except SystemExit as stop:
        if stop.code:
            raise
"""
UPDATES = 100
SIZES = ("--num-envs", "8", "--num-steps", "16", "--total-timesteps", str(128 * UPDATES), "--num-epochs", "1")
RUNS = {
    "a corridor and a network of Flax": (
        *("--env", "corridor.py:corridor"),
        *("--network", "networks.py:of_flax"),
    ),
    "a gymnax class and a network in plain JAX": (
        *("--env", "reach.py:Reach", "--env-args", "speed=0.3", "max_steps_in_episode=15"),
        *("--network", "networks.py:of_plain_jax"),
    ),
}


def command(folder, *arguments):
    """Starts the command line in a folder that the package is not in."""
    return commands(folder, arguments)


def commands(folder, *lines):
    """Starts several command lines, one after the other in one process."""
    listed = [list(map(str, arguments)) for arguments in lines]
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, json.dumps(listed)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def succeed(folder, *arguments):
    return succeed_all(folder, arguments)


def succeed_all(folder, *lines):
    status, out = end(commands(folder, *lines))
    assert status == 0, out
    return out


@pytest.fixture
def folder(tmp_path):
    for name, source in FILES.items():
        shutil.copy(source, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(flags, id=name, marks=pytest.mark.slow if "gymnax" in name else pytest.mark.long)
        for name, flags in RUNS.items()
    ],
)
def test_a_run_from_a_file_is_killed_resumed_to_the_same_bits_and_looked_at(folder, flags):
    succeed(folder, "train", *flags, *SIZES, "--run-dir", "whole")
    process = command(folder, "train", *flags, *SIZES, "--run-dir", "killed", "--checkpoint-every", "1")
    wait_for(folder / "killed", 1, process)
    process.kill()
    end(process)
    assert 0 < max(saved(folder / "killed")) < UPDATES
    elsewhere = folder / "elsewhere"  # a resume does not depend on the current directory
    elsewhere.mkdir()
    assert "resumed at update" in succeed(elsewhere, "resume", folder / "killed")
    assert outcome(folder / "killed") == outcome(folder / "whole")

    out = succeed_all(
        elsewhere,
        ("evaluate", folder / "killed", "--episodes", "5"),
        ("plot", folder / "killed", "--output", "plot.png"),
        ("report", folder / "killed", "--output", "report.html"),
    )
    assert "5 greedy episodes: mean return" in out
    assert (elsewhere / "plot.png").stat().st_size > 10_000
    assert "Repeat this run" in (elsewhere / "report.html").read_text()


@pytest.mark.long
def test_a_file_that_has_changed_is_named_before_anything_is_loaded(folder):
    flags = ("--env", "reach.py:Reach", "--num-envs", "8", "--num-steps", "16", "--total-timesteps", "256")
    succeed(folder, "train", *flags, "--run-dir", "run")
    before = {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()}
    with (folder / "reach.py").open("a") as file:
        file.write("\nopen('executed', 'w').close()\n")
    for arguments in (("evaluate", "run"), ("resume", "run", "--total-timesteps", "512")):
        status, out = end(command(folder, *arguments))
        assert status == 2
        assert out.count("\n") == 1
        assert (
            "reach.py' has changed since the run was started; to allow it this once, give --trust-code" in out
        )
    assert not (folder / "executed").exists()
    assert {path: path.read_bytes() for path in (folder / "run").rglob("*") if path.is_file()} == before
    succeed(folder, "resume", "run", "--total-timesteps", "512", "--trust-code")
    assert (folder / "executed").exists()
    succeed(folder, "evaluate", "run")  # the run has gone on with the new file, and says so
