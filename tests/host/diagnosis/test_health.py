"""Readings of planted metrics: every verdict of every rule can be reached, and says what it is about."""

import dataclasses
import math
import re

import numpy as np
import pytest

import ppo_jax
from ppo_jax.host.diagnosis import health, history
from ppo_jax.host.diagnosis.health import BAD, HEALTHY, LOOK, RULES, UNKNOWN, read

U = 200
CONFIG = dataclasses.replace(ppo_jax.Config(), env="Pendulum-v1")  # no mark at which it is solved
RISING = np.linspace(0.0, 100.0, U)
WELL = {
    **dict.fromkeys(ppo_jax.Metrics._fields, np.zeros(U)),
    "update": np.arange(1.0, U + 1),
    "episodes": np.ones(U),
    "episode_return": RISING,
    "return_window": RISING,
    "entropy": np.linspace(0.7, 0.3, U),
    "approx_kl": np.full(U, 0.01),
    "clip_fraction": np.full(U, 0.1),
    "explained_variance": np.full(U, 0.8),
    "value_loss": np.ones(U),
    "grad_norm": np.ones(U),
    "num_epochs": np.full(U, CONFIG.num_epochs),
    "learning_rate": np.full(U, 1e-3),
}
NOISE = np.random.default_rng(0).normal(size=U)
NOTHING = np.full(U, np.nan)


def late(value, usual):
    """A column that is as usual, but for the last updates."""
    return np.where(np.arange(U) < U - history.LATELY, usual, value)


PLANTED = [
    ("return_window", HEALTHY, {}, {}),
    ("return_window", HEALTHY, {"return_window": np.full(U, 480.0)}, {"env": "CartPole-v1"}),
    ("return_window", LOOK, {"episode_return": NOISE}, {}),
    ("return_window", LOOK, {"episode_return": late(60.0, RISING)}, {}),
    ("return_window", BAD, {"episode_return": late(10.0, RISING)}, {}),
    ("return_window", BAD, {"episode_return": RISING[::-1]}, {}),
    ("return_window", LOOK, {"episode_return": NOTHING, "episodes": np.zeros(U)}, {}),
    ("return_window", UNKNOWN, {"episode_return": np.where(np.arange(U) < 5, 1.0, np.nan)}, {}),
    ("clip_fraction", HEALTHY, {}, {}),
    ("clip_fraction", LOOK, {"clip_fraction": np.full(U, 0.04)}, {}),
    ("clip_fraction", LOOK, {"clip_fraction": np.full(U, 0.31)}, {}),
    ("clip_fraction", BAD, {"clip_fraction": np.full(U, 0.41)}, {}),
    ("clip_fraction", BAD, {"clip_fraction": np.full(U, 0.31), "approx_kl": np.full(U, 1e-5)}, {}),
    ("clip_fraction", UNKNOWN, {}, {"objective": "unclipped"}),
    ("clip_fraction", UNKNOWN, {"value_loss": late(np.nan, 1.0)}, {}),
    ("entropy", HEALTHY, {}, {}),
    ("entropy", LOOK, {"entropy": late(0.01, 0.7)}, {}),
    ("entropy", LOOK, {"entropy": np.full(U, 0.7)}, {}),
    ("entropy", BAD, {"entropy": late(0.01, 0.7), "episode_return": NOISE}, {}),
    ("entropy", UNKNOWN, {"entropy": np.linspace(1, -1, U)}, {}),
    ("entropy", UNKNOWN, {"entropy": NOTHING}, {}),
    ("approx_kl", HEALTHY, {}, {}),
    ("approx_kl", LOOK, {"approx_kl": np.zeros(U)}, {}),
    ("approx_kl", LOOK, {"approx_kl": np.full(U, 0.05)}, {}),
    ("approx_kl", BAD, {"approx_kl": np.full(U, 0.5)}, {}),
    ("explained_variance", HEALTHY, {}, {}),
    ("explained_variance", LOOK, {"explained_variance": np.full(U, 0.2)}, {}),
    ("explained_variance", BAD, {"explained_variance": np.full(U, -0.1)}, {}),
    ("explained_variance", UNKNOWN, {"explained_variance": NOTHING}, {}),
    ("explained_variance", UNKNOWN, {"explained_variance": late(-3, 0.8), "value_loss": late(1e-6, 1.0)}, {}),
    ("value_loss", HEALTHY, {}, {}),
    ("value_loss", LOOK, {"value_loss": late(20.0, 1.0)}, {}),
    ("value_loss", BAD, {"policy_loss": late(np.nan, 0.0)}, {}),
    ("grad_norm", HEALTHY, {}, {}),
    ("grad_norm", LOOK, {"grad_norm": np.where(np.arange(U) == U - 1, 30.0, 1.0)}, {}),
    ("clamp_fraction", HEALTHY, {}, {}),
    ("clamp_fraction", LOOK, {"clamp_fraction": np.where(np.arange(U) == 1, 1e-4, 0)}, {}),
    ("clamp_fraction", BAD, {"clamp_fraction": np.where(np.arange(U) == 1, 0.1, 0)}, {}),
    ("num_epochs", HEALTHY, {"num_epochs": np.full(U, 3.0)}, {}),
    ("num_epochs", LOOK, {"num_epochs": np.full(U, 1.0)}, {}),
    ("dead_ends", HEALTHY, {}, {}),
    ("dead_ends", BAD, {"dead_ends": np.arange(U) == 7}, {}),
    ("nonfinite_observations", HEALTHY, {}, {}),
    ("nonfinite_observations", BAD, {"nonfinite_observations": np.arange(U) == 7}, {}),
    ("nonfinite_rewards", HEALTHY, {}, {}),
    ("nonfinite_rewards", BAD, {"nonfinite_rewards": np.arange(U) == 7}, {}),
]


