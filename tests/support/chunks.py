"""Records of a chunk of updates with metrics of one's own choosing."""

import numpy as np

from ppo_jax.algorithm.metrics import ALARMS, Metrics
from ppo_jax.host.runs.records import Clock, Record, from_metrics


def make_records(**columns) -> list[Record]:
    """One record per row of the columns, healthy wherever the columns say nothing else."""
    length = len(next(iter(columns.values())))
    values = {name: np.ones(length, np.float32) for name in Metrics._fields}
    values |= {name: np.zeros(length, np.int32) for name in ALARMS} | columns
    metrics = Metrics(**{name: np.asarray(column) for name, column in values.items()})
    return from_metrics(metrics, length, Clock(first_update=1, start=0.0, end=1.0))
