"""A sweep on disk: what it was asked for, and the paths of its files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError, closest
from ppo_jax.host.runs import directory, points, population, request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.halving import Halving
from ppo_jax.host.runs.points import Point, Range
from ppo_jax.host.runs.population import Generation, Population
from ppo_jax.host.runs.records import STANDARD
from ppo_jax.host.runs.request import Request
from ppo_jax.validation import MAX_SEED

MAX_MEMBERS = 1_000_000
MAX_UPDATES = 2**31 - 1
DEFAULT_METRIC = "return_window"
_NOT_RANKED = ("update", "seconds", "env_steps")  # the same for all members


class SweepDirectory(RunDirectory):
    """The paths in the directory of a sweep.

    Attributes:
        config: The request (see `SweepRequest`).
        blocks: The final states of the blocks of members that are done.
        members: The members that were opened like runs.
        report: The page about the sweep.
    """

    config = property(lambda sweep: sweep.path / "sweep.json")
    blocks = property(lambda sweep: sweep.path / "blocks")
    members = property(lambda sweep: sweep.path / "members")
    report = property(lambda sweep: sweep.path / "report.html")

    def metrics_of(self, group: int) -> Path:
        """The file of the metrics of a group (see `tables`)."""
        return self.path / f"metrics-{group}.npy"


class SweepRequest(NamedTuple):
    """Everything that a sweep is asked to do.

    Attributes:
        base: The request that all members share, except for their values and seeds. Its seed is the first.
        points: The values of each point.
        num_seeds: The number of seeds of each point, S.
        metric: The metric whose last value ranks the points; the largest is best.
        block_size: The most members that are trained at the same time; None for as many as fit.
        block_sizes: How many are, in each group; empty before that is decided.
        winner: The number of the best point; None before it is known. It is trained again from as many
            other seeds, as further members, because the best of many has also been lucky.
        halving: The rungs of successive halving; None if every point is trained to the end.
        survivors: The points that are left after each rung that is done.
        population: The search of population-based training, whose members begin at the points; None without.
        generations: The outcome of each generation of the population that is done.
    """

    base: Request
    points: tuple[Point, ...]
    num_seeds: int
    metric: str = DEFAULT_METRIC
    block_size: int | None = None
    block_sizes: tuple[int, ...] = ()
    winner: int | None = None
    halving: Halving | None = None
    survivors: tuple[tuple[int, ...], ...] = ()
    population: Population | None = None
    generations: tuple[Generation, ...] = ()

    @property
    def num_rungs(self) -> int:
        """The rungs of the sweep; 1 without successive halving."""
        return self.halving.rungs if self.halving else 1

    @property
    def num_members(self) -> int:
        """The members of the sweep: every point from every seed."""
        return len(self.points) * self.num_seeds

    @property
    def varied(self) -> list[str]:
        """The names whose values differ between points."""
        names = dict.fromkeys(name for point in self.points for name in point)
        return [name for name in names if len({repr(point.get(name)) for point in self.points}) > 1]

    @property
    def latest_points(self) -> tuple[Point, ...]:
        """The values of each point now, which those of a population change."""
        return self.generations[-1].points if self.generations else self.points

    def seed_of(self, member: int) -> int:
        """Returns the seed of a member; those of further members come after all others."""
        if self.population is not None:
            return self.base.seed + member
        if member < self.num_members:
            return self.base.seed + member % self.num_seeds
        return self.base.seed + self.num_seeds + member - self.num_members

    def point_of(self, member: int) -> int:
        """Returns the number of the point of a member."""
        if member < self.num_members:
            return member // self.num_seeds
        assert self.winner is not None
        return self.winner

    def member(self, number: int) -> Request:
        """Returns the request of the run that a member is."""
        applied = points.apply(self.base, self.latest_points[self.point_of(number)])
        return applied._replace(seed=self.seed_of(number))


def check(asked: SweepRequest, environment: object = None) -> None:
    """Finds every mistake in what a sweep is asked to do, before JAX is imported.

    Args:
        asked: The request of the sweep.
        environment: Anything but None if the name of the environment need not be known (see `validate`).

    Raises:
        UsageError: With all mistakes; those of a point begin with its values.
    """
    problems = []
    if not asked.points:
        problems.append("there is no point to train; give at least one value for each name")
    if not (isinstance(asked.num_seeds, int) and asked.num_seeds >= 1):
        problems.append(f"seeds = {asked.num_seeds!r} is not an int of at least 1; give one such as 8")
    elif asked.base.seed + _num_seeds(asked) - 1 > MAX_SEED:
        problems.append(
            f"seed = {asked.base.seed} with {asked.num_seeds} seeds exceeds {MAX_SEED}; lower one"
        )
    elif asked.num_members > MAX_MEMBERS:
        problems.append(f"the sweep has {asked.num_members:,} members; give at most {MAX_MEMBERS:,}")
    size = asked.block_size
    if size is not None and not (isinstance(size, int) and size >= 1):
        problems.append(f"block_size = {size!r} is not an int of at least 1; give one such as 64, or none")
    problems += _halving_problems(asked)
    problems += _population_problems(asked)
    if asked.winner is not None and not 0 <= asked.winner < len(asked.points):
        problems.append(f"winner = {asked.winner} is none of the points")
    env, known = asked.base.config.env, [name for name in STANDARD if name not in _NOT_RANKED]
    is_users = registry.is_reference(env) or env not in registry.ENVIRONMENTS  # with metrics of its own
    if asked.metric not in known and not is_users:
        problems.append(f"metric = {asked.metric!r} does not exist; {closest(str(asked.metric), known)}")
    if asked.base.options.log_to:
        problems.append("log_to is not for sweeps, whose members have no services; leave it out")
    problems += _point_problems(asked, environment)
    if problems:
        raise UsageError(problems)


def _num_seeds(asked: SweepRequest) -> int:
    """Returns how many seeds a sweep takes, with those of the members that train the best point again."""
    return len(asked.points) if asked.population else 2 * asked.num_seeds


def _halving_problems(asked: SweepRequest) -> list[str]:
    if asked.halving is None:
        return []
    rungs, eta = asked.halving
    if not (isinstance(rungs, int) and isinstance(eta, int) and rungs >= 2 and 2 <= eta <= 100):
        return [f"rungs = {rungs!r} with eta = {eta!r} cannot be climbed; give at least 2 for both"]
    if len(asked.points) < eta ** (rungs - 1):
        return [
            f"there are {len(asked.points)} points, but {rungs} rungs with eta = {eta} need at least "
            f"{eta ** (rungs - 1)}; give more points, or fewer rungs"
        ]
    if asked.base.config.num_updates < eta ** (rungs - 1):
        return [f"a run has {asked.base.config.num_updates} updates, too few for {rungs} rungs; give fewer"]
    return []


def _population_problems(asked: SweepRequest) -> list[str]:
    if asked.population is None:
        return []
    problems = population.problems(
        asked.population, asked.points, asked.num_seeds, asked.base.config.num_updates
    )
    others = {"halving": asked.halving, "block_size": asked.block_size}
    problems += [
        f"{name} = {value} is not for a population, whose members are all trained at once; leave it out"
        for name, value in others.items()
        if value is not None
    ]
    if asked.metric != DEFAULT_METRIC:
        problems.append(f"metric = {asked.metric!r} is not for a population, whose score is the return")
    return problems


def _point_problems(asked: SweepRequest, environment: object) -> list[str]:
    """Lists the mistakes of all points, each once."""
    problems: dict[str, None] = {}
    # The members of a population stay between the ends of its ranges.
    ranges = asked.population.ranges if asked.population else {}
    searched = {name: one for name, one in ranges.items() if isinstance(one, Range)}
    ends = [{name: end} for name, one in searched.items() if name in Hyperparams._fields for end in one[:2]]
    for point in ends if asked.population else asked.points:
        try:
            one = points.apply(asked.base, point)
            request.check(one, environment)
            _check_length(one.config)
        except UsageError as error:
            problems.update(dict.fromkeys(error.problems))
        except TypeError as error:
            problems[f"{points.describe(point)}: {error}"] = None
    return list(problems)


def _check_length(config: Config) -> None:
    """Makes sure that the file of metrics, which has room for every update, can be made."""
    if config.num_updates > MAX_UPDATES:
        raise UsageError(
            f"total_timesteps = {config.total_timesteps} is {config.num_updates} updates, and a sweep has "
            f"room for the metrics of {MAX_UPDATES}; give fewer, or train single runs"
        )


def digest(asked: SweepRequest) -> str:
    """Returns the SHA-256 of everything that decides the results of a sweep."""
    content = {
        "base": request.digest(asked.base),
        "total_timesteps": asked.base.config.total_timesteps,
        "halving": asked.halving,
        "population": population.to_json(asked.population),
        "points": [points.to_json(point) for point in asked.points],
        "num_seeds": asked.num_seeds,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def to_json(asked: SweepRequest) -> dict[str, Any]:
    """Returns the content of `sweep.json`."""
    return {
        **request.to_json(asked.base),
        "points": [points.to_json(point) for point in asked.points],
        "num_seeds": asked.num_seeds,
        "metric": asked.metric,
        "block_size": asked.block_size,
        "block_sizes": list(asked.block_sizes),
        "winner": asked.winner,
        "halving": asked.halving and asked.halving._asdict(),
        "survivors": [list(points) for points in asked.survivors],
        "population": population.to_json(asked.population),
        "generations": [one._asdict() for one in asked.generations],
    }


def from_json(content: Mapping[str, Any]) -> SweepRequest:
    """Makes the request of a sweep from the content of `sweep.json`, without trusting it.

    Raises:
        UsageError: If it is not a valid request, or one of a newer version.
    """
    base = request.from_json(content)
    try:
        asked = SweepRequest(
            base=base,
            points=tuple(points.from_json(row) for row in content["points"]),
            num_seeds=content["num_seeds"],
            metric=content["metric"],
            block_size=content["block_size"],
            block_sizes=tuple(content["block_sizes"]),
            winner=content["winner"],
            halving=Halving(**content["halving"]) if content["halving"] else None,
            survivors=tuple(tuple(some) for some in content["survivors"]),
            population=population.from_json(content["population"]),
            generations=tuple(
                population.generation_from_json(row, len(content["points"])) for row in content["generations"]
            ),
        )
        check(asked, environment=base.config.env)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"sweep.json does not say what to train: {error}; it is damaged") from error
    return asked


def is_sweep(path: Path) -> bool:
    """Whether a directory is that of a sweep."""
    return SweepDirectory(path).config.is_file()


def open_existing(path: Path) -> SweepDirectory:
    """Opens the directory of an earlier sweep.

    Raises:
        UsageError: If it is not the directory of a sweep.
    """
    opened = directory.open_existing(path, SweepDirectory)
    assert isinstance(opened, SweepDirectory)
    return opened


def open_plain(path: Path) -> RunDirectory:
    """Opens the directory of a run, which is not a sweep.

    Raises:
        UsageError: If it is a sweep, or not the directory of a run.
    """
    if is_sweep(path):
        raise UsageError(
            f"RUN = '{path}' is a sweep; give one of its members, such as {path}/members/0 "
            "(`ppo-jax report` also takes a sweep)"
        )
    return directory.open_existing(path)


def read(sweep: SweepDirectory) -> SweepRequest:
    """Reads the `sweep.json` of a sweep.

    Raises:
        UsageError: If it does not hold a valid request.
    """
    return from_json(read_json(sweep.config))


def member_number(path: Path) -> int | None:
    """Returns the number of the member that a path names, such as SWEEP/members/7; None if it names none."""
    is_member = path.parent.name == "members" and path.name.isdecimal() and is_sweep(path.parent.parent)
    return int(path.name) if is_member else None
