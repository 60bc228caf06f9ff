import pytest

import ppo_jax
from ppo_jax.runs import directory


def test_a_directory_that_holds_anything_is_never_used(tmp_path):
    (tmp_path / "precious").write_text("do not lose me")
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        directory.create(tmp_path, "label")
    assert (tmp_path / "precious").read_text() == "do not lose me"


def test_of_two_runs_started_in_the_same_second_each_gets_its_own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directory.time, "strftime", lambda _: "now")
    names = [directory.create(None, "label").path.name for _ in range(3)]
    assert names == ["label-now", "label-now-2", "label-now-3"]


def test_a_directory_can_be_claimed_once(tmp_path):
    directory.create(tmp_path / "run", "label")
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        directory.create(tmp_path / "run", "label")


def test_an_empty_directory_may_be_used(tmp_path):
    assert directory.create(tmp_path, "label").path == tmp_path


def test_without_a_path_a_new_directory_is_named_after_the_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = directory.create(None, "CartPole-v1")
    assert run.path.parent.name == "runs"
    assert run.path.name.startswith("CartPole-v1-")


def test_json_is_replaced_whole_and_leaves_no_neighbour(tmp_path):
    path = tmp_path / "a.json"
    directory.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        directory.write_json(path, {"a": float("nan")})
    assert directory.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]
