"""Sweeps that are killed again and again end with the bits of a sweep to which nothing happened."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import chex
import numpy as np
import pytest

from ppo_jax.host.runs import family, layout, members
from tests.support import variables
from tests.survival.processes import end

PROGRAM = (sys.executable, "-m", "tests.survival.processes")

ROOT = Path(__file__).parents[2]
POINTS = ("--learning-rate", "1e-3", "2e-3", "--gamma", "0.9", "0.99", "--seeds", "2", "--block-size", "4")
RANGES = ("--learning-rate", "log:1e-4..1e-2", "--gamma", "0.9..0.99")
SIZES = ("--num-envs", "4", "--num-steps", "16", "--num-epochs", "1", "--hidden-sizes", "8")
KINDS = {
    "all": POINTS,
    "halving": (*POINTS, "--rungs", "2", "--eta", "2"),
    "population": (*RANGES, "--population", "8", "--generations", "10"),
}


LONG_SWEEP = 1000  # updates, from which on it trains for longer than it compiles


def sweep(path, flags, updates):
    length = ("--total-timesteps", str(64 * updates), "--checkpoint-every", "10")
    arguments = ["sweep", *SIZES, *flags, *length, "--run-dir", str(path), "--resume"]
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=variables.computing_fast() if updates > LONG_SWEEP else variables.compiling_soon(),
    )


def saved(path):
    """What was saved so far."""
    return {file for folder in ("checkpoints", "blocks") for file in (path / folder).glob("0*")}


def kill_once(path, flags, updates, generator):
    """Kills a sweep at a random moment after it has saved something new; returns its exit status."""
    process, before = sweep(path, flags, updates), saved(path)
    while process.poll() is None and saved(path) <= before:
        time.sleep(0.01)
    time.sleep(generator.uniform(0.0, 0.5))
    process.kill()
    status, out = end(process)
    assert status in (-signal.SIGKILL, 0), out
    return status


def outcome(path):
    """The results, and the final states of all members."""
    opened = family.open_existing(path)
    asked = family.read(opened)
    plan = layout.blocks(asked, members.groups_of(asked))
    states = [members.load_block(opened, asked, block) for block in plan]  # None of early generations
    summary = json.loads((path / "summary.json").read_text())
    tables = [np.load(file)[0] for file in sorted(path.glob("metrics-*.npy"))]
    columns = [table[name] for table in tables for name in table.dtype.names if name != "seconds"]
    names = ("ranking", "winner_from_other_seeds", "winner", "evaluation_steps")
    return (asked.generations, [summary.get(name) for name in names]), (states, columns)


# Once in continuous integration, and there only of the plain kind.
ONCE = [pytest.param("all", 1, 100, marks=pytest.mark.long)]
OFTEN = [pytest.param(kind, 30, 2000, marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize(("kind", "times", "updates"), ONCE + OFTEN)
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_bits(tmp_path, kind, times, updates):
    flags = KINDS[kind]
    status, out = end(sweep(tmp_path / "whole", flags, updates))
    assert status == 0, out
    generator, kills = random.Random(0), 0
    while kills < times and kill_once(tmp_path / "killed", flags, updates, generator):
        kills += 1
    assert kills >= times / 2
    status, out = end(sweep(tmp_path / "killed", flags, updates))
    assert status == 0, out
    told, arrays = outcome(tmp_path / "killed")
    expected, expected_arrays = outcome(tmp_path / "whole")
    assert told == expected
    chex.assert_trees_all_equal(arrays, expected_arrays)
