"""The comparison with peers: the protocol with a worker, failures as results, the table of ratios."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


def compare(*arguments, cwd):
    command = [sys.executable, str(PEERS / "compare.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=300)


@pytest.mark.slow
def test_ours_is_measured_round_by_round(tmp_path):
    flags = "--peers ours --shapes 2x8 --agents 2 3 --repeats 2 --seconds 0.01 --num-minibatches 2"
    result = compare(*flags.split(), "--output", str(tmp_path / "new" / "out.json"), cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    content = json.loads((tmp_path / "new" / "out.json").read_text())
    assert [outcome["job"]["agents"] for outcome in content["outcomes"]] == [1, 2, 3]
    for outcome in content["outcomes"]:
        assert (outcome["peer"], outcome["failure"]) == ("ours", None)
        assert len(outcome["steps_per_second"]) == 2
        assert min(outcome["steps_per_second"]) > 0
        assert outcome["ours_over_peer"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("raise RuntimeError('no such package')", "no such package"),
        ("print('not JSON', flush=True); input()", "died"),
        ("import time; time.sleep(60)", "no answer within 2 s"),
    ],
)
def test_a_worker_that_fails_is_a_result_with_a_reason(script, message, tmp_path, monkeypatch):
    """It ends, prints nonsense, or never answers; each time the reason is one line."""
    monkeypatch.syspath_prepend(str(PEERS))
    monkeypatch.setattr("worker.PATIENCE", 0.2)
    from contestant import Contestant
    from peer import Peer
    from worker import Worker
    from workers.protocol import Job

    path = tmp_path / "worker.py"
    path.write_text(script)
    contestant = Contestant(Peer("broken", path), Job("CartPole-v1", 2, 8, 1, 1, 1, 0.1), failure=None)
    contestant.start(lambda: Worker(Path(sys.executable), path, tmp_path / "log", 2.0))
    contestant.go()
    contestant.stop()
    assert message in contestant.outcome.failure
    assert "\n" not in contestant.outcome.failure
    assert contestant.outcome.rates == []


def test_a_missing_file_is_refused(tmp_path):
    result = compare("--peers", "ours", "--peer-path", str(tmp_path / "nowhere.py"), cwd=tmp_path)
    assert result.returncode
    assert "nowhere.py" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_peer_is_refused_with_the_names_of_the_known_ones(tmp_path):
    result = compare("--peers", "stable", cwd=tmp_path)
    assert result.returncode
    assert "rejax" in result.stderr
    assert "Traceback" not in result.stderr
