import functools
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
from ppo_jax.host.monitor.sinks import tensorboard
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start

CONFIG = ppo_jax.Config(num_envs=4, num_steps=8, num_minibatches=2, total_timesteps=320)
WRITING = """
import json, signal, sys
from pathlib import Path
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.monitor import sinks
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request

def handlers():
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

before, name, path, resumed_step = handlers(), sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
config = Config(num_envs=4, num_steps=8)
asked = Request(None, config, Hyperparams(), 7, RunOptions(log_to=(name,)))
out = sinks.open_sinks(asked, RunDirectory(path), resumed_step, print)
for step in ((resumed_step or 0) + 32, (resumed_step or 0) + 64):
    out.write({"env_steps": step, "entropy": 20 / step, "episode_return": None}, "train")
out.close()
assert handlers() == before
"""


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


def ask(*names):
    return Request(None, CONFIG, ppo_jax.Hyperparams(), 7, RunOptions(log_to=names))


def write(run, names, updates, resumed_step=None, scale=1.0):
    """Opens sinks, writes the records of some updates, and returns what was said to the user."""
    said = []
    out = sinks.open_sinks(ask(*names), run, resumed_step, said.append)
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


def stand_in(monkeypatch, name, make):
    """Puts a sink of this module into the table, under a name that may be there already."""
    monkeypatch.setattr(sys.modules[__name__], f"make_{name}", make, raising=False)
    monkeypatch.setitem(sinks.SINKS, name, sinks.Row("json", f"{__name__}:make_{name}"))


@pytest.fixture
def recorders(monkeypatch):
    """Takes the place of TensorBoard and trackio; every sink that was opened, in order."""
    opened = []

    def make(opening):
        opened.append(Recorder(opening))
        return opened[-1]

    stand_in(monkeypatch, "tensorboard", make)
    stand_in(monkeypatch, "trackio", make)
    return opened


def test_a_sink_takes_one_file_and_one_row(run, monkeypatch):
    """This file and this row; a real run writes to the sink."""
    opened = []

    def make(opening):
        opened.append(Recorder(opening))
        return opened[-1]

    stand_in(monkeypatch, "memory", make)
    config = ppo_jax.Config(num_envs=2, num_steps=8, num_minibatches=2, total_timesteps=32, hidden_sizes=(4,))
    asked = Request(None, config, ppo_jax.Hyperparams(), 0, RunOptions(log_to=("memory",)))
    assert start.run(asked, run.path, quiet=True) == 0
    (sink,) = opened
    assert sink.opening == (run, request.to_json(asked), None)
    assert sink.closed == 1
    assert {step for step, _ in sink.written} == {16, 32}
    values = {name: value for _, written in sink.written for name, value in written.items()}
    assert 0 < values["train/entropy"] <= 0.7
    assert values["train/update"] == 2


def test_metrics_are_filed_by_group_and_steps_without_those_that_are_not_finite(run, recorders):
    out = sinks.open_sinks(ask("tensorboard"), run, None, print)
    nan, inf = float("nan"), float("inf")
    out.write({"env_steps": 640, "update": 5, "a": None, "b": nan, "c": -inf, "d": 0.0}, "evaluate")
    assert recorders[0].written == [(640, {"evaluate/update": 5, "evaluate/d": 0.0})]


def test_a_sink_is_told_the_request_and_where_a_resumed_run_continues(run, recorders):
    sinks.open_sinks(ask("tensorboard"), run, None, print)
    sinks.open_sinks(ask("tensorboard"), run, 96, print)
    fresh, resumed = (recorder.opening for recorder in recorders)
    assert fresh == (run, request.to_json(ask("tensorboard")), None)
    assert resumed.resumed_step == 96


def test_a_sink_named_twice_is_opened_once(run, recorders):
    sinks.open_sinks(ask("trackio", "tensorboard", "trackio"), run, None, print)
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
def test_a_sink_that_fails_says_so_once_and_the_others_continue(run, recorders, monkeypatch, at):
    stand_in(monkeypatch, "wandb", functools.partial(Broken, at=at))
    said = write(run, ["wandb", "trackio"], range(1, 6))
    failures = [line for line in said if "failed" in line]
    assert failures == [f"wandb failed and is left out from here on: OSError: cannot {at}"]
    assert [step for step, _ in recorders[0].written] == [32, 64, 96, 128, 160]
    assert recorders[0].closed == 1


