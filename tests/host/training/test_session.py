import json
import math
import pathlib
import shutil
import signal
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.host.programs import chunks, evaluation
from ppo_jax.host.runs import agents
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.training import session, start
from ppo_jax.spaces import Box, Discrete
from tests.host.conftest import SMALL, changed, run_command
from tests.support.bits import digest

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures")

SHORT = changed(SMALL, total_timesteps=3 * 128)


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


@pytest.mark.long
def test_the_metrics_file_holds_the_bits_of_the_training_as_one_scan(trained):
    config = SMALL.config
    train = jax.jit(ppo_jax.train, static_argnums=0, compiler_options=ppo_jax.compiler_options())
    _, metrics = jax.device_get(train(config, SMALL.hyper, jax.random.key(SMALL.seed)))
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    assert len(lines) == config.num_updates
    for name, column in metrics._asdict().items():
        written = np.array([np.nan if line[name] is None else line[name] for line in lines])
        np.testing.assert_array_equal(written.astype(column.dtype), column, err_msg=name)


def test_the_summary_agrees_with_the_metrics(trained):
    config = SMALL.config
    summary = read_json(trained.summary)
    lines = [json.loads(line) for line in trained.metrics.read_text().splitlines()]
    assert summary["seed"] == SMALL.seed
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
    assert start.run(changed(SMALL, learning_rate=1e38), run, quiet=True) == 1
    assert "diverged" in capsys.readouterr().err
    assert not (run / "policy.safetensors").exists()
    assert read_json(run / "summary.json")["status"] == "failed"


def _without_moves(name, arguments, traced):
    """An environment that from its 40th step on allows no action, which no environment may do."""

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
    assert start.run(SMALL, run, quiet=True) == 1
    # Of its 32 steps, the second update spends the last 24 in such states, in each of 4 environments.
    assert "it allowed no action in 96 of the states of update 2;" in capsys.readouterr().err
    assert not (run / "policy.safetensors").exists()
    assert read_json(run / "summary.json")["status"] == "failed"
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["dead_ends"] for line in lines[:2]] == [0, 96]
    assert len(lines) < 4000 // 128


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_the_run_first_and_says_how_to_continue_it(
    tmp_path, monkeypatch, capfd, trained, number, status
):
    run = tmp_path / "run"
    advance = chunks.Training.advance

    def advance_and_signal(self, until):
        signal.raise_signal(number)
        return advance(self, until)

    monkeypatch.setattr(chunks.Training, "advance", advance_and_signal)
    assert start.run(SMALL, run) == status
    out, err = capfd.readouterr()
    assert "stopped at update 1; its state and its policy were saved" in out
    assert f"to continue: ppo-jax resume {run}" in out
    assert "stopping: saving first" in err
    summary = read_json(run / "summary.json")
    assert (summary["status"], summary["updates"], summary["evaluation"]) == ("interrupted", 1, None)
    directory = RunDirectory(run)
    config, agent = agents.load(directory, say=pytest.fail)  # the policy so far can be used
    # As if it had been killed, or went on and was killed: then the checkpoint is what there is.
    policy, told = directory.tensors.read_bytes(), []
    directory.summary.rename(run / "summary")
    _, same = agents.load(directory, say=told.append)
    assert told == [f"'{run}' has not ended; this is its newest checkpoint, of update 1"]
    chex.assert_trees_all_equal(same, agent)
    directory.policy.rename(run / "policy")
    chex.assert_trees_all_equal(agents.load(directory, say=told.append)[1], agent)
    (run / "policy").rename(directory.policy)
    (run / "summary").rename(directory.summary)
    assert directory.tensors.read_bytes() == policy
    assert evaluation.run(config, agent, 100, greedy=True, seed=0).unfinished == 0

    monkeypatch.setattr(chunks.Training, "advance", advance)
    assert start.run(SMALL, run, resume=True) == 0
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
    assert start.run(SHORT, run, quiet=True) == 143
    summary = read_json(run / "summary.json")
    assert summary["status"] == "done"
    assert summary["evaluation"]["episodes"] == 100


def test_a_disk_that_fills_up_at_the_end_is_a_failure_and_not_a_mistake(tmp_path, monkeypatch, capsys):
    def fail(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", fail)
    run = tmp_path / "run"
    assert start.run(SHORT, run, quiet=True) == 1
    assert f"cannot write to '{run}'" in capsys.readouterr().err


def test_a_run_whose_evaluation_is_not_finite_still_ends_well(tmp_path, monkeypatch):
    original = session.evaluation.run
    monkeypatch.setattr(session.evaluation, "run", lambda *given: original(*given)._replace(mean=math.nan))
    run = tmp_path / "run"
    assert start.run(SHORT, run, quiet=True) == 0
    assert read_json(run / "summary.json")["evaluation"]["mean"] is None


def test_where_saving_fails_a_signal_does_not_make_it_look_saved(tmp_path, monkeypatch):
    def fail(*_):
        signal.raise_signal(signal.SIGTERM)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(session.store, "save", fail)
    assert start.run(SHORT, tmp_path / "run", quiet=True) == 1


def test_the_best_checkpoint_is_kept_and_can_be_evaluated(tmp_path):
    """With steps this large nothing is learned: episodes are short, and their mean moves up and down."""
    run = RunDirectory(tmp_path / "run")
    asked = changed(SMALL, total_timesteps=30 * 128, learning_rate=0.1, checkpoint_every=3, keep=1)
    assert start.run(asked, run.path, quiet=True) == 0
    kept = [one.manifest for one in directories.readable(run.checkpoints)]
    lines = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    returns = [(line["return_window"], line["update"]) for line in lines if line["update"] % 3 == 0]
    assert kept[0].update == 30
    assert (kept[-1].return_window, kept[-1].update) == max(pair for pair in returns if pair[0] is not None)
    config, last = agents.load(run)
    again = evaluation.run(config, last, 100, greedy=True, seed=0)
    assert again._asdict() == read_json(run.summary)["evaluation"]
    config, best = agents.load(run, best=True)
    assert evaluation.run(config, best, 100, greedy=True, seed=0).unfinished == 0
    assert jax.tree.structure(best) == jax.tree.structure(last)
    assert (digest(best) == digest(last)) == (len(kept) == 1)


@pytest.mark.long
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
    with pytest.raises(ppo_jax.UsageError) as caught:
        start.run(changed(SMALL, num_envs=60_000_000, total_timesteps=2**31 - 1), run)
    assert "GiB: the activations of a minibatch" in str(caught.value)
    assert "give more --num-minibatches" in str(caught.value)

    def exhaust(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes.")

    monkeypatch.setattr(chunks.Training, "advance", exhaust)
    assert start.run(SHORT, run) == 1
    assert "out of memory: this run needs about" in capsys.readouterr().err


def test_an_infinite_bound_is_written_as_a_string(tmp_path):
    run = tmp_path / "run"
    assert start.run(changed(SHORT, max_grad_norm=math.inf), run, quiet=True) == 0
    assert read_json(run / "config.json")["hyper"]["max_grad_norm"] == "inf"
    assert read_json(run / "summary.json")["changes"]["max_grad_norm"] == "inf"
