"""The whole life of a run, called from Python as the command line calls it."""

import json
import shutil

import pytest

import ppo_jax
from ppo_jax.host.runs import directory, request, verify
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.training import start
from tests.host.conftest import SMALL, changed

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures")

SHORT = changed(SMALL, total_timesteps=3 * 128)


def contents(path):
    return {entry: entry.stat().st_mtime_ns for entry in path.rglob("*")}


def test_a_run_without_a_path_is_named_after_its_preset_and_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert start.run(SHORT, quiet=True) == 0
    (path,) = (tmp_path / "runs").iterdir()
    assert path.name.startswith("CartPole-v1-seed0-")
    assert request.read(RunDirectory(path)) == SHORT
    assert directory.is_complete(RunDirectory(path), 3)


def test_the_same_call_starts_a_run_or_continues_it(tmp_path):
    path = tmp_path / "run"
    assert start.run(SHORT, path, resume=True, quiet=True) == 0
    assert read_json(path / "summary.json")["updates"] == 3
    assert start.run(SMALL, path, resume=True, quiet=True) == 0
    assert read_json(path / "summary.json")["updates"] == 31
    assert read_json(path / "config.json")["config"]["total_timesteps"] == 4000
    lines = [json.loads(line)["update"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert lines == list(range(1, 32))
    assert not any(finding.problem for finding in verify.verify(RunDirectory(path)))


def test_a_run_that_died_before_its_first_checkpoint_starts_again_and_ends_with_the_same_bits(
    tmp_path, trained
):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    lines = (path / "metrics.jsonl").read_text().splitlines(keepends=True)
    (path / "metrics.jsonl").write_text("".join(lines[:5]))
    shutil.rmtree(path / "checkpoints")
    (path / "summary.json").unlink()
    assert start.run(SMALL, path, resume=True, quiet=True) == 0
    assert (path / "policy.safetensors").read_bytes() == trained.tensors.read_bytes()


def test_a_request_that_differs_is_refused_with_every_difference(tmp_path, trained):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    before = contents(path)
    with pytest.raises(ppo_jax.UsageError) as caught:
        start.run(changed(SMALL, gamma=0.5, seed=3), path, resume=True, quiet=True)
    assert "gamma = 0.5, but the run was started with 0.99" in str(caught.value)
    assert "seed = 3, but the run was started with 0" in str(caught.value)
    with pytest.raises(ppo_jax.UsageError, match="total_timesteps = 2000 is less than the 4000"):
        start.run(changed(SMALL, total_timesteps=2000), path, resume=True, quiet=True)
    assert contents(path) == before


def test_every_mistake_is_found_before_a_directory_is_made(tmp_path):
    wrong = changed(SMALL, num_envs=0, gamma=2.0, keep=0, seed=-1)
    with pytest.raises(ppo_jax.UsageError) as caught:
        start.run(wrong, tmp_path / "run")
    named = {problem.split(" = ")[0] for problem in caught.value.problems}
    assert named >= {"num_envs", "gamma", "keep", "seed"}
    assert not (tmp_path / "run").exists()
    with pytest.raises(ppo_jax.UsageError, match="resume = True, but nothing says which run"):
        start.run(SMALL, resume=True)


def test_a_directory_that_holds_anything_is_refused_and_left_alone(tmp_path, trained):
    (tmp_path / "precious").write_text("do not lose me")
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        start.run(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
    before = contents(trained.path)
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        start.run(SMALL, trained.path)
    assert contents(trained.path) == before


def test_a_run_that_is_in_use_is_refused_and_left_alone(tmp_path):
    run = directory.create(tmp_path / "run", "label", request.to_json(SHORT))
    longer = changed(SHORT, total_timesteps=4 * 128)
    with directory.locked(run), pytest.raises(ppo_jax.UsageError, match="another process trains there"):
        start.run(longer, run.path, resume=True, quiet=True)
    assert request.read(run) == SHORT


def test_if_the_environment_refuses_the_request_the_directory_is_released(tmp_path):
    """That images need another encoder is known only once the environment has been made."""
    path = tmp_path / "run"
    with pytest.raises(ppo_jax.UsageError, match="give encoder = 'mlp'"):
        start.run(changed(SHORT, encoder="cnn"), path, quiet=True)
    assert not path.exists()
    assert start.run(SHORT, path, quiet=True) == 0


def test_a_run_that_is_complete_is_left_as_it_is(trained, capsys):
    before = contents(trained.path)
    assert start.run(SMALL, trained.path, resume=True) == 0
    assert "is complete" in capsys.readouterr().out
    assert contents(trained.path) == before


def test_a_run_whose_checkpoints_are_all_damaged_is_not_started_anew(tmp_path, trained):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    (path / "summary.json").unlink()
    (next((path / "checkpoints").iterdir()) / "manifest.json").unlink()
    with pytest.raises(DamageError, match=r"0000000031: manifest.json is missing"):
        start.run(SMALL, path, resume=True)
    assert len((path / "metrics.jsonl").read_text().splitlines()) == 31


def test_a_run_whose_checkpoints_are_gone_is_not_started_anew(tmp_path, trained):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    shutil.rmtree(path / "checkpoints")
    with pytest.raises(DamageError, match="has trained, but has no checkpoint to continue from"):
        start.run(changed(SMALL, total_timesteps=8000), path, resume=True)
    assert (path / "metrics.jsonl").read_bytes() == trained.metrics.read_bytes()


def test_a_configuration_that_was_altered_does_not_fit_its_checkpoints(tmp_path, trained):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    altered = changed(SMALL, gamma=0.98)
    request.write(RunDirectory(path), altered)
    with pytest.raises(DamageError, match=r"asked for something other than config.json says"):
        start.run(changed(altered, total_timesteps=5000), path, resume=True)


@pytest.mark.long
def test_options_may_change_whenever_a_run_continues(tmp_path):
    path = tmp_path / "run"
    assert start.run(SHORT, path, quiet=True) == 0
    other = changed(SHORT, total_timesteps=6 * 128, checkpoint_every=1, keep=2)
    assert start.run(other, path, resume=True, quiet=True) == 0
    assert request.read(RunDirectory(path)) == other
    kept = [int(entry.name) for entry in directories.newest_first(path / "checkpoints")]
    assert kept == [6, 5]


def test_without_its_metrics_a_run_continues_and_says_what_is_missing(tmp_path, trained, capsys):
    path = tmp_path / "run"
    shutil.copytree(trained.path, path)
    (path / "metrics.jsonl").unlink()
    assert start.run(changed(SMALL, total_timesteps=5000), path, resume=True) == 0
    assert "metrics.jsonl lacks updates 1 to 31" in capsys.readouterr().out
    lines = (path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["update"] for line in lines] == list(range(32, 40))
