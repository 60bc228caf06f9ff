"""A sweep on disk: what it was asked for, and the paths of its files."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError, closest
from ppo_jax.host.runs import directory, points, request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.halving import Halving
from ppo_jax.host.runs.points import Point
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

    def seed_of(self, member: int) -> int:
        """Returns the seed of a member; those of further members come after all others."""
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
        applied = points.apply(self.base, self.points[self.point_of(number)])
        return applied._replace(seed=self.seed_of(number))


class Group(NamedTuple):
    """Members that share a compiled program.

    Attributes:
        number: The number of the group.
        base: The request of the first member.
        members: The numbers of the members.
        traced: The parameters of the environment in which members of the group may differ.
    """

    number: int
    base: Request
    members: tuple[int, ...]
    traced: tuple[str, ...]


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
    elif asked.base.seed + 2 * asked.num_seeds - 1 > MAX_SEED:
        problems.append(
            f"seed = {asked.base.seed} with {asked.num_seeds} seeds exceeds {MAX_SEED}; lower one"
        )
    elif asked.num_members > MAX_MEMBERS:
        problems.append(f"the sweep has {asked.num_members:,} members; give at most {MAX_MEMBERS:,}")
    size = asked.block_size
    if size is not None and not (isinstance(size, int) and size >= 1):
        problems.append(f"block_size = {size!r} is not an int of at least 1; give one such as 64, or none")
    problems += _halving_problems(asked)
    if asked.winner is not None and not 0 <= asked.winner < len(asked.points):
        problems.append(f"winner = {asked.winner} is none of the points")
    problems += _metric_problems(asked)
    if asked.base.options.log_to:
        problems.append("log_to is not for sweeps, whose members have no services; leave it out")
    problems += _point_problems(asked, environment)
    if problems:
        raise UsageError(problems)


def _metric_problems(asked: SweepRequest) -> list[str]:
    known = [name for name in STANDARD if name not in _NOT_RANKED]
    own = registry.is_reference(asked.base.config.env) or asked.base.config.env not in registry.ENVIRONMENTS
    if asked.metric in known or own:  # an environment of the user's may have metrics of its own
        return []
    return [f"metric = {asked.metric!r} does not exist; {closest(str(asked.metric), known)}"]


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


def _point_problems(asked: SweepRequest, environment: object) -> list[str]:
    """Lists the mistakes of all points, each once."""
    problems: dict[str, None] = {}
    for point in asked.points:
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


def group(asked: SweepRequest, traceable: tuple[str, ...]) -> list[Group]:
    """Groups the members that can share a compiled program; further members of the winner come last.

    Args:
        asked: The request of the sweep.
        traceable: The parameters of the environment that need not be known when a program is compiled.
    """
    groups: dict[Any, list[int]] = {}
    for number in range(asked.num_members):
        one = asked.member(number)
        known = {name: x for name, x in one.config.env_args if name not in traceable}
        fields = one.fields | {"env_args": known} | dict.fromkeys(one.hyper._fields, None)
        # Whether updates may stop early decides the program.
        groups.setdefault((repr(fields), one.hyper.target_kl is None), []).append(number)
    members = list(groups.values())
    if asked.winner is not None:
        members.append(list(range(asked.num_members, asked.num_members + asked.num_seeds)))
    return [
        Group(number, asked.member(some[0]), tuple(some), traceable) for number, some in enumerate(members)
    ]


class Block(NamedTuple):
    """Members that are trained at the same time.

    Attributes:
        number: The number of the block.
        group: The group.
        places: The places of the members in the group.
        lanes: The members in the lanes, [L]; where there are fewer members than lanes, the last is repeated.
        start: The updates that each member has done before.
        end: The updates that each member has done afterwards.
        before: The updates of all blocks before this one.
    """

    number: int
    group: Group
    places: tuple[int, ...]
    lanes: tuple[int, ...]
    start: int
    end: int
    before: int

    @property
    def num_updates(self) -> int:
        """The updates that are done in the block."""
        return self.end - self.start

    @property
    def num_members(self) -> int:
        """The number of members."""
        return len(self.places)


def blocks(asked: SweepRequest, groups: list[Group]) -> list[Block]:
    """Divides the members of groups into blocks, rung by rung, as far as it is known who is left.

    Args:
        asked: The request of the sweep; it says how many lanes the blocks of each group have.
        groups: The groups. If the winner is known, the last group trains it again.
    """
    made: list[Block] = []

    def add(one: Group, size: int, places: list[int], start: int, end: int) -> None:
        for first in range(0, len(places), size):
            some = tuple(places[first : first + size])
            lanes = [one.members[place] for place in some]
            lanes += [lanes[-1]] * (size - len(lanes))
            before = made[-1].before + made[-1].num_updates if made else 0
            made.append(Block(len(made), one, some, tuple(lanes), start, end, before))

    pairs = list(zip(groups, asked.block_sizes, strict=True))
    further = [] if asked.winner is None else [pairs.pop()]
    for rung in range(len(asked.survivors) + 1):
        alive = set(asked.survivors[rung - 1] if rung else range(len(asked.points)))
        for one, size in pairs:
            places = [i for i, member in enumerate(one.members) if asked.point_of(member) in alive]
            add(one, size, places, *_updates_of(asked, rung, one.base.config.num_updates))
    for one, size in further:
        add(one, size, list(range(len(one.members))), 0, one.base.config.num_updates)
    return made


def _updates_of(asked: SweepRequest, rung: int, num_updates: int) -> tuple[int, int]:
    """Returns the updates of a run that are done before and after a rung."""
    if asked.halving is None:
        return 0, num_updates
    start = asked.halving.end_of(rung - 1, num_updates) if rung else 0
    return start, asked.halving.end_of(rung, num_updates)


def digest(asked: SweepRequest) -> str:
    """Returns the SHA-256 of everything that decides the results of a sweep."""
    content = {
        "base": request.digest(asked.base),
        "total_timesteps": asked.base.config.total_timesteps,
        "halving": asked.halving,
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
