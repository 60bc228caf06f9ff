"""Chunks with metrics of one's own choosing."""

import numpy as np

import ppo_jax
from ppo_jax.algorithm.train import ALARMS
from ppo_jax.host.programs.chunks import Chunk
from ppo_jax.host.runs.records import Clock, from_metrics

HEALTHY_STATE = {"params": np.ones(3, np.float32)}


def make_chunk(state=HEALTHY_STATE, **columns):
    """A chunk of as many updates as the columns have rows, healthy where they say nothing else."""
    length = len(next(iter(columns.values())))
    values = {name: np.ones(length, np.float32) for name in ppo_jax.Metrics._fields}
    values |= {name: np.zeros(length, np.int32) for name in ALARMS} | columns
    metrics = ppo_jax.Metrics(**{name: np.asarray(column) for name, column in values.items()})
    return Chunk(state, from_metrics(metrics, length, Clock(1, 0.0, 1.0)), 1.0)
