import os
import subprocess
import sys
import time
import types

import jax
import numpy as np
import psutil
import pytest

from ppo_jax.host.programs import system

MIB = 2**20


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with one commit of one file, whatever the user's own settings of git are."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("a = 1\n")
    _git(tmp_path, "add", "code.py")
    return tmp_path


def _git(directory, *arguments):
    command = ("git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments)
    return subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True).stdout.strip()


def _commit(repository):
    _git(repository, "commit", "--quiet", "--message", "one")
    return _git(repository, "rev-parse", "HEAD")


def test_the_commit_is_found_from_anywhere_in_the_repository(repository):
    commit = _commit(repository)
    inside = repository / "deep" / "down"
    inside.mkdir(parents=True)
    assert system.git_commit(inside) == {"commit": commit, "changed": False}


def test_a_change_that_is_not_committed_is_reported(repository):
    commit = _commit(repository)
    (repository / "code.py").write_text("a = 2\n")
    assert system.git_commit(repository) == {"commit": commit, "changed": True}


def test_files_that_git_does_not_track_are_no_change(repository):
    _commit(repository)
    (repository / "runs").mkdir()
    (repository / "runs" / "metrics.jsonl").write_text("{}\n")
    assert system.git_commit(repository)["changed"] is False


def test_there_is_no_commit_before_the_first_one(repository):
    assert system.git_commit(repository) is None


def test_there_is_no_commit_outside_of_a_repository(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert system.git_commit(tmp_path) is None
    assert system.git_commit(tmp_path / "missing") is None


def test_there_is_no_commit_without_git(repository, monkeypatch):
    _commit(repository)
    monkeypatch.setenv("PATH", str(repository))
    assert system.git_commit(repository) is None


@pytest.mark.skipif(sys.platform == "win32", reason="the impostor is a shell script")
def test_a_git_that_takes_too_long_is_not_waited_for(tmp_path, monkeypatch):
    impostor = tmp_path / "git"
    impostor.write_text("#!/bin/sh\nexec /bin/sleep 30\n")
    impostor.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(system, "GIT_SECONDS", 0.1)
    start = time.perf_counter()
    assert system.git_commit(tmp_path) is None
    assert time.perf_counter() - start < 10


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_no_program_that_a_repository_names_is_started(repository):
    _commit(repository)
    program, trace = repository / "watch.sh", repository / "was_here"
    program.write_text(f"#!/bin/sh\ntouch {trace}\n")
    program.chmod(0o700)
    _git(repository, "config", "core.fsmonitor", str(program))
    assert system.git_commit(repository)["changed"] is False
    assert not trace.exists()


def test_the_peak_of_the_process_is_in_bytes():
    array = np.ones(64 * MIB, np.uint8)
    resident = psutil.Process().memory_info().rss
    peak = system.memory()["process_peak"]
    assert array.nbytes < resident * 0.9 <= peak < 2**40


@pytest.mark.parametrize(("platform", "unit"), [("linux", 1024), ("darwin", 1)])
def test_the_peak_is_counted_in_the_unit_of_the_system(monkeypatch, platform, unit):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(resource, "getrusage", lambda who: types.SimpleNamespace(ru_maxrss=1000))
    assert system.memory()["process_peak"] == 1000 * unit


def test_a_system_that_does_not_count_the_peak_has_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    assert system.memory()["process_peak"] is None


def test_the_memory_of_the_host_is_known():
    memory = system.memory()
    assert 0 < memory["host_available"] < memory["host_total"] == psutil.virtual_memory().total


@pytest.mark.parametrize(
    ("counted", "limit", "peak"),
    [(None, None, None), ({"bytes_limit": 9, "peak_bytes_in_use": 7, "num_allocs": 1}, 9, 7)],
)
def test_the_memory_of_the_device_is_reported_if_the_device_counts_it(monkeypatch, counted, limit, peak):
    device = types.SimpleNamespace(memory_stats=lambda: counted)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    memory = system.memory()
    assert (memory["device_limit"], memory["device_peak"]) == (limit, peak)