def planted(columns, fields):
    return read({**WELL, **columns}, dataclasses.replace(CONFIG, **fields))


@pytest.mark.parametrize(("metric", "verdict", "columns", "fields"), PLANTED)
def test_planted_metrics_get_the_verdict_they_deserve(metric, verdict, columns, fields):
    assert planted(columns, fields)[metric].verdict == verdict


def test_every_level_of_every_rule_can_be_reached():
    reached = {planted(columns, fields)[metric].meaning for metric, _, columns, fields in PLANTED}
    reached |= {reading.meaning for reading in _first_updates(5).values()}
    written = {level.meaning for rule in RULES for level in rule.levels}
    assert not written - reached


def test_a_healthy_training_gets_no_advice():
    readings = read(WELL, CONFIG)
    assert {reading.verdict for reading in readings.values()} == {HEALTHY}
    assert not any(reading.advice for reading in readings.values())


def test_all_advice_names_flags_that_there_are():
    advice = " ".join(f"{level.advice} {level.meaning}" for rule in RULES for level in rule.levels)
    flags = {flag.replace("-", "_") for flag in re.findall(r"--([a-z-]+)", advice)}
    assert flags
    assert flags <= {*dataclasses.asdict(CONFIG), *ppo_jax.Hyperparams._fields}


def test_the_reading_says_the_number_and_the_updates_it_is_of():
    clip_fraction = late(0.41, 0.1)
    assert (
        planted({"clip_fraction": clip_fraction}, {})["clip_fraction"].value
        == "0.41 over the last 30 updates"
    )


def test_the_size_of_steps_is_judged_before_the_schedule_has_made_them_small():
    rate = np.linspace(1, 0, U)
    columns = {"learning_rate": rate, "approx_kl": np.where(rate >= 0.5, 0.5, 1e-4)}
    reading = planted(columns, {})["approx_kl"]
    assert reading.verdict == BAD
    assert reading.value == "0.5 nats over the last 30 updates before the learning rate had halved"
    assert planted(columns, {"learning_rate_schedule": "adaptive_kl"})["approx_kl"].verdict == HEALTHY


def _first_updates(count):
    return read({name: np.asarray(column)[:count] for name, column in WELL.items()}, CONFIG)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_updates_are_not_judged_by_their_trend(count):
    readings = _first_updates(count)
    assert readings["return_window"].verdict == readings["explained_variance"].verdict == UNKNOWN


def test_metrics_that_a_run_lacks_are_left_out():
    columns = {name: column for name, column in WELL.items() if name != "nonfinite_rewards"}
    assert set(read(WELL, CONFIG)) - set(read(columns, CONFIG)) == {"nonfinite_rewards"}


@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0, -1.0])
def test_no_numbers_make_a_reading_fail(value):
    columns = dict.fromkeys(WELL, np.full(U, value)) | {"learning_rate": WELL["learning_rate"]}
    assert {reading.verdict for reading in read(columns, CONFIG).values()} <= set(health.VERDICTS)
