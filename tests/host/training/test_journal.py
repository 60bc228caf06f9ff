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
from tests.support.chunks import make_records


def make_journal(path, mark):
    return Journal(
        run=RunDirectory(path),
        file=io.StringIO(),
        screen=QuietScreen(1000, mark),
        sinks=Sinks(print),
        solved_return=mark,
    )


@pytest.fixture
def journal(tmp_path):
    return make_journal(tmp_path, 475.0)


def take(journal, records):
    journal.take(records, steps_per_second=1.0)


def test_the_first_update_that_reaches_the_mark_is_the_one_that_solved(journal):
    returns = np.array([np.nan, 474.9, 475.0, 480.0], np.float32)
    take(journal, make_records(return_window=returns, env_steps=np.arange(4) * 10))
    take(journal, make_records(return_window=np.full(4, 500, np.float32)))
    assert journal.solved["update"] == 3
    assert journal.solved["env_steps"] == 20


def test_a_return_of_0_can_be_a_solution(tmp_path):
    journal = make_journal(tmp_path, -100.0)
    take(journal, make_records(return_window=np.array([-101.0, 0.0], np.float32)))
    assert journal.solved["update"] == 2


def test_records_that_are_recalled_count_like_those_that_were_taken(journal, tmp_path):
    first = make_records(return_window=np.array([np.nan, 480.0], np.float32), episodes=np.array([3, 4]))
    second = make_records(return_window=np.array([490.0], np.float32), episodes=np.array([5]))
    take(journal, first)
    take(journal, second)
    later = make_journal(tmp_path, 475.0)
    later.recall(first)
    take(later, second)
    for name in ("last", "solved", "episodes", "return_window", "seconds"):
        assert getattr(later, name) == getattr(journal, name)
    assert (journal.episodes, journal.return_window, journal.solved["update"]) == (12, 490.0, 2)


def test_a_failure_is_written_down_up_to_its_update_and_counts_for_nothing(journal):
    records = make_records(value_loss=np.array([1.0, np.nan, np.nan], np.float32))
    journal.fail(records, Failure(2, "bad", is_nonfinite=True))
    written = [json.loads(line)["update"] for line in journal.file.getvalue().splitlines()]
    assert written == [1, 2]
    assert journal.last is None
    assert journal.failure.text == "bad"


class Heard:
    """A sink that keeps what it is given."""

    view = "nowhere"

    def __init__(self):
        self.written = []

    def write(self, step, values):
        self.written.append((step, values))


def test_every_chunk_and_every_evaluation_reaches_the_sinks(journal):
    sink = Heard()
    journal.sinks.working["wandb"] = sink
    take(journal, make_records(env_steps=np.array([64, 128]), entropy=np.array([0.5, 0.25], np.float32)))
    result = Result(100, True, 0, 21.0, 1.0, 20.0, 19.0, 23.0, 22.0, 0)
    journal.take_evaluation({"greedy": result})
    (first, _), (step, values), (later, means) = sink.written
    assert (first, step, values["train/entropy"]) == (64, 128, 0.25)
    assert (later, means["evaluate/greedy/mean"]) == (128, 21.0)
    row = json.loads(journal.run.evaluations.read_text())
    assert row == {"update": 2, "env_steps": 128, "greedy": result._asdict()}


def test_sinks_get_every_update_of_a_chunk_each_as_many_as_it_takes(journal):
    """They once got the last of a chunk alone, in which most often no episode ends."""
    every, some = Heard(), Heard()
    journal.sinks.working.update(tensorboard=every, wandb=some)
    ended = np.where(np.arange(40) % 10 == 0, 1, 0)
    returns = np.where(ended, 7, np.nan).astype(np.float32)
    take(journal, make_records(env_steps=np.arange(40), episodes=ended, episode_return=returns))
    assert [step for step, _ in every.written] == list(range(40))
    assert sum("train/episode_return" in values for _, values in every.written) == 4
    assert len(some.written) == 16
    assert sum("train/episode_return" in values for _, values in some.written) == 4
    assert sum(values["train/episodes"] for _, values in some.written) == 4
