"""The states of a sweep on disk, and members of a sweep as run directories of their own."""

import os
import shutil
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.algorithm.train import TrainState, agent_of
from ppo_jax.config import Config
from ppo_jax.envs.make import traceable
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import lanes
from ppo_jax.host.programs.lanes import Settings
from ppo_jax.host.runs import agents, family, known, layout, loading, points, records, request, tables
from ppo_jax.host.runs.checkpoints import directories, store
from ppo_jax.host.runs.checkpoints.store import Progress, Store
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.family import SweepDirectory, SweepRequest
from ppo_jax.host.runs.files import read_json, write_json
from ppo_jax.host.runs.layout import Block, Group
from ppo_jax.host.runs.request import Request
from ppo_jax.scale.population import inherit

ALL = 10**9  # of the blocks, none is removed


class Saved(NamedTuple):
    """The state of a block as it is saved.

    Attributes:
        state: The states of the members in the lanes, [L, ...].
        failed: The update in which a member failed, from 1, [L] int32; 0 if it has not.
        score: The last value of the metric that ranks the points, [L] float32; 0 without one.
        has_score: Whether there is one, [L] bool.
    """

    state: TrainState
    failed: Any
    score: Any
    has_score: Any


def groups_of(asked: SweepRequest) -> list[Group]:
    """Groups the members that can share a compiled program.

    Raises:
        UsageError: If the environment cannot be made, or an argument does not fit it.
    """
    arguments = [points.apply(asked.base, point).config.env_args for point in asked.points]
    return layout.group(asked, traceable(asked.base.config.env, arguments))


def settings_of(asked: SweepRequest, block: Block) -> Settings:
    """Returns the settings of the lanes of a block."""
    then = layout.as_of(asked, block)
    wanted = [then.member(member) for member in block.lanes]
    given = {name for one in wanted for name, _ in one.config.env_args}
    traced = [name for name in block.group.traced if name in given]
    return lanes.settings_of([(one.config, one.hyper) for one in wanted], traced)


def template_of(asked: SweepRequest, block: Block) -> Saved:
    """Returns shapes and dtypes of the saved state of a block."""
    size = (len(block.lanes),)
    return Saved(
        state=lanes.template_of(block.group.base.config, settings_of(asked, block)),
        failed=jax.ShapeDtypeStruct(size, np.int32),
        score=jax.ShapeDtypeStruct(size, np.float32),
        has_score=jax.ShapeDtypeStruct(size, bool),
    )


def finished(sweep: SweepDirectory, asked: SweepRequest) -> Store:
    """Returns the place of the blocks that are done, each a checkpoint under the number of the block.

    The blocks of a population follow each other like the checkpoints of a run, and only the newest are kept.
    """
    keep = ALL if asked.population is None else asked.base.options.keep
    return Store(sweep.blocks, family.digest(asked), keep)


def load_block(sweep: SweepDirectory, asked: SweepRequest, block: Block) -> Saved | None:
    """Loads the final state of a block; None if the block is not done.

    Raises:
        DamageError: If it is damaged.
    """
    path = sweep.blocks / directories.name_of(block.number)
    if not path.exists():
        return None
    return store.load(finished(sweep, asked), directories.read(path), template_of(asked, block))


def metrics_of(
    sweep: SweepDirectory, asked: SweepRequest, groups: list[Group], point: int
) -> tuple[Config, dict[str, np.ndarray]]:
    """Reads the metrics of the seeds of a point after every update.

    Args:
        sweep: The directory of the sweep.
        asked: Its request.
        groups: Its groups.
        point: The number of the point.

    Returns:
        The configuration of the point, and its metrics, [S, U] each.
    """
    first = point * asked.num_seeds
    one = next(one for one in groups if first in one.members)
    places = [one.members.index(first + seed) for seed in range(asked.num_seeds)]
    columns = tables.read(sweep.metrics_of(one.number))
    return one.base.config, {name: np.array(values[places]) for name, values in columns.items()}


def block_of(blocks: list[Block], member: int, before: int | None = None) -> Block:
    """Returns the last block that has a member, among those before one of that number."""
    earlier = blocks if before is None else blocks[:before]
    return next(one for one in reversed(earlier) if member in one.lanes)


