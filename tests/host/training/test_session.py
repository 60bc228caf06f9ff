import json
import math
import pathlib
import shutil
import signal
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.config import config_from
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.host.programs import chunks
from ppo_jax.host.runs import directory
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.training import session
from ppo_jax.spaces import Box, Discrete
from tests.host.conftest import SMALL, run_command


def _asked_for(run):
    asked = directory.read_json(run.config)
    given = {name: value for name, value in asked["hyper"].items() if value is not None}
    hyper = ppo_jax.Hyperparams(**{name: float(value) for name, value in given.items()})
    return config_from(asked["config"]), hyper, asked["seed"]


def test_a_run_leaves_every_file_that_is_promised(trained):
    assert sorted(path.name for path in trained.path.iterdir()) == [
        "checkpoints",
        "config.json",
        "diagnostics.png",
        "metrics.jsonl",
        "policy.json",
        "policy.safetensors",
        "summary.json",
    ]


def test_the_metrics_file_holds_the_bits_of_the_training_as_one_scan(trained):
    config, hyper, seed = _asked_for(trained)
    train = jax.jit(ppo_jax.train, static_argnums=0, compiler_options=chunks.CPU_OPTIONS)
    _, metrics = jax.device_get(train(config, hyper, jax.random.key(seed)))
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    assert len(lines) == config.num_updates
    for name, column in metrics._asdict().items():
        written = np.array([np.nan if line[name] is None else line[name] for line in lines])
        np.testing.assert_array_equal(written.astype(column.dtype), column, err_msg=name)


def test_the_summary_agrees_with_the_metrics(trained):
    config, _, seed = _asked_for(trained)
    summary = directory.read_json(trained.summary)
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    assert summary["seed"] == seed
    assert summary["status"] == "done"
    assert summary["updates"] == config.num_updates == lines[-1]["update"]
    assert summary["env_steps"] == config.num_updates * config.batch_size
    assert summary["episodes"] == sum(line["episodes"] for line in lines)
    assert summary["solved"] is None
    assert summary["evaluation"]["episodes"] == 100
    assert summary["changes"]["num_envs"] == config.num_envs
    assert summary["versions"]["jax"] == jax.__version__
    assert summary["compile_seconds"] > 0 < summary["train_seconds"]


def test_seconds_never_go_backwards(trained):
    seconds = [json.loads(line)["seconds"] for line in trained.metrics.read_text().splitlines()]
    assert seconds[0] > 0
    assert np.all(np.diff(seconds) >= 0)


def test_a_training_that_diverges_says_so_saves_no_policy_and_fails(tmp_path, capsys):
    run = tmp_path / "run"
    status = run_command("train", *SMALL, "--run-dir", run, "--learning-rate", "1e38", "--quiet")
    assert status == 1
    assert "diverged" in capsys.readouterr().err
    assert not (run / "policy.safetensors").exists()
    assert directory.read_json(run / "summary.json")["status"] == "failed"


def _without_moves(name):
    """An environment that from its 40th step on allows no action, which no author may do."""

    def observation(time):
        return Observation(jnp.zeros(4), legal_actions=jnp.full(2, time < 40))

    def step(key, time, action):
        transition = Transition(observation(time + 1), jnp.float32(1), jnp.array(False), jnp.array(False))
        return time + 1, transition

    start = jnp.zeros((), jnp.int32)
    return make_batched(Dynamics(lambda key: (start, observation(start)), step, Box((4,)), Discrete(2)))


