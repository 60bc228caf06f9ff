"""Ranks the points of a sweep by the interquartile mean of their seeds."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.host.runs.family import SweepRequest


class Standing(NamedTuple):
    """The result of a point.

    Attributes:
        point: The number of the point.
        scores: The last value of the metric from each seed, [S]; NaN from seeds without one.
        failed: The seeds from which training failed.
        iqm: The interquartile mean of the scores; NaN if no seed has one.
        low: The lower end of its 95 % bootstrap interval.
        high: The upper end.
    """

    point: int
    scores: np.ndarray
    failed: tuple[int, ...]
    iqm: float
    low: float
    high: float


def rank(asked: SweepRequest, scores: Mapping[int, float], failed: Mapping[int, int]) -> list[Standing]:
    """Ranks all points, the best first.

    A seed that failed, or that has no score, counts as the lowest score of the sweep, so that no point wins
    by failing. A point without any score comes last. With successive halving, points that were trained on
    come before those that were not.

    Args:
        asked: The request of the sweep.
        scores: The score of each member that is done; NaN if it has none.
        failed: The update in which a member failed, by the number of the member.
    """
    known = [score for score in scores.values() if np.isfinite(score)]
    lowest = min(known, default=np.nan)
    size = asked.num_seeds
    standings = [
        stand(asked, point, range(point * size, (point + 1) * size), scores, failed, lowest)
        for point in range(len(asked.points))
    ]

    def place(one: Standing) -> tuple[int, bool, float, int]:
        rungs = sum(one.point in left for left in asked.survivors)
        return -rungs, bool(np.isnan(one.iqm)), -one.iqm, one.point

    return sorted(standings, key=place)


def stand(
    asked: SweepRequest,
    point: int,
    members: Sequence[int],
    scores: Mapping[int, float],
    failed: Mapping[int, int],
    lowest: float,
) -> Standing:
    """Sums up the members of a point.

    Args:
        asked: The request of the sweep.
        point: The number of the point.
        members: Its members, one for each seed.
        scores: The score of each member.
        failed: The update in which a member failed.
        lowest: The score that stands in for a missing one.
    """
    found = np.array([scores.get(member, np.nan) for member in members], dtype=float)
    seeds = tuple(asked.seed_of(member) for member in members if member in failed)
    if not np.isfinite(found).any():
        return Standing(point, found, seeds, iqm=np.nan, low=np.nan, high=np.nan)
    band = interval(np.where(np.isfinite(found), found, lowest))
    return Standing(point, found, seeds, float(band.iqm), float(band.low), float(band.high))


def as_json(asked: SweepRequest, standing: Standing) -> dict[str, Any]:
    """Returns a standing as JSON can hold it: None in place of NaN."""

    def plain(number: float) -> float | None:
        return float(number) if np.isfinite(number) else None

    return {
        "point": standing.point,
        "scores": [plain(score) for score in standing.scores],
        "failed_seeds": list(standing.failed),
        "iqm": plain(standing.iqm),
        "low": plain(standing.low),
        "high": plain(standing.high),
    }
