"""The metrics of a healthy run, and changes that make each rule of the table apply."""

import dataclasses

import numpy as np

import ppo_jax
from ppo_jax.host.diagnosis.health import read
from ppo_jax.host.diagnosis.history import RECENT
from ppo_jax.host.diagnosis.verdicts import BAD, HEALTHY, LOOK, UNKNOWN

U = 200
CONFIG = dataclasses.replace(ppo_jax.Config(), env="Pendulum-v1")  # never counts as solved
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
    """A column with its usual value, except in the recent updates."""
    return np.where(np.arange(U) < U - RECENT, usual, value)


# Metric, its verdict, changed columns, changed configuration.
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
    ("repeated_starts", HEALTHY, {"repeated_starts": np.zeros(U)}, {}),
    ("repeated_starts", LOOK, {"repeated_starts": np.arange(U) == 7}, {}),
    ("nonfinite_observations", HEALTHY, {}, {}),
    ("nonfinite_observations", BAD, {"nonfinite_observations": np.arange(U) == 7}, {}),
    ("nonfinite_rewards", HEALTHY, {}, {}),
    ("nonfinite_rewards", BAD, {"nonfinite_rewards": np.arange(U) == 7}, {}),
]


def read_planted(columns, fields):
    """The readings of the healthy run with other columns and another configuration."""
    return read({**WELL, **columns}, dataclasses.replace(CONFIG, **fields))


def read_first_updates(count):
    """The readings of the first updates of the healthy run."""
    return read({name: np.asarray(column)[:count] for name, column in WELL.items()}, CONFIG)
