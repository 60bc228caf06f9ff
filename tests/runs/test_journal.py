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
    values = {name: np.ones(length, np.float32) for name in ppo_jax.Metrics._fields}
    values |= {"dead_ends": np.zeros(length, np.int32)} | columns
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
    assert journal.failure.startswith(f"diverged: {name} is not finite at update 2; lower --learning-rate")


def test_states_without_a_legal_action_are_an_error_of_the_environment(journal):
    journal.take(_chunk(dead_ends=np.array([0, 0, 7, 9], np.int32)))
    assert journal.failure == (
        "error of the environment: it allowed no action in 7 of the states of update 3; "
        "correct its legal_actions"
    )


def test_what_went_wrong_first_is_the_failure(journal):
    losses = np.array([1.0, np.nan, 1.0], np.float32)
    journal.take(_chunk(value_loss=losses, dead_ends=np.array([0, 0, 7], np.int32)))
    assert "at update 2" in journal.failure


def test_a_training_that_is_well_has_no_failure(journal):
    journal.take(_chunk(return_window=np.full(3, np.nan, np.float32)))
    assert journal.failure == ""


def test_a_return_of_0_can_be_a_solution():
    journal = Journal(io.StringIO(), QuietScreen(1000, -100.0), -100.0)
    journal.take(_chunk(return_window=np.array([-101.0, 0.0], np.float32)))
    assert journal.solved["update"] == 2
