"""Many seeds as one number with an interval, as recommended for reinforcement learning.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

RESAMPLES = 2_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A statistic of several seeds and how sure it is.

    Attributes:
        iqm: Interquartile mean, [...].
        low: Lower end of the 95 % bootstrap interval, [...].
        high: Upper end, [...].
    """

    iqm: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """Returns the interquartile mean: the mean of what is left without the lowest and highest quarter.

    Args:
        scores: One per seed along the axis, [S, ...].
        axis: Of the seeds.
    """
    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: np.ndarray) -> Interval:
    """Returns the interquartile mean of seeds with its percentile bootstrap interval.

    The seeds of one task are its only stratum, so they are resampled together: the columns of one
    resample come from the same seeds.

    Args:
        scores: [S, ...], finite.
    """
    center = iqm(scores)
    generator = np.random.default_rng(0)
    drawn = generator.integers(len(scores), size=(RESAMPLES, len(scores)))
    resampled = iqm(scores[drawn], axis=1)  # [RESAMPLES, ...]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(resampled, (tail, 100 - tail), axis=0)
    return Interval(iqm=center, low=low, high=high)
