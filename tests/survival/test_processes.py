"""Runs that several processes train together: they lose one, are stopped, and others go on with them."""

import json
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.support import variables
from tests.survival.processes import assert_whole, end, saved, wait_for

ROOT = Path(__file__).parents[2]
SIZES = ("--num-envs", "16", "--num-steps", "8", "--hidden-sizes", "8", "--num-epochs", "1")
OTHERS = ("--num-minibatches", "1", "--shuffle-groups", "8", "--checkpoint-every", "20", "--keep", "100")
UPDATES = 400
LENGTH = ("--total-timesteps", str(128 * UPDATES))
SIGNAL_STATUS = 128 + signal.SIGTERM


def environment():
    """The variables of a process whose compilations all share, with one device unless it asks for others."""
    return {**variables.compiling_soon(devices=None), "JAX_PLATFORMS": "cpu", "PYTHONUNBUFFERED": "1"}


def start(run, *flags):
    command = [
        sys.executable,
        "-m",
        "ppo_jax",
        "train",
        *SIZES,
        *OTHERS,
        *LENGTH,
        "--run-dir",
        str(run),
        "--resume",
    ]
    return subprocess.Popen(
        [*command, *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )


def start_together(run, number):
    """Starts so many processes, the leader first."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    meeting = ("--distributed", "--coordinator", address, "--num-processes", str(number))
    return [start(run, *meeting, "--process-id", str(i)) for i in range(number)]


def finish(run, number=1, devices=1):
    """Trains a run to its end, with so many processes or devices."""
    processes = start_together(run, number) if number > 1 else [start(run, "--devices", str(devices))]
    ended = [end(process) for process in processes]
    assert [status for status, _ in ended] == [0] * number, ended
    return outcome(run)


def outcome(run):
    """The metrics without times, and the parameters of the policy."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["update"] for line in lines] == list(range(1, UPDATES + 1))
    return lines, load_file(run / "policy.safetensors")


def assert_agree(found, expected):
    """Compares two outcomes up to rounding, whose effect grows with each update."""
    for mine, other in zip(found[0][:20], expected[0][:20], strict=True):
        np.testing.assert_allclose(mine["policy_loss"], other["policy_loss"], atol=1e-5)
        assert mine["episodes"] == other["episodes"]
    assert found[1].keys() == expected[1].keys()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return finish(tmp_path_factory.mktemp("undisturbed") / "run")


@pytest.mark.long
def test_two_processes_train_what_one_does(undisturbed, tmp_path):
    run = tmp_path / "run"
    assert_agree(finish(run, number=2), undisturbed)
    assert_whole(run)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1], ids=["leader", "follower"])
def test_if_one_is_lost_the_other_ends_with_an_error_and_the_run_goes_on(lost, undisturbed, tmp_path):
    run = tmp_path / "run"
    processes = start_together(run, 2)
    wait_for(run, 40, processes[0])
    before = saved(run)
    processes[lost].kill()
    began = time.perf_counter()
    status, out = end(processes[1 - lost])
    end(processes[lost])
    assert status not in (0, None), out
    assert time.perf_counter() - began < 60
    assert "another process of the run" in out
    assert "start all processes again with --resume" in out
    assert set(before) <= set(saved(run))
    assert_agree(finish(run), undisturbed)


@pytest.mark.long
def test_a_signal_to_one_stops_both_at_the_same_update_and_eight_devices_go_on(undisturbed, tmp_path):
    run = tmp_path / "run"
    processes = start_together(run, 2)
    wait_for(run, 20, processes[0])
    processes[1].send_signal(signal.SIGTERM)
    ended = [end(process) for process in processes]
    assert [status for status, _ in ended] == [SIGNAL_STATUS] * 2, ended
    stopped = max(saved(run))
    assert json.loads((run / "summary.json").read_text())["updates"] == stopped < UPDATES
    assert_agree(finish(run, devices=8), undisturbed)


@pytest.mark.long
def test_without_its_peers_a_process_ends_with_an_error(tmp_path):
    """The time that it waits is shorter here."""
    code = (
        "from ppo_jax.host.programs import crew; crew.JOIN_SECONDS = 3; from ppo_jax.cli import main; main()"
    )
    meeting = ("--distributed", "--coordinator", "127.0.0.1:9", "--num-processes", "2", "--process-id", "1")
    process = subprocess.Popen(
        [sys.executable, "-c", code, "train", "--run-dir", str(tmp_path / "run"), *meeting],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment(),
    )
    status, out = end(process)
    assert status != 0
    assert "another process of the run has ended or cannot be reached" in out
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--num-processes", "2"), "need --distributed; add it"),
        (("--distributed", "--process-id", "0"), "together, or none of them"),
        (("--distributed",), "the processes of the run cannot meet: coordinator_address should be defined"),
        (("--devices", "0"), "devices = 0 is not at least 1"),
        (("--devices", "3"), "devices = 3 does not divide the 8 shuffle groups of the run; give --devices 2"),
        (("--devices", "3", "--shuffle-groups", "1"), "cannot be divided among 3 devices; give --devices 2"),
        (
            ("--shuffle-groups", "3"),
            "num_envs = 16 is not divisible by shuffle_groups = 3; 2 and 4 divide it",
        ),
    ],
)
def test_flags_that_do_not_fit_are_refused_with_the_fix(flags, message, tmp_path):
    status, out = end(start(tmp_path / "run", *flags))
    assert status == 2, out
    assert message in out
    assert "Traceback" not in out
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(40))
def test_whatever_happens_to_one_of_several_nothing_that_was_saved_is_lost(trial, undisturbed, tmp_path):
    """Killed or stopped at a random moment, then resumed by 1, 2 or 4 processes, or on 1 or 8 devices."""
    generator = random.Random(trial)
    run, number = tmp_path / "run", (2, 4)[trial % 2]
    processes = start_together(run, number)
    wait_for(run, 20 * generator.randrange(1, 10), processes[0])
    time.sleep(generator.uniform(0.0, 0.3))
    before = saved(run)
    sent = generator.choice((signal.SIGKILL, signal.SIGTERM))
    generator.choice(processes).send_signal(sent)
    began = time.perf_counter()
    for process in processes:
        end(process)
    assert time.perf_counter() - began < 60
    assert set(before) <= set(saved(run))
    assert_whole(run)
    how = generator.choice(({"number": 1}, {"number": 2}, {"number": 4}, {"devices": 1}, {"devices": 8}))
    assert_agree(finish(run, **how), undisturbed)