def load_start(sweep: SweepDirectory, asked: SweepRequest, blocks: list[Block], block: Block) -> Saved:
    """Loads the states with which the members of a block begin: those after the rung or generation before.

    Raises:
        DamageError: If one is damaged.
    """
    sources = [block_of(blocks, member, block.number) for member in block.lanes]
    loaded = {one.number: load_block(sweep, asked, one) for one in sources}

    def row(one: Block, member: int) -> Any:
        lane = one.lanes.index(member)
        return jax.tree.map(lambda x: x[lane], loaded[one.number])

    rows = [row(one, member) for one, member in zip(sources, block.lanes, strict=True)]
    saved = jax.tree.map(lambda *lanes: jnp.stack(lanes), *rows)
    if asked.population is None:
        return saved
    generation = asked.generations[block.number - 1]
    parents = np.array([generation.parents[member] for member in block.lanes])
    others = jax.tree.map(lambda x: x[parents], saved._replace(state=None))
    return others._replace(state=jax.jit(inherit)(saved.state, parents))


def open_run(path: Path) -> RunDirectory:
    """Opens the directory of a run, or a member of a sweep like one, such as SWEEP/members/7.

    The directory of a member is made when it is first opened.

    Raises:
        UsageError: If it is neither, or the member is not done.
        DamageError: If the files of the sweep are damaged.
    """
    number = family.member_number(path)
    if number is None:
        return family.open_plain(path)
    sweep = family.open_existing(path.parent.parent)
    asked = family.read(sweep)
    further = asked.num_seeds if asked.winner is not None else 0
    if number >= asked.num_members + further:
        raise UsageError(
            f"RUN = '{path}': the sweep has {asked.num_members + further} members; give a number from 0 to "
            f"{asked.num_members + further - 1}"
        )
    run = RunDirectory(sweep.members / path.name)
    return run if run.summary.exists() else _make(sweep, asked, number, run)


def _make(sweep: SweepDirectory, asked: SweepRequest, number: int, run: RunDirectory) -> RunDirectory:
    """Makes the directory of a member: its request, its metrics, its last state, and its policy."""
    one = asked.member(number)
    loading.load(one.config, one.sources, trust=False)
    known.load(sweep, one, warnings.warn)
    block = block_of(layout.blocks(asked, groups_of(asked)), number)
    saved = load_block(sweep, asked, block)
    if saved is None:
        raise UsageError(
            f"RUN = '{run.path}': member {number} is not done yet; wait for it, or resume the sweep"
        )
    lane = block.lanes.index(number)
    draft = RunDirectory(run.path.with_name(f"{run.path.name}.{os.getpid()}.tmp"))
    draft.path.mkdir(parents=True)
    try:
        request.write(draft, one)
        failed = int(saved.failed[lane])
        _write_metrics(sweep, block, lane, failed, draft)
        if not failed:
            state: TrainState = jax.tree.map(lambda x: x[lane], saved.state)
            latest = Store(draft.checkpoints, request.digest(one), keep=1)
            store.save(latest, state, Progress(int(state.num_updates), None, 0))
            agents.save(draft, one.config, agent_of(state), state.collector.reward_scaler)
        if sweep.policies.exists():
            shutil.copytree(sweep.policies, draft.policies)
        write_json(draft.summary, _summary(sweep, one, failed, failed or block.end))
        shutil.rmtree(run.path, ignore_errors=True)
        draft.path.rename(run.path)
    finally:
        shutil.rmtree(draft.path, ignore_errors=True)
    return run


def _write_metrics(sweep: SweepDirectory, block: Block, lane: int, failed: int, run: RunDirectory) -> None:
    columns = tables.read(sweep.metrics_of(block.group.number))
    config = block.group.base.config
    num_updates = failed or block.end
    place = block.places[lane]
    rows = {name: values[place, :num_updates] for name, values in columns.items()}
    with run.metrics.open("w") as file:
        records.append(file, records.from_columns(rows, config.batch_size))


def _summary(sweep: SweepDirectory, one: Request, failed: int, updates: int) -> dict[str, Any]:
    whole = read_json(sweep.summary) if sweep.summary.exists() else {}
    end = "done" if updates == one.config.num_updates else "interrupted"
    return {
        "status": "failed" if failed else end,
        "preset": one.preset,
        "changes": {name: request.plain(value) for name, value in one.changes.items()},
        "env": one.config.env,
        "seed": one.seed,
        "updates": updates,
        "env_steps": updates * one.config.batch_size,
        "solved_return": one.solved_return,
        "failure": f"a number was not finite at update {failed}" if failed else None,
        "sweep": str(sweep.path),
        **{name: whole.get(name) for name in ("versions", "hardware", "git")},
    }
