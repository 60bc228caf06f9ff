"""Trainings that are killed, stopped, and run out of disk: short here, long under `-m slow`."""

import os
import random
import signal
import time

import pytest

from ppo_jax.host.runs.checkpoints import directories
from tests.survival.processes import EVERY_UPDATE, assert_whole, end, outcome, saved, train, wait_for

UPDATES = 40


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a cache of compiled programs, and a training that nothing happened to."""
    path = tmp_path_factory.mktemp("survival")
    status, out = end(train(path / "whole", UPDATES, path / "cache"))
    assert status == 0, out
    return path


def kill_once(run, updates, cache, generator):
    """Kills a training at a random moment after it has begun; returns whether it was saving."""
    before = max(saved(run), default=-1)
    process = train(run, updates, cache, *EVERY_UPDATE)
    wait_for(run, before + 1, process)
    time.sleep(generator.uniform(0.0, 0.3))
    seen = max(saved(run), default=-1)
    process.kill()
    status, out = end(process)
    assert status in (-signal.SIGKILL, 0), out
    assert_whole(run)
    assert max(saved(run), default=-1) >= seen  # no checkpoint that was there is lost
    return (run / "checkpoints" / directories.SAVING).exists()


@pytest.mark.parametrize("times", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_a_training_that_is_killed_again_and_again_ends_with_the_same_bits(place, times):
    generator = random.Random(0)
    run, updates, kills, kills_in_a_save = place / f"killed{times}", 40 * times, 0, 0
    while kills < times and max(saved(run), default=0) < updates:
        kills_in_a_save += kill_once(run, updates, place / "cache", generator)
        kills += 1
    assert kills == times
    assert kills_in_a_save >= times / 2 or times < 10
    status, out = end(train(run, updates, place / "cache"))
    assert status == 0, out
    whole = place / f"whole{times}"
    assert end(train(whole, updates, place / "cache"))[0] == 0
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


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_stage_saves_says_how_to_go_on_and_has_its_status(place, tmp_path, stage, number):
    run = tmp_path / "run"
    updates = UPDATES if stage == "evaluating" else 50_000
    process = train(run, updates, place / "cache")
    status, out = stop(process, number, *STAGES[stage])
    assert status == 128 + number, out
    assert (f"ppo-jax resume {run}" in out) == (stage != "evaluating")  # where nothing is left to do
    assert len(saved(run)) >= 1
    assert_whole(run)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(50))
def test_a_signal_at_any_moment_saves(place, tmp_path, seed):
    generator = random.Random(seed)
    run, number = tmp_path / "run", generator.choice([signal.SIGINT, signal.SIGTERM])
    word, most = generator.choice([("loading", 6.0), ("compiled in", 3.0), ("compiling", 2.0)])
    process = train(run, 50_000, place / "cache", *EVERY_UPDATE)
    status, out = stop(process, number, word, generator.uniform(0.0, most))
    assert status == 128 + number, out
    assert len(saved(run)) >= 1
    assert_whole(run)


def test_a_second_interrupt_stops_at_once_and_leaves_the_checkpoints_whole(place, tmp_path):
    run = tmp_path / "run"
    process = train(run, 50_000, place / "cache", *EVERY_UPDATE)
    wait_for(run, 3, process)
    process.send_signal(signal.SIGINT)
    status, out = stop(process, signal.SIGINT, "stopping: saving first", 0.0)
    assert status == 130, out
    assert "stopped at once" in out
    assert "to go on" not in out
    assert_whole(run)
    assert max(saved(run)) >= 3


SOME_LIMITS, ALL_LIMITS = (1, 2), range(1, 31)  # on the size of a file, in KiB


@pytest.mark.parametrize("limits", [SOME_LIMITS, pytest.param(ALL_LIMITS, marks=pytest.mark.slow)])
def test_a_full_disk_is_an_error_that_leaves_what_is_there(place, tmp_path, limits):
    """Metrics of 100 updates take twice the largest limit; the smallest let no array be written."""
    for kib in limits:
        run = tmp_path / f"run{kib}"
        assert end(train(run, 5, place / "cache"))[0] == 0
        status, out = end(train(run, 100, place / "cache", *EVERY_UPDATE, limit=f"ulimit -f {kib}"))
        assert status == 1, out
        assert f"cannot write to '{run}" in out
        # Threads of the storage may complain of a loop that is closed by then; nothing of ours does.
        assert not [line for line in out.splitlines() if line.startswith("  File") and "ppo_jax" in line]
        assert_whole(run)
        assert max(saved(run)) >= 5
        assert end(train(run, 100, place / "cache"))[0] == 0


def test_a_log_that_goes_away_at_the_same_signal_does_not_lose_the_run(place, tmp_path):
    """As with `ppo-jax train 2>&1 | tee log`, where Ctrl-C ends both."""
    run = tmp_path / "run"
    process = train(run, 50_000, place / "cache", *EVERY_UPDATE)
    wait_for(run, 3, process)
    process.stdout.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=300) == 130
    assert_whole(run)
    assert (run / "summary.json").exists()


def test_a_run_that_is_in_use_is_left_alone(place, tmp_path):
    run = tmp_path / "run"
    process = train(run, 50_000, place / "cache")
    wait_for(run, -1, process)
    while not run.exists() or not os.listdir(run):
        time.sleep(0.01)
    status, out = end(train(run, 50_000, place / "cache"))
    process.kill()
    end(process)
    assert status == 2
    assert "another process trains there" in out
