"""Runs that are killed, stopped, and out of disk: a few of each, and many under `-m long` and `-m slow`."""

import itertools
import os
import random
import signal
import time

import pytest

from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.training import start
from tests.survival.processes import (
    EVERY_UPDATE,
    asked_for,
    assert_whole,
    end,
    outcome,
    saved,
    train,
    wait_for,
)

LONG, SLOW = pytest.mark.long, pytest.mark.slow
KILLS, UPDATES_A_KILL = 2, 40  # enough updates that even a fast machine does not get to the end before
ENDLESS = 50_000  # updates: as good as endless


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run to which nothing happened, in this process."""
    path = tmp_path_factory.mktemp("survival") / "whole"
    assert start.run(asked_for(KILLS * UPDATES_A_KILL), path, quiet=True) == 0
    return path


def kill_once(run, updates, generator):
    """Kills a run at a random moment after it has begun; returns whether it was saving."""
    before = max(saved(run), default=-1)
    process = train(run, updates, *EVERY_UPDATE)
    wait_for(run, before + 1, process)
    time.sleep(generator.uniform(0.0, 0.3))
    seen = max(saved(run), default=-1)
    process.kill()
    status, out = end(process)
    assert status in (-signal.SIGKILL, 0), out
    assert_whole(run)
    assert max(saved(run), default=-1) >= seen  # no checkpoint that was there is lost
    return (run / "checkpoints" / directories.SAVING).exists()


@pytest.mark.parametrize("times", [pytest.param(KILLS, marks=LONG), pytest.param(200, marks=SLOW)])
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_bits(whole, tmp_path, times):
    generator = random.Random(0)
    run, updates, kills, kills_in_a_save = tmp_path / "killed", times * UPDATES_A_KILL, 0, 0
    while kills < times and max(saved(run), default=0) < updates:
        kills_in_a_save += kill_once(run, updates, generator)
        kills += 1
    assert kills == times
    assert kills_in_a_save >= times / 2 or times < 10
    status, out = end(train(run, updates))
    assert status == 0, out
    if times != KILLS:
        whole = tmp_path / "whole"
        assert start.run(asked_for(updates), whole, quiet=True) == 0
    assert outcome(run) == outcome(whole)
    print(f"{kills} kills, {kills_in_a_save} of them in a save")


STAGES = {
    "loading": ("loading JAX", 0.3),
    "compiling": ("compiling ...", 0.2),
    "training": ("compiled in", 1.0),
    "evaluating": ("evaluating", 0.05),
}


def stop(process, number, word, delay):
    """Sends a signal some time after the process has printed a word; returns status and output."""
    printed = []
    for line in process.stdout:
        printed.append(line)
        if word in line:
            break
    time.sleep(delay)
    process.send_signal(number)
    status, rest = end(process)
    return status, "".join(printed) + rest


SIGNALS = {
    (stage, number): LONG if index == 5 else SLOW  # SIGTERM while it trains
    for index, (stage, number) in enumerate(itertools.product(STAGES, (signal.SIGINT, signal.SIGTERM)))
}


@pytest.mark.parametrize(
    ("stage", "number"), [pytest.param(*one, marks=mark) for one, mark in SIGNALS.items()]
)
def test_a_signal_at_any_stage_saves_says_how_to_continue_and_has_its_status(tmp_path, stage, number):
    run = tmp_path / "run"
    process = train(run, 40 if stage == "evaluating" else ENDLESS)
    status, out = stop(process, number, *STAGES[stage])
    assert status == 128 + number, out
    assert (f"ppo-jax resume {run}" in out) == (stage != "evaluating")  # where nothing is left to do
    assert len(saved(run)) >= 1
    assert_whole(run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_a_signal_at_any_moment_saves(tmp_path, seed):
    generator = random.Random(seed)
    run, number = tmp_path / "run", generator.choice([signal.SIGINT, signal.SIGTERM])
    word, most = generator.choice([("loading", 6.0), ("compiled in", 3.0), ("compiling", 2.0)])
    process = train(run, ENDLESS, *EVERY_UPDATE)
    status, out = stop(process, number, word, generator.uniform(0.0, most))
    assert status == 128 + number, out
    assert len(saved(run)) >= 1
    assert_whole(run)


@pytest.mark.long
def test_a_second_interrupt_stops_at_once_and_leaves_the_checkpoints_whole(tmp_path):
    run = tmp_path / "run"
    process = train(run, ENDLESS, *EVERY_UPDATE)
    wait_for(run, 3, process)
    process.send_signal(signal.SIGINT)
    status, out = stop(process, signal.SIGINT, "stopping: saving first", 0.0)
    assert status == 130, out
    assert "stopped at once" in out
    assert "to continue" not in out
    assert_whole(run)
    assert max(saved(run)) >= 3


LIMITS = {2: LONG}  # on the size of a file, in KiB
LIMITS |= {kib: SLOW for kib in range(1, 31) if kib not in LIMITS}


@pytest.mark.parametrize("kib", [pytest.param(kib, marks=mark) for kib, mark in LIMITS.items()])
def test_a_full_disk_is_an_error_that_leaves_what_is_there(tmp_path, kib):
    """Metrics of 100 updates take more than the largest limit; the smallest let no array be written."""
    run = tmp_path / "run"
    assert start.run(asked_for(5), run, quiet=True) == 0
    status, out = end(train(run, 100, *EVERY_UPDATE, limit=f"ulimit -f {kib}"))
    assert status == 1, out
    assert f"cannot write to '{run}" in out
    # Threads of the storage may complain of a loop that is closed by then; nothing of ours does.
    assert not [line for line in out.splitlines() if line.startswith("  File") and "ppo_jax" in line]
    assert_whole(run)
    assert max(saved(run)) >= 5
    assert start.run(asked_for(100), run, resume=True, quiet=True) == 0


@pytest.mark.long
def test_a_pipe_that_closes_at_the_same_signal_does_not_lose_the_run(tmp_path):
    """As with `ppo-jax train 2>&1 | tee log`, where Ctrl-C ends both."""
    run = tmp_path / "run"
    process = train(run, ENDLESS, *EVERY_UPDATE)
    wait_for(run, 3, process)
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert_whole(run)
    assert (run / "summary.json").exists()


@pytest.mark.long
def test_a_run_that_is_in_use_is_left_alone(tmp_path):
    run = tmp_path / "run"
    process = train(run, ENDLESS)
    while not run.exists() or not os.listdir(run):
        time.sleep(0.01)
    status, out = end(train(run, ENDLESS))
    process.kill()
    end(process)
    assert status == 2
    assert "another process trains there" in out
