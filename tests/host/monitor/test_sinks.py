import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import types
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ppo_jax
from ppo_jax.host.monitor import sinks
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory

CONFIG = ppo_jax.Config(num_envs=4, num_steps=8, num_minibatches=2, total_timesteps=320)
ASKED = request.Request(None, CONFIG, ppo_jax.Hyperparams(), 7)
TRAINING = """
import json, signal, sys
from pathlib import Path
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.monitor import sinks
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request

def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

before, name, path, resumed_from = handlers(), sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
asked = Request(None, Config(num_envs=4, num_steps=8), Hyperparams(), 7)
out = sinks.open_sinks([name], RunDirectory(path), asked, resumed_from, print)
for update in range((resumed_from or 0) + 1, (resumed_from or 0) + 3):
    record = {"update": update, "env_steps": 32 * update, "entropy": 0.625 / update, "episode_return": None}
    out.write(record, "train")
out.close()
assert handlers() == before
"""


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def _write(run, names, updates, resumed_from=None, scale=1.0):
    said = []
    out = sinks.open_sinks(names, run, ASKED, resumed_from, said.append)
    for update in updates:
        out.write({"update": update, "env_steps": 32 * update, "entropy": scale * update}, "train")
    out.close()
    return said


# What is handed on


class Recorder:
    view = "nowhere"

    def __init__(self, opening):
        self.opening, self.written, self.closed = opening, [], 0

    def write(self, step, values):
        self.written.append((step, values))

    def close(self):
        self.closed += 1


@pytest.fixture
def recorders(monkeypatch):
    """Takes the place of TensorBoard and trackio; every sink that was opened, in order."""
    opened = []

    def make(opening):
        opened.append(Recorder(opening))
        return opened[-1]

    monkeypatch.setitem(sinks._KINDS, "tensorboard", make)
    monkeypatch.setitem(sinks._KINDS, "trackio", make)
    return opened


def test_metrics_are_filed_by_group_and_steps_without_those_that_are_not_numbers(run, recorders):
    out = sinks.open_sinks(["tensorboard"], run, ASKED, None, print)
    nan, inf = float("nan"), float("inf")
    out.write({"env_steps": 640, "update": 5, "a": None, "b": nan, "c": -inf, "d": 0.0}, "evaluate")
    assert recorders[0].written == [(640, {"evaluate/update": 5, "evaluate/d": 0.0})]


def test_a_sink_is_told_what_the_run_does_and_where_it_goes_on(run, recorders):
    sinks.open_sinks(["tensorboard"], run, ASKED, None, print)
    sinks.open_sinks(["tensorboard"], run, ASKED, 3, print)
    fresh, resumed = (recorder.opening for recorder in recorders)
    assert fresh == (run, request.as_json(ASKED), None)
    assert resumed.resumed_step == 3 * 32


def test_a_sink_named_twice_is_opened_once(run, recorders):
    sinks.open_sinks(["trackio", "tensorboard", "trackio"], run, ASKED, None, print)
    assert len(recorders) == 2


class Broken(Recorder):
    def __init__(self, opening, at):
        super().__init__(opening)
        self.at = at
        self._break("open")

    def write(self, step, values):
        self._break("write")

    def close(self):
        self._break("close")

    def _break(self, where):
        if where == self.at:
            raise OSError(f"cannot {where}")


@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_a_sink_that_fails_says_so_once_and_the_others_go_on(run, recorders, monkeypatch, at):
    monkeypatch.setitem(sinks._KINDS, "wandb", lambda opening: Broken(opening, at))
    said = _write(run, ["wandb", "trackio"], range(1, 6))
    failures = [line for line in said if "failed" in line]
    assert failures == [f"wandb failed and is left out from here on: OSError: cannot {at}"]
    assert [step for step, _ in recorders[0].written] == [32, 64, 96, 128, 160]
    assert recorders[0].closed == 1


