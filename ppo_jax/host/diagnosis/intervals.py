"""Sums up many seeds in one number with a confidence interval, as recommended for reinforcement learning.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from typing import NamedTuple

import numpy as np

RESAMPLES = 2_000
CONFIDENCE = 0.95


class Interval(NamedTuple):
    """A statistic of several seeds and its uncertainty.

    Attributes:
        iqm: The interquartile mean, [...].
        low: The lower end of the 95 % bootstrap interval, [...].
        high: The upper end, [...].
    """

    iqm: np.ndarray
    low: np.ndarray
    high: np.ndarray


def iqm(scores: np.ndarray, axis: int = 0) -> np.ndarray:
    """Returns the interquartile mean: the mean without the lowest and the highest quarter.

    Args:
        scores: One score per seed along the axis, [S, ...].
        axis: The axis of the seeds.
    """
    from scipy import stats  # takes most of a second to import, and pictures of one run do without

    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: np.ndarray) -> Interval:
    """Returns the interquartile mean of seeds with its percentile bootstrap interval.

    The seeds of one task are its only stratum, so they are resampled together: the columns of one
    resample come from the same seeds. A single seed gives an interval of length 0.

    Args:
        scores: One score per seed, [S, ...], finite.
    """
    center = iqm(scores)
    if len(scores) == 1:
        return Interval(iqm=center, low=center, high=center)
    from scipy import stats

    # `bootstrap` resamples whole rows, since it applies the same indices to every column.
    result = stats.bootstrap(
        (scores,),
        iqm,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return Interval(iqm=center, low=result.confidence_interval.low, high=result.confidence_interval.high)
