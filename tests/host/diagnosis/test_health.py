"""Readings of planted metrics."""

import math

import numpy as np
import pytest

from ppo_jax.host.diagnosis import verdicts
from ppo_jax.host.diagnosis.health import read
from ppo_jax.host.diagnosis.verdicts import HEALTHY, UNKNOWN
from tests.host.diagnosis.planted import CONFIG, PLANTED, WELL, U, late, read_first_updates, read_planted


@pytest.mark.parametrize(("metric", "verdict", "columns", "fields"), PLANTED)
def test_planted_metrics_get_the_verdict_they_should(metric, verdict, columns, fields):
    assert read_planted(columns, fields)[metric].verdict == verdict


def test_a_healthy_run_gets_no_advice():
    readings = read(WELL, CONFIG)
    assert {reading.verdict for reading in readings.values()} == {HEALTHY}
    assert not any(reading.advice for reading in readings.values())


def test_a_reading_names_the_number_and_the_updates_it_was_measured_over():
    reading = read_planted({"clip_fraction": late(0.41, 0.1)}, {})["clip_fraction"]
    assert reading.value == "0.41 over the last 30 updates"


@pytest.mark.parametrize("count", [1, 2, 5])
def test_a_few_updates_are_not_judged_by_their_trend(count):
    readings = read_first_updates(count)
    assert readings["return_window"].verdict == readings["explained_variance"].verdict == UNKNOWN


def test_metrics_that_a_run_lacks_are_left_out():
    columns = {name: column for name, column in WELL.items() if name != "nonfinite_rewards"}
    assert set(read(WELL, CONFIG)) - set(read(columns, CONFIG)) == {"nonfinite_rewards"}


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_reading_never_fails_whatever_the_numbers_are(value):
    columns = dict.fromkeys(WELL, np.full(U, value)) | {"learning_rate": WELL["learning_rate"]}
    assert {reading.verdict for reading in read(columns, CONFIG).values()} <= set(verdicts.VERDICTS)
