import io

import numpy as np
import pytest

import ppo_jax
from ppo_jax.runs.journal import ALWAYS_FINITE, Journal
from ppo_jax.runs.program import Chunk
from ppo_jax.runs.records import Clock, from_metrics
from ppo_jax.runs.screen import QuietScreen


@pytest.fixture
def journal():
    return Journal(io.StringIO(), QuietScreen(1000, 475.0), 475.0)


def _chunk(**columns):
    length = len(next(iter(columns.values())))
    values = {name: np.ones(length, np.float32) for name in ppo_jax.Metrics._fields} | columns
    metrics = ppo_jax.Metrics(**{name: np.asarray(column) for name, column in values.items()})
    records = from_metrics(metrics, length, Clock(1, 0.0, 1.0))
    return Chunk(None, records, 1.0)


def test_the_first_update_that_reaches_the_mark_is_the_one_that_solved(journal):
    returns = np.array([np.nan, 474.9, 475.0, 480.0], np.float32)
    journal.take(_chunk(return_window=returns, env_steps=np.arange(4) * 10))
    journal.take(_chunk(return_window=np.full(4, 500, np.float32)))
    assert journal.solved["update"] == 3
    assert journal.solved["env_steps"] == 20


@pytest.mark.parametrize("name", ALWAYS_FINITE)
def test_a_metric_that_is_not_finite_is_a_divergence(journal, name):
    journal.take(_chunk(**{name: np.array([1.0, np.inf, np.nan], np.float32)}))
    assert journal.diverged["update"] == 2


def test_a_return_of_0_can_be_a_solution():
    journal = Journal(io.StringIO(), QuietScreen(1000, -100.0), -100.0)
    journal.take(_chunk(return_window=np.array([-101.0, 0.0], np.float32)))
    assert journal.solved["update"] == 2
