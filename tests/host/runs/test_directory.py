import errno
import os

import pytest

import ppo_jax
from ppo_jax.host.runs import directory
from ppo_jax.host.runs.files import DRAFT, read_json


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


def test_a_name_that_another_process_takes_in_between_is_not_shared(tmp_path, monkeypatch):
    """Of 32 runs that were started in the same second, 7 were refused as in use."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(directory.time, "strftime", lambda _: "now")
    make, taken = directory.Path.mkdir, ["label-now", "label-now-2"]

    def mkdir(path, *arguments, **options):
        if path.name in taken:
            taken.remove(path.name)
            make(path, parents=True)  # the other process
        make(path, *arguments, **options)

    monkeypatch.setattr(directory.Path, "mkdir", mkdir)
    assert directory.create(None, "label", {}).path.name == "label-now-3"


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_without_locks_a_run_goes_on_and_says_so(tmp_path, monkeypatch, number):
    def flock(descriptor, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(directory.fcntl, "flock", flock)
    run = directory.create(tmp_path / "run", "label", {})
    with directory.locked(run):
        (limit,) = directory.limits(run)
    assert limit.startswith("this file system has no locks, so nothing keeps another process")


def test_another_error_of_a_lock_is_an_error(tmp_path, monkeypatch):
    def flock(descriptor, operation):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(directory.fcntl, "flock", flock)
    with pytest.raises(ppo_jax.UsageError, match="Input/output error"):
        directory.create(tmp_path / "run", "label", {})


def test_a_run_on_a_usual_file_system_has_no_limits(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    with directory.locked(run):
        assert list(directory.limits(run)) == []


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
    assert read_json(run.config) == {"a": 1}
    assert [file.name for file in run.path.iterdir()] == ["config.json"]


def test_drafts_of_a_process_that_died_do_not_occupy_a_directory(tmp_path):
    (tmp_path / f"config.json{DRAFT}").write_text("{")
    assert directory.is_free(tmp_path)
    directory.create(tmp_path, "label", {})
    assert not directory.is_free(tmp_path)


def test_one_process_at_a_time_trains_in_a_directory(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    with directory.locked(run), pytest.raises(ppo_jax.UsageError, match="another process trains there"):
        directory.locked(run).__enter__()
    with directory.locked(run):
        pass


def test_an_error_of_the_run_itself_is_not_taken_for_a_second_process(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    with pytest.raises(BlockingIOError, match="of the run"), directory.locked(run):
        raise BlockingIOError("of the run")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/etc/passwd"), os.mkfifo])
def test_a_directory_with_links_or_pipes_is_no_run(tmp_path, make):
    run = directory.create(tmp_path / "run", "label", {})
    assert directory.open_existing(run.path) == run
    make(run.metrics)
    with pytest.raises(ppo_jax.UsageError, match=r"'metrics.jsonl', which is neither a plain file"):
        directory.open_existing(run.path)


def test_a_directory_is_released_only_if_nothing_has_happened_in_it(tmp_path):
    run = directory.create(tmp_path / "run", "label", {})
    run.metrics.touch()
    directory.release(run)
    assert run.config.exists()
    run.metrics.unlink()
    directory.release(run)
    assert not run.path.exists()
