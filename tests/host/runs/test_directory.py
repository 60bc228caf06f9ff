import os

import pytest

import ppo_jax
from ppo_jax.host.runs import directory


def test_a_directory_that_holds_anything_is_never_used(tmp_path):
    (tmp_path / "precious").write_text("do not lose me")
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        directory.create(tmp_path, "label", {})
    assert (tmp_path / "precious").read_text() == "do not lose me"


def test_of_two_runs_started_in_the_same_second_each_gets_its_own_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directory.time, "strftime", lambda _: "now")
    names = [directory.create(None, "label", {}).path.name for _ in range(3)]
    assert names == ["label-now", "label-now-2", "label-now-3"]


def test_a_directory_can_be_claimed_once(tmp_path):
    directory.create(tmp_path / "run", "label", {})
    with pytest.raises(ppo_jax.UsageError, match="never overwritten"):
        directory.create(tmp_path / "run", "label", {})


def test_an_empty_directory_may_be_used(tmp_path):
    assert directory.create(tmp_path, "label", {}).path == tmp_path


def test_without_a_path_a_new_directory_is_named_after_the_label(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = directory.create(None, "CartPole-v1", {"a": 1})
    assert run.path.parent.name == "runs"
    assert run.path.name.startswith("CartPole-v1-")
    assert directory.read_json(run.config) == {"a": 1}
    assert [file.name for file in run.path.iterdir()] == ["config.json"]


def test_drafts_of_a_process_that_died_are_not_in_the_way(tmp_path):
    (tmp_path / f"config.json{directory.DRAFT}").write_text("{")
    assert directory.is_free(tmp_path)
    directory.create(tmp_path, "label", {})
    assert not directory.is_free(tmp_path)


def test_one_process_at_a_time_trains_in_a_directory(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    with directory.locked(run), pytest.raises(ppo_jax.UsageError, match="another process trains there"):
        directory.locked(run).__enter__()
    with directory.locked(run):
        pass


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_a_directory_with_links_or_pipes_is_no_run(tmp_path, make):
    run = directory.create(tmp_path / "run", "label", {})
    assert directory.open_existing(run.path) == run
    make(run.metrics)
    with pytest.raises(ppo_jax.UsageError, match=r"'metrics.jsonl', which is neither a plain file"):
        directory.open_existing(run.path)


def test_a_file_that_is_too_long_is_not_read(tmp_path):
    path = tmp_path / "a.json"
    path.touch()
    os.truncate(path, directory.MAX_JSON_BYTES + 1)
    with pytest.raises(ppo_jax.UsageError, match="longer than"):
        directory.read_json(path)


def test_json_is_replaced_whole_and_leaves_no_neighbour(tmp_path):
    path = tmp_path / "a.json"
    directory.write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        directory.write_json(path, {"a": float("nan")})
    assert directory.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_what_cannot_be_written_is_named_and_stays_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    directory.write_json(path, {"a": 1})

    def fail(self, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(path), "write_text", fail)
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.json'"):
        directory.write_json(path, {"a": 2})
    assert directory.read_json(path) == {"a": 1}


def test_a_directory_is_given_back_only_if_nothing_has_happened_in_it(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    run.metrics.touch()
    directory.release(run)
    assert run.config.exists()
    run.metrics.unlink()
    directory.release(run)
    assert not run.path.exists()
