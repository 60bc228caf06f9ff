import io
import json

import numpy as np
import pytest

from ppo_jax.host.monitor.screen import QuietScreen
from ppo_jax.host.monitor.sinks import Sinks
from ppo_jax.host.programs.evaluation import Result
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.training.failure import Failure
from ppo_jax.host.training.journal import Journal
from tests.support.chunks import make_chunk


def make_journal(path, mark):
    return Journal(RunDirectory(path), io.StringIO(), QuietScreen(1000, mark), Sinks(print), mark)


@pytest.fixture
def journal(tmp_path):
    return make_journal(tmp_path, 475.0)


def test_the_first_update_that_reaches_the_mark_is_the_one_that_solved(journal):
    returns = np.array([np.nan, 474.9, 475.0, 480.0], np.float32)
    journal.take(make_chunk(return_window=returns, env_steps=np.arange(4) * 10))
    journal.take(make_chunk(return_window=np.full(4, 500, np.float32)))
    assert journal.solved["update"] == 3
    assert journal.solved["env_steps"] == 20


def test_a_return_of_0_can_be_a_solution(tmp_path):
    journal = make_journal(tmp_path, -100.0)
    journal.take(make_chunk(return_window=np.array([-101.0, 0.0], np.float32)))
    assert journal.solved["update"] == 2


def test_what_it_recalls_counts_as_if_it_had_been_there(journal, tmp_path):
    first = make_chunk(return_window=np.array([np.nan, 480.0], np.float32), episodes=np.array([3, 4]))
    second = make_chunk(return_window=np.array([490.0], np.float32), episodes=np.array([5]))
    journal.take(first)
    journal.take(second)
    later = make_journal(tmp_path, 475.0)
    later.recall(first.records)
    later.take(second)
    for name in ("last", "solved", "episodes", "return_window", "seconds"):
        assert getattr(later, name) == getattr(journal, name)
    assert (journal.episodes, journal.return_window, journal.solved["update"]) == (12, 490.0, 2)


def test_a_failure_is_written_down_up_to_its_update_and_counts_for_nothing(journal):
    journal.fail(make_chunk(value_loss=np.array([1.0, np.nan, np.nan], np.float32)), Failure(2, "bad", True))
    written = [json.loads(line)["update"] for line in journal.file.getvalue().splitlines()]
    assert written == [1, 2]
    assert journal.last is None
    assert journal.failure.text == "bad"


def test_every_chunk_and_every_evaluation_reaches_the_sinks(journal):
    class Memory:
        def __init__(self):
            self.taken = []

        def write(self, step, values):
            self.taken.append((step, values))

    memory = Memory()
    journal.sinks.working["memory"] = memory
    journal.take(make_chunk(env_steps=np.array([64, 128]), entropy=np.array([0.5, 0.25], np.float32)))
    result = Result(100, True, 0, 21.0, 1.0, 20.0, 19.0, 23.0, 22.0, 0)
    journal.take_evaluation({"greedy": result})
    (step, values), (later, means) = memory.taken
    assert (step, values["train/entropy"]) == (128, 0.25)
    assert (later, means["evaluate/greedy/mean"]) == (128, 21.0)
    row = json.loads(journal.run.evaluations.read_text())
    assert row == {"update": 2, "env_steps": 128, "greedy": result._asdict()}