def test_a_sink_that_can_neither_write_nor_close_fails_once(run, monkeypatch):
    class Hopeless(Recorder):
        def write(self, step, values):
            raise OSError("cannot write")

        close = write

    stand_in(monkeypatch, "wandb", Hopeless)
    assert len(write(run, ["wandb"], range(1, 4))) == 2  # the other line says how to look at it


# What is installed


def test_packages_that_are_missing_are_named_with_what_to_install(monkeypatch):
    for name, module in {"tensorboard": "no_such_x", "wandb": "json", "trackio": "no_such_y"}.items():
        monkeypatch.setitem(sinks.SINKS, name, sinks.SINKS[name]._replace(module=module))
    with pytest.raises(ppo_jax.UsageError) as error:
        sinks.check(["trackio", "wandb", "tensorboard", "trackio"])
    assert error.value.problems == (
        "log_to = trackio tensorboard needs packages that are not installed; "
        "install them: pip install 'ppo-jax[trackio,tensorboard]'",
    )


def test_the_folder_that_a_sink_leaves_behind_is_not_taken_for_its_package(tmp_path, monkeypatch):
    (tmp_path / "left_behind").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sinks.SINKS, "wandb", sinks.SINKS["wandb"]._replace(module="left_behind"))
    with pytest.raises(ppo_jax.UsageError, match=r"ppo-jax\[wandb\]"):
        sinks.check(["wandb"])


def test_a_sink_that_is_not_in_the_table_is_unknown():
    with pytest.raises(ppo_jax.UsageError, match="log_to = syslog is unknown; choose from tensorboard, "):
        sinks.check(["wandb", "syslog"])


def test_a_sink_whose_module_cannot_be_imported_is_left_out(run, monkeypatch):
    monkeypatch.setitem(sinks.SINKS, "wandb", sinks.Row("json", "no_such_module:Sink"))
    (line,) = write(run, ["wandb"], [1])
    assert line.startswith("wandb failed and is left out from here on: ModuleNotFoundError")


