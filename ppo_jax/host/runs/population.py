"""Population-based training: what is asked for, and what each generation has come to."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ppo_jax.config import Hyperparams
from ppo_jax.host.runs import points
from ppo_jax.host.runs.points import Point, Range

MIN_MEMBERS = 4  # of which a quarter is one


class Population(NamedTuple):
    """Population-based training: after each generation, the worst members copy the best, and explore.

    Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks".

    Attributes:
        generations: The number of generations, G. All of them have about as many updates.
        ranges: The range in which each hyperparameter is searched, by its name.
        episodes: The episodes after each generation whose mean return is the score of a member. All members
            play them with the same random numbers.
    """

    generations: int
    ranges: Mapping[str, Range]
    episodes: int = 8

    def end_of(self, generation: int, num_updates: int) -> int:
        """Returns the updates that are done after a generation, counted from 0, of a run of so many."""
        return (generation + 1) * num_updates // self.generations


class Generation(NamedTuple):
    """The outcome of a generation. After the last one, no member copies another.

    Attributes:
        scores: The score of each member, [L]; None if it failed.
        steps: The environment steps that the members played for their scores.
        parents: The member whose state each member goes on from, [L].
        points: The values that each member goes on with, [L].
    """

    scores: tuple[float | None, ...]
    steps: int
    parents: tuple[int, ...]
    points: tuple[Point, ...]


def problems(population: Population, given: Sequence[Point], num_seeds: int, num_updates: int) -> list[str]:
    """Lists every mistake in what a population is asked to do; an empty list if there is none.

    Args:
        population: The search that is asked for.
        given: The values that each member begins with, [L].
        num_seeds: The number of seeds of each point.
        num_updates: The updates of a member.
    """
    found = [problem for name, one in population.ranges.items() for problem in _range_problems(name, one)]
    if not population.ranges:
        found.append(
            "a population has nothing to search; give a range such as --learning-rate log:1e-4..1e-2"
        )
    if len(given) < MIN_MEMBERS:
        found.append(f"a population of {len(given)} is too small; give at least {MIN_MEMBERS} members")
    if num_seeds != 1:
        found.append("each member of a population has a seed of its own; leave seeds out")
    for name, least in (("generations", 2), ("episodes", 1)):
        count = getattr(population, name)
        if not (isinstance(count, int) and count >= least):
            found.append(f"{name} = {count!r} is not an int of at least {least}; give one such as 10")
        elif name == "generations" and count > num_updates:
            found.append(f"a run has {num_updates} updates, too few for {count} generations; give fewer")
    if found:
        return found
    outside = [point for point in given if not _is_inside(population, point)]
    return [f"{points.describe(point)} is not a value for each range and in it" for point in outside[:1]]


def _range_problems(name: str, one: Any) -> list[str]:
    if name not in Hyperparams._fields:
        why = "decides the program"
        if name.startswith(points.ENV_ARGS):
            why = "decides the task, so that its scores could not be compared"
        return points.name_problems(name) or [
            f"{name} cannot be searched by a population, because it {why}; give it one value"
        ]
    if not isinstance(one, Range) or not all(isinstance(end, int | float) for end in one):
        return [f"{name} = {one!r} is not a range; a population searches a Range, such as 0.9..0.99"]
    if not points.is_in_order(one):
        return [f"{name} = {one} is not a range: its ends have to be finite and in order, for log: positive"]
    return []


def _is_inside(population: Population, point: Point) -> bool:
    ranges = population.ranges
    return point.keys() == ranges.keys() and all(
        isinstance(value, int | float) and ranges[name].low <= value <= ranges[name].high
        for name, value in point.items()
    )


def lineage(generations: Sequence[Generation], member: int) -> list[int]:
    """Returns the member in which the state of a member was in each generation, [G].

    Args:
        generations: The outcome of each generation.
        member: The number of the member after the last one.
    """
    found = [member]
    for one in reversed(generations[:-1]):
        found.append(one.parents[found[-1]])
    return found[::-1]


def points_of(first: Sequence[Point], generations: Sequence[Generation]) -> list[Sequence[Point]]:
    """Returns the values that the members had in each generation, [G, L].

    Args:
        first: The values with which they began, [L].
        generations: The outcome of each generation.
    """
    return [first, *(one.points for one in generations[:-1])]


def to_json(population: Population | None) -> dict[str, Any] | None:
    """Returns what is asked for as JSON can hold it."""
    if population is None:
        return None
    ranges = {name: list(one) for name, one in population.ranges.items()}
    return {**population._asdict(), "ranges": ranges}


def from_json(content: Mapping[str, Any] | None) -> Population | None:
    """Makes a population from what JSON holds."""
    if content is None:
        return None
    ranges = {name: Range(*row) for name, row in content["ranges"].items()}
    return Population(**{**content, "ranges": ranges})


def generation_from_json(row: Mapping[str, Any], count: int) -> Generation:
    """Makes what has come of a generation from what JSON holds.

    Args:
        row: The content.
        count: The members of the population.

    Raises:
        ValueError: If it is not of a population of so many members.
    """
    one = Generation(
        scores=tuple(row["scores"]),
        steps=row["steps"],
        parents=tuple(row["parents"]),
        points=tuple(points.from_json(point) for point in row["points"]),
    )
    if {len(one.scores), len(one.parents), len(one.points)} != {count}:
        raise ValueError("a generation has another number of members")
    if not all(isinstance(parent, int) and 0 <= parent < count for parent in one.parents):
        raise ValueError("a parent is none of the members")
    return one
