import io
import json

import chex
import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.config import config_from
from ppo_jax.runs import directory, session
from ppo_jax.runs.records import from_metrics
from ppo_jax.runs.screen import QuietScreen
from tests.runs.conftest import SMALL, run_command


def _asked_for(run):
    asked = directory.read_json(run.config)
    hyper = ppo_jax.Hyperparams(**{name: float(value) for name, value in asked["hyper"].items()})
    return config_from(asked["config"]), hyper, asked["seed"]


def test_a_run_leaves_every_file_that_is_promised(trained):
    assert sorted(path.name for path in trained.path.iterdir()) == [
        "config.json",
        "diagnostics.png",
        "metrics.jsonl",
        "policy.json",
        "policy.safetensors",
        "summary.json",
    ]


def test_the_metrics_file_holds_the_bits_of_the_training_as_one_scan(trained):
    config, hyper, seed = _asked_for(trained)
    train = jax.jit(ppo_jax.train, static_argnums=0)
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


def test_chunks_of_any_length_give_the_same_bits(monkeypatch):
    config = ppo_jax.Config(num_envs=2, num_steps=16, total_timesteps=32 * 9, num_minibatches=2)
    hyper = ppo_jax.Hyperparams()
    program = session.compile_program(config, hyper)
    results = []
    for size in (1, 2, 5, 9):
        monkeypatch.setattr(session, "_next_size", lambda *_, size=size: size)
        state = program.init(hyper, jax.random.key(3))
        *_, last = session.chunks(program, config, hyper, state)
        results.append(last.state)
    for state in results[1:]:
        chex.assert_trees_all_equal(state, results[0])


def test_chunks_aim_at_the_same_time_and_grow_gently():
    assert session._next_size(8, session.CHUNK_SECONDS) == 8
    assert session._next_size(8, 4 * session.CHUNK_SECONDS) == 2
    assert session._next_size(1, 60.0) == 1
    assert session._next_size(8, 1e-6) == 32
    assert session._next_size(session.CAPACITY, 1e-6) == session.CAPACITY


@pytest.fixture
def journal():
    return session.Journal(io.StringIO(), QuietScreen(1000, 475.0), 475.0)


def _chunk(**columns):
    length = len(next(iter(columns.values())))
    values = {name: np.ones(length, np.float32) for name in ppo_jax.Metrics._fields} | columns
    metrics = ppo_jax.Metrics(**{name: np.asarray(column) for name, column in values.items()})
    records = from_metrics(metrics, length, session.Clock(1, 0.0, 1.0))
    return session.Chunk(None, records, 1.0)


def test_the_first_update_that_reaches_the_mark_is_the_one_that_solved(journal):
    returns = np.array([np.nan, 474.9, 475.0, 480.0], np.float32)
    journal.take(_chunk(return_window=returns, env_steps=np.arange(4) * 10))
    journal.take(_chunk(return_window=np.full(4, 500, np.float32)))
    assert journal.solved["update"] == 3
    assert journal.solved["env_steps"] == 20


@pytest.mark.parametrize("name", session.ALWAYS_FINITE)
def test_a_metric_that_is_not_finite_is_a_divergence(journal, name):
    journal.take(_chunk(**{name: np.array([1.0, np.inf, np.nan], np.float32)}))
    assert journal.diverged["update"] == 2


def test_a_training_that_diverges_says_so_saves_no_policy_and_fails(tmp_path, capsys):
    run = tmp_path / "run"
    status = run_command("train", *SMALL, "--run-dir", run, "--learning-rate", "1e38", "--quiet")
    assert status == 1
    assert "diverged" in capsys.readouterr().err
    assert not (run / "policy.safetensors").exists()


def test_an_interrupted_training_keeps_what_it_has_learned(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    whole = session.chunks

    def interrupted(*arguments):
        yield next(whole(*arguments))
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "chunks", interrupted)
    assert run_command("train", *SMALL, "--run-dir", run) == 130
    assert "interrupted at update 1" in capsys.readouterr().out
    assert directory.read_json(run / "summary.json")["evaluation"] is None
    assert run_command("evaluate", run, "--episodes", "3") == 0