def test_checking_imports_neither_the_packages_nor_jax():
    program = (
        "import sys; from ppo_jax.host.monitor import sinks; sinks.check(['tensorboard', 'wandb'])\n"
        "print(*{'jax', 'wandb', 'tensorboardX', 'trackio'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.stdout.strip(), result.stderr) == ("", "")


# TensorBoard


def read_events(run):
    return EventAccumulator(str(run.path)).Reload()


def test_tensorboard_shows_what_was_written(run):
    said = write(run, ["tensorboard"], range(1, 4), scale=0.1)
    assert said == [f"tensorboard: tensorboard --logdir {run.path}"]
    events = read_events(run)
    assert sorted(events.Tags()["scalars"]) == ["train/entropy", "train/update"]
    scalars = events.Scalars("train/entropy")
    assert [scalar.step for scalar in scalars] == [32, 64, 96]
    assert [scalar.value for scalar in scalars] == pytest.approx([0.1, 0.2, 0.3], rel=1e-6)  # float32


def test_tensorboard_shows_what_the_run_does(run):
    write(run, ["tensorboard"], [])
    text = read_events(run).Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    asked = request.to_json(ask("tensorboard"))
    assert json.loads(text.strip("`")) == json.loads(json.dumps(asked))


def test_tensorboard_forgets_what_a_resumed_run_repeats(run):
    write(run, ["tensorboard"], range(1, 6))
    write(run, ["tensorboard"], range(3, 5), resumed_step=64, scale=10)
    scalars = read_events(run).Scalars("train/entropy")
    assert [(scalar.step, scalar.value) for scalar in scalars] == [(32, 1), (64, 2), (96, 30), (128, 40)]


def test_what_is_written_can_be_read_while_the_run_continues(run, monkeypatch):
    monkeypatch.setattr(tensorboard, "FLUSH_SECONDS", 0.0)
    out = sinks.open_sinks(ask("tensorboard"), run, None, print)
    for update in (1, 2):
        out.write({"env_steps": 32 * update, "entropy": 1.0}, "train")
        assert len(read_events(run).Scalars("train/entropy")) == update
    out.close()


def test_a_full_disk_neither_stops_nor_delays_the_run(run, monkeypatch):
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full, where every disk is full")
    from tensorboardX import record_writer

    monkeypatch.setattr(record_writer, "open_file", lambda path: open("/dev/full", "wb"))  # noqa: SIM115
    said = write(run, ["tensorboard"], range(1, 100))
    assert [line.split(":")[1] for line in said[1:]] == [" OSError"]


# Weights & Biases, offline, and trackio: each writes in another process, because both leave threads behind


def write_elsewhere(name, run, resumed_step, **environment):
    outside = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}
    command = [sys.executable, "-c", WRITING, name, str(run.path), json.dumps(resumed_step)]
    return subprocess.run(
        command, env=outside | environment, capture_output=True, text=True, timeout=60, check=True
    )


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A run directory, and what was printed when a run wrote to it and when it was resumed, all offline."""
    run = RunDirectory(tmp_path_factory.mktemp("offline"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        proxy = f"http://127.0.0.1:{server.getsockname()[1]}"
        network = {"HTTPS_PROXY": proxy, "HTTP_PROXY": proxy, "NO_PROXY": ""}
        results = [
            write_elsewhere("wandb", run, step, WANDB_MODE="offline", **network) for step in (None, 64)
        ]
        with pytest.raises(BlockingIOError):  # nobody asked for the proxy
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
    result = write_elsewhere("wandb", run, None, WANDB_MODE="online", NETRC="/dev/null", HOME=str(run.path))
    assert result.stdout.startswith("wandb failed and is left out from here on: UsageError")
    assert len(result.stdout.splitlines()) == 1


def test_trackio_is_given_steps_and_continues_a_resumed_run(run, monkeypatch, capsys):
    calls = []
    stub = types.SimpleNamespace(
        init=lambda **given: print("chatter") or calls.append(given),
        log=lambda values, step: calls.append((step, values)),
        finish=lambda: print("chatter") or calls.append("finish"),
    )
    monkeypatch.setitem(sys.modules, "trackio", stub)
    for resumed_step in (None, 32):
        assert write(run, ["trackio"], [2], resumed_step) == ["trackio: trackio show --project ppo-jax"]
    first, logged, finished, second = calls[:4]
    assert (logged, finished) == ((64, {"train/update": 2, "train/entropy": 2.0}), "finish")
    assert first == second
    assert first["config"] == request.to_json(ask("trackio"))
    assert first["resume"] == "allow"
    assert capsys.readouterr().out == ""


def test_trackio_has_a_run_of_its_own_for_each_directory(tmp_path, monkeypatch):
    names = []
    stub = types.SimpleNamespace(init=lambda **given: names.append(given["name"]), finish=lambda: None)
    monkeypatch.setitem(sys.modules, "trackio", stub)
    for parent in ("a", "b"):
        (tmp_path / parent / "seed0").mkdir(parents=True)
        write(RunDirectory(tmp_path / parent / "seed0"), ["trackio"], [])
    assert names[0] != names[1]


def test_trackio_keeps_a_run_in_its_database(run):
    pytest.importorskip("trackio")
    for resumed_step in (None, 64):
        result = write_elsewhere("trackio", run, resumed_step, TRACKIO_DIR=str(run.path / "database"))
        assert result.stdout == "trackio: trackio show --project ppo-jax\n"
    with sqlite3.connect(run.path / "database" / "ppo-jax.db") as database:
        rows = database.execute(
            "select distinct run_name, step, metrics from metrics order by step"
        ).fetchall()
    assert [step for _, step, _ in rows] == [32, 64, 96, 128]
    assert [json.loads(metrics)["train/entropy"] for *_, metrics in rows][:2] == [0.625, 0.3125]
    assert len({name for name, *_ in rows}) == 1