def test_an_environment_without_legal_actions_stops_the_training_and_is_named_as_the_reason(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(sys.modules["ppo_jax.algorithm.train"], "make_environment", _without_moves)
    run = tmp_path / "run"
    assert run_command("train", *SMALL, "--run-dir", run, "--quiet") == 1
    # Of its 32 steps, the second update spends the last 24 in such states, in each of 4 environments.
    assert "it allowed no action in 96 of the states of update 2;" in capsys.readouterr().err
    assert not (run / "policy.safetensors").exists()
    assert directory.read_json(run / "summary.json")["status"] == "failed"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["dead_ends"] for line in lines[:2]] == [0, 96]
    assert len(lines) < 4000 // 128


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_training_that_is_to_stop_saves_first_and_says_how_to_go_on(
    tmp_path, monkeypatch, capfd, trained, number, status
):
    run = tmp_path / "run"
    advance = chunks.Training.advance

    def advance_and_signal(self, until):
        signal.raise_signal(number)
        return advance(self, until)

    monkeypatch.setattr(chunks.Training, "advance", advance_and_signal)
    assert run_command("train", *SMALL, "--run-dir", run) == status
    out, err = capfd.readouterr()
    assert "stopped at update 1, which is saved; so is its policy" in out
    assert f"to go on: ppo-jax resume {run}" in out
    assert "stopping: saving first" in err
    summary = directory.read_json(run / "summary.json")
    assert (summary["status"], summary["updates"], summary["evaluation"]) == ("interrupted", 1, None)
    assert run_command("evaluate", run, "--episodes", "3") == 0

    monkeypatch.setattr(chunks.Training, "advance", advance)
    assert run_command("resume", run) == 0
    assert "resumed at update 1 of 31" in capfd.readouterr().out
    for name in ("policy.safetensors", "policy.json"):
        assert (run / name).read_bytes() == (trained.path / name).read_bytes()


def test_a_stop_during_the_last_evaluation_is_heard_but_loses_nothing(tmp_path, monkeypatch):
    original = session.evaluation.run

    def run_and_signal(*arguments):
        signal.raise_signal(signal.SIGTERM)
        return original(*arguments)

    monkeypatch.setattr(session.evaluation, "run", run_and_signal)
    run = tmp_path / "run"
    assert run_command("train", *SMALL, "--run-dir", run, "--quiet") == 143
    summary = directory.read_json(run / "summary.json")
    assert summary["status"] == "done"
    assert summary["evaluation"]["episodes"] == 100


def test_a_run_that_is_complete_is_left_as_it_is(trained, capsys):
    before = {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")}
    assert run_command("resume", trained.path) == 0
    assert "is complete" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in trained.path.rglob("*")} == before


