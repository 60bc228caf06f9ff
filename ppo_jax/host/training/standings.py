"""The results of a sweep so far, and how they are told."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from ppo_jax.host.diagnosis.ranking import Standing
from ppo_jax.host.monitor.screen import Rows
from ppo_jax.host.runs import points
from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.layout import Block
from ppo_jax.host.runs.members import Saved

SHOWN_POINTS = 5  # points on the screen


@dataclasses.dataclass
class Results:
    """The results of a sweep so far.

    Attributes:
        scores: The newest value of the ranking metric of each member; NaN without one.
        failed: The update in which a member failed, by the number of the member.
        steps: The environment steps of the members of each block, by its number.
        seconds: The seconds of training of each block.
        compile_seconds: The seconds that compiling took.
        finished: The numbers of the blocks that are done.
    """

    scores: dict[int, float] = dataclasses.field(default_factory=dict)
    failed: dict[int, int] = dataclasses.field(default_factory=dict)
    steps: dict[int, int] = dataclasses.field(default_factory=dict)
    seconds: dict[int, float] = dataclasses.field(default_factory=dict)
    compile_seconds: float = 0.0
    finished: set[int] = dataclasses.field(default_factory=set)

    @property
    def total_steps(self) -> int:
        """Environment steps of all members."""
        return sum(self.steps.values())

    @property
    def total_seconds(self) -> float:
        """Seconds of training of all blocks."""
        return sum(self.seconds.values())

    def take(self, block: Block, saved: Saved, update: int, seconds: float) -> None:
        """Takes note of where the members of a block are.

        Args:
            block: The block.
            saved: Its members; their states are not looked at.
            update: The updates that are done.
            seconds: The seconds that they took.
        """
        self.steps[block.number] = update * block.group.base.config.batch_size * block.num_members
        self.seconds[block.number] = seconds
        for lane, place in enumerate(block.places):
            member = block.group.members[place]
            self.scores[member] = float(saved.score[lane]) if saved.has_score[lane] else np.nan
            self.failed.pop(member, None)  # a member of a population that failed copies another
            if saved.failed[lane]:
                self.failed[member] = int(saved.failed[lane])


def best_rows(asked: SweepRequest, results: Results) -> Rows:
    """Returns the best points so far, with their scores, for the screen."""
    done = {member: score for member, score in results.scores.items() if member < asked.num_members}
    by_point: dict[int, list[float]] = {}
    for member, score in done.items():
        by_point.setdefault(asked.point_of(member), []).append(score)
    means = {point: float(np.nanmean(x)) if np.isfinite(x).any() else np.nan for point, x in by_point.items()}
    best = sorted(means, key=lambda point: (np.isnan(means[point]), -means[point]))[:SHOWN_POINTS]
    counts = {point: sum(asked.point_of(x) == point for x in results.failed if x in done) for point in best}
    return [
        (
            points.describe(asked.latest_points[point]),
            "-" if np.isnan(means[point]) else f"{means[point]:.1f}",
            f"{len(by_point[point])} seeds{f', {counts[point]} failed' if counts[point] else ''}",
        )
        for point in best
    ]


def scores_of(asked: SweepRequest, results: Results) -> dict[int, float]:
    """Returns the scores that rank the points: those of the last generation, if there is a population."""
    if not asked.generations:
        return results.scores
    scores = asked.generations[-1].scores
    return {member: np.nan if score is None else score for member, score in enumerate(scores)}


def describe(
    asked: SweepRequest, standings: list[Standing], again: Standing | None, results: Results
) -> Iterator[str]:
    """Describes the ranking of a finished sweep, line by line."""
    if asked.population is not None:
        yield f"mean return of {asked.population.episodes} episodes after the last generation"
    else:
        yield f"{asked.metric} at the end: interquartile mean over {asked.num_seeds} seeds, and 95 % interval"
    for place, one in enumerate(standings[:SHOWN_POINTS], 1):
        failed = f", {len(one.failed)} failed" if one.failed else ""
        yield f"{place:3}. {interval_of(one)}  {points.describe(asked.latest_points[one.point])}{failed}"
    if len(standings) > SHOWN_POINTS:
        yield f"     and {len(standings) - SHOWN_POINTS} more points, in summary.json"
    if again is not None:
        yield f"the best point from {asked.num_seeds} other seeds: {interval_of(again)}"
    steps, seconds = results.total_steps, results.total_seconds
    yield f"trained {steps:,} steps in {seconds:.1f} s ({steps / seconds:,.0f} steps/s)"


def interval_of(one: Standing) -> str:
    """Returns the score of a point with its interval, in words."""
    if np.isnan(one.iqm):
        return "no score"
    return f"{one.iqm:.1f} [{one.low:.1f}, {one.high:.1f}]" if len(one.scores) > 1 else f"{one.iqm:.1f}"