def test_a_sink_that_can_neither_write_nor_close_fails_once(run, monkeypatch):
    class Hopeless(Recorder):
        def write(self, step, values):
            raise OSError("cannot write")

        close = write

    monkeypatch.setitem(sinks._KINDS, "wandb", Hopeless)
    assert len(_write(run, ["wandb"], range(1, 4))) == 2  # the other line says how to look at it


# What is installed


def test_packages_that_are_missing_are_named_with_what_to_install(monkeypatch):
    monkeypatch.setattr(
        sinks, "MODULES", {"tensorboard": "no_such_x", "wandb": "json", "trackio": "no_such_y"}
    )
    with pytest.raises(ppo_jax.UsageError) as error:
        sinks.check(["trackio", "wandb", "tensorboard", "trackio"])
    assert error.value.problems == (
        "log_to = trackio tensorboard needs packages that are not installed; "
        "install them: pip install 'ppo-jax[trackio,tensorboard]'",
    )


def test_the_folder_that_a_sink_leaves_behind_is_not_taken_for_its_package(tmp_path, monkeypatch):
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sinks.MODULES, "wandb", "left_behind")
    with pytest.raises(ppo_jax.UsageError, match=r"ppo-jax\[wandb\]"):
        sinks.check(["wandb"])


def test_checking_imports_neither_the_packages_nor_jax():
    program = (
        "import sys; from ppo_jax.host.monitor import sinks; sinks.check(['tensorboard', 'wandb'])\n"
        "print(*{'jax', 'wandb', 'tensorboardX', 'trackio'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.stderr) == ("", "")


# TensorBoard


def _read_events(run):
    return EventAccumulator(str(run.path)).Reload()


def test_tensorboard_shows_what_was_written(run):
    said = _write(run, ["tensorboard"], range(1, 4), scale=0.1)
    assert said == [f"tensorboard: tensorboard --logdir {run.path}"]
    events = _read_events(run)
    assert sorted(events.Tags()["scalars"]) == ["train/entropy", "train/update"]
    scalars = events.Scalars("train/entropy")
    assert [scalar.step for scalar in scalars] == [32, 64, 96]
    assert [scalar.value for scalar in scalars] == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)  # float32


def test_tensorboard_shows_what_the_run_does(run):
    _write(run, ["tensorboard"], [])
    text = _read_events(run).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert json.loads(text.strip("`")) == json.loads(json.dumps(request.as_json(ASKED)))


def test_tensorboard_forgets_what_a_resumed_run_repeats(run):
    _write(run, ["tensorboard"], range(1, 6))
    _write(run, ["tensorboard"], range(3, 5), resumed_from=2, scale=10)
    scalars = _read_events(run).Scalars("train/entropy")
    assert [(scalar.step, scalar.value) for scalar in scalars] == [(32, 1), (64, 2), (96, 30), (128, 40)]


def test_what_is_written_can_be_read_while_the_run_goes_on(run, monkeypatch):
    monkeypatch.setattr(sinks, "FLUSH_SECONDS", 0.0)
    out = sinks.open_sinks(["tensorboard"], run, ASKED, None, print)
    for update in (1, 2):
        out.write({"env_steps": 32 * update, "entropy": 1.0}, "train")
        assert len(_read_events(run).Scalars("train/entropy")) == update
    out.close()


