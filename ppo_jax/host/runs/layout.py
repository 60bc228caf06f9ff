"""The division of a sweep's members: into groups that share a program, and into blocks of lanes."""

from typing import Any, NamedTuple

from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.request import Request


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
    """Divides the members of groups into blocks, as far as is known what a search has come to.

    With successive halving, there are blocks for each rung; with a population, one for each generation.

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
    num_stages = len(asked.survivors) + 1
    if asked.population is not None:
        num_stages = min(len(asked.generations) + 1, asked.population.generations)
    for stage in range(num_stages):
        is_reduced = stage > 0 and asked.halving is not None
        alive = set(asked.survivors[stage - 1] if is_reduced else range(len(asked.points)))
        for one, size in pairs:
            places = [i for i, member in enumerate(one.members) if asked.point_of(member) in alive]
            add(one, size, places, *_updates_of(asked, stage, one.base.config.num_updates))
    for one, size in further:
        add(one, size, list(range(len(one.members))), 0, one.base.config.num_updates)
    return made


def _updates_of(asked: SweepRequest, stage: int, num_updates: int) -> tuple[int, int]:
    """Returns the updates of a run that are done before and after a rung or a generation."""
    search = asked.halving or asked.population
    if search is None:
        return 0, num_updates
    return search.end_of(stage - 1, num_updates) if stage else 0, search.end_of(stage, num_updates)


def as_of(asked: SweepRequest, block: Block) -> SweepRequest:
    """Returns the request with the values that the members have during a block."""
    return asked._replace(generations=asked.generations[: block.number])