def test_the_same_command_starts_a_run_or_goes_on_with_it(tmp_path, trained, capsys):
    run = tmp_path / "run"
    command = ["train", *SMALL, "--run-dir", run, "--resume", "--quiet"]
    assert run_command(*command) == 0
    assert (run / "policy.safetensors").read_bytes() == trained.tensors.read_bytes()
    assert run_command(*command) == 0
    assert run_command(*command, "--gamma", "0.5", "--seed", "3") == 2
    err = capsys.readouterr().err
    assert "gamma = 0.5, but the run was started with 0.99" in err
    assert "seed = 3, but the run was started with 0" in err
    assert run_command(*command, "--total-timesteps", "2000") == 2
    assert "total_timesteps = 2000 is less than the 4000" in capsys.readouterr().err
    assert run_command(*command, "--total-timesteps", "5000") == 0
    assert directory.read_json(run / "summary.json")["updates"] == 5000 // 128
    assert directory.read_json(run / "config.json")["config"]["total_timesteps"] == 5000
    assert run_command("verify", run) == 0


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_anew(tmp_path, trained, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    (run / "summary.json").unlink()
    (next((run / "checkpoints").iterdir()) / "manifest.json").unlink()
    assert run_command("resume", run) == 2
    assert "0000000031: manifest.json is missing" in capsys.readouterr().err
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 31


def test_a_run_whose_checkpoints_are_gone_is_not_started_anew(tmp_path, trained, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    shutil.rmtree(run / "checkpoints")
    assert run_command("resume", run, "--total-timesteps", "8000") == 2
    assert "has trained, but has no checkpoint to go on from" in capsys.readouterr().err
    assert (run / "metrics.jsonl").read_bytes() == trained.metrics.read_bytes()


def test_without_its_metrics_a_run_goes_on_and_says_what_is_missing(tmp_path, trained, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    (run / "metrics.jsonl").unlink()
    assert run_command("verify", run) == 1
    assert run_command("resume", run, "--total-timesteps", "5000") == 0
    assert "metrics.jsonl lacks updates 1 to 31" in capsys.readouterr().out
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(32, 40))


def test_a_disk_that_fills_up_at_the_end_is_told_from_a_mistake(tmp_path, monkeypatch, capsys):
    def fail(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    run = tmp_path / "run"
    assert run_command("train", *SMALL, "--run-dir", run, "--quiet") == 1
    assert f"cannot write to '{run}'" in capsys.readouterr().err


def test_a_policy_whose_evaluation_is_not_finite_still_ends_well(tmp_path, monkeypatch):
    original = session.evaluation.run
    monkeypatch.setattr(session.evaluation, "run", lambda *given: original(*given)._replace(mean=math.nan))
    run = tmp_path / "run"
    assert run_command("train", *SMALL, "--run-dir", run, "--quiet") == 0
    assert directory.read_json(run / "summary.json")["evaluation"]["mean"] is None


def test_where_saving_fails_a_signal_does_not_make_it_look_saved(tmp_path, monkeypatch):
    def fail(*_):
        signal.raise_signal(signal.SIGTERM)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.store, "save", fail)
    assert run_command("train", *SMALL, "--run-dir", tmp_path / "run", "--quiet") == 1


def test_a_configuration_that_was_altered_does_not_fit_its_checkpoints(tmp_path, trained, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(config.replace('"gamma": 0.99', '"gamma": 0.98'))
    assert run_command("resume", run, "--total-timesteps", "5000") == 2
    assert "asked for something else than config.json says" in capsys.readouterr().err


def test_the_best_checkpoint_is_kept_and_can_be_evaluated(tmp_path, capsys):
    run = tmp_path / "run"
    flags = ("--num-envs", "16", "--num-steps", "64", "--total-timesteps", "40000", "--learning-rate", "0.02")
    assert run_command("train", *flags, "--run-dir", run, "--checkpoint-every", "3", "--keep", "1") == 0
    kept = [one.manifest for one in directories.readable(run / "checkpoints")]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    returns = [(line["return_window"], line["update"]) for line in lines if line["update"] % 3 == 0]
    assert kept[0].update == 39
    assert (kept[-1].return_window, kept[-1].update) == max(pair for pair in returns if pair[0] is not None)
    capsys.readouterr()
    assert run_command("evaluate", run, "--best", "--episodes", "20") == 0
    best = capsys.readouterr().out
    assert run_command("evaluate", run, "--episodes", "20") == 0
    last = capsys.readouterr().out
    assert "20 greedy episodes" in best
    assert (best == last) == (len(kept) == 1)


def test_a_run_can_be_plotted_reported_and_rendered(trained, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(trained.path, run)
    assert run_command("plot", run) == 0
    assert run_command("report", run) == 0
    assert run_command("render", run, tmp_path / "out.gif", "--max-steps", "20") == 0
    out = capsys.readouterr().out.splitlines()
    assert out[:2] == [f"wrote {run}/diagnostics.png", f"wrote {run}/report.html"]
    assert out[2].startswith(f"wrote {tmp_path}/out.gif: 20 steps, cut off before its end, return 20")
    assert "data:image/gif;base64," in (run / "report.html").read_text()
    assert (tmp_path / "out.gif").read_bytes().startswith(b"GIF89a")


def test_without_enough_memory_it_says_what_takes_it(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    command = ["train", *SMALL, "--run-dir", run]
    assert run_command(*command, "--num-envs", "60000000", "--total-timesteps", "2147483647") == 2
    err = capsys.readouterr().err
    assert "GiB: the activations of a minibatch" in err
    assert "give more --num-minibatches" in err

    def exhaust(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    monkeypatch.setattr(chunks.Training, "advance", exhaust)
    assert run_command(*command) == 1
    assert "out of memory: this training needs about" in capsys.readouterr().err


def test_a_bound_that_is_off_can_be_written_down(tmp_path):
    run = tmp_path / "run"
    status = run_command("train", *SMALL, "--run-dir", run, "--max-grad-norm", "inf", "--quiet")
    assert status == 0
    assert directory.read_json(run / "config.json")["hyper"]["max_grad_norm"] == "inf"
    assert directory.read_json(run / "summary.json")["changes"]["max_grad_norm"] == "inf"


def test_a_mistake_that_only_the_spaces_show_leaves_the_directory_free(tmp_path, capsys):
    command = ["train", *SMALL, "--run-dir", tmp_path / "run", "--quiet"]
    assert run_command(*command, "--encoder", "cnn") == 2
    assert "give encoder = 'mlp'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert run_command(*command) == 0