def test_a_full_disk_neither_stops_nor_holds_up_the_training(run, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, where every disk is full")
    from tensorboardX import record_writer

    monkeypatch.setattr(record_writer, "open_file", lambda path: open("/dev/full", "wb"))  # noqa: SIM115
    said = _write(run, ["tensorboard"], range(1, 100))
    assert [line.split(":")[1] for line in said[1:]] == [" OSError"]


# Weights & Biases, offline, and trackio, each in a process of its own: both leave threads behind


def _train(name, run, resumed_from, **environment):
    outside = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    command = [sys.executable, "-c", TRAINING, name, str(run.path), json.dumps(resumed_from)]
    return subprocess.run(
        command, env=outside | environment, capture_output=True, text=True, timeout=60, check=True
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A run directory, what was printed by a training and its continuation, and who asked for a proxy."""
    run = RunDirectory(tmp_path_factory.mktemp("offline"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        network = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": ""}
        results = [_train("wandb", run, update, WANDB_MODE="offline", **network) for update in (None, 2)]
        with pytest.raises(BlockingIOError):  # or else somebody came
            server.accept()
    return run, results


def _runs(run):
    return sorted((run.path / "wandb").glob("offline-run-*"))


def test_wandb_keeps_an_offline_run_in_the_run_directory(offline):
    run, _ = offline
    content = next(_runs(run)[0].glob("*.wandb")).read_bytes()
    logged = re.findall(rb"train/entropy\W+?([\d.]+)", content)
    assert set(map(float, logged)) == {0.625, 0.3125}
    assert b"episode_return" not in content
    assert b"total_timesteps" in content


def test_a_resumed_wandb_run_is_the_same_run(offline):
    run, _ = offline
    names = [path.name.rpartition("-")[2] for path in _runs(run)]
    assert len(names) == 2
    assert names[0] == names[1]


def test_wandb_says_one_line_and_nothing_else(offline):
    run, results = offline
    for result in results:
        assert result.stderr == ""
        assert result.stdout == f"wandb: wandb sync {run.path}/wandb/offline-run-*\n"


def test_wandb_without_a_login_fails_without_asking(run):
    result = _train("wandb", run, None, WANDB_MODE="online", NETRC="/dev/null", HOME=str(run.path))
    assert result.stdout.startswith("wandb failed and is left out from here on: UsageError")
    assert len(result.stdout.splitlines()) == 1


def test_trackio_is_given_steps_and_goes_on_with_a_resumed_run(run, monkeypatch, capsys):
    calls = []
    stub = types.SimpleNamespace(
        init=lambda **given: print("chatter") or calls.append(given),
        log=lambda values, step: calls.append((step, values)),
        finish=lambda: print("chatter") or calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, "trackio", stub)
    for resumed_from in (None, 1):
        assert _write(run, ["trackio"], [2], resumed_from) == ["trackio: trackio show --project ppo-jax"]
    first, logged, finished, second = calls[:4]
    assert (logged, finished) == ((64, {"train/update": 2, "train/entropy": 2.0}), "finish")
    assert first == second
    assert first["config"] == request.as_json(ASKED)
    assert first["resume"] == "allow"
    assert capsys.readouterr().out == ""


def test_trackio_goes_to_another_run_for_another_directory(tmp_path, monkeypatch):
    names = []
    stub = types.SimpleNamespace(init=lambda **given: names.append(given["name"]), finish=lambda: None)
    monkeypatch.setitem(sys.modules, "trackio", stub)
    for parent in ("a", "b"):
        (tmp_path / parent / "seed0").mkdir(parents=True)
        _write(RunDirectory(tmp_path / parent / "seed0"), ["trackio"], [])
    assert names[0] != names[1]


def test_trackio_keeps_a_run_in_its_database(run):
    pytest.importorskip("trackio")
    for resumed_from in (None, 2):
        result = _train("trackio", run, resumed_from, TRACKIO_DIR=str(run.path / "database"))
        assert result.stdout == "trackio: trackio show --project ppo-jax\n"
    with sqlite3.connect(run.path / "database" / "ppo-jax.db") as database:
        rows = database.execute(
            "select distinct run_name, step, metrics from metrics order by step"
        ).fetchall()
    assert [step for _, step, _ in rows] == [32, 64, 96, 128]
    assert [json.loads(metrics)["train/entropy"] for *_, metrics in rows][:2] == [0.625, 0.3125]
    assert len({name for name, *_ in rows}) == 1
