"""The part of a sweep that needs JAX: trains its members block by block, ranks its points, and sums up."""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ppo_jax.errors import UsageError, closest
from ppo_jax.host.diagnosis import ranking
from ppo_jax.host.diagnosis.ranking import Standing
from ppo_jax.host.programs import footprint, lanes, system
from ppo_jax.host.programs.chunks import Program
from ppo_jax.host.runs import family, layout, members, points, tables
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.checkpoints.arrays import SaveError
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.files import write_json
from ppo_jax.host.runs.layout import Block
from ppo_jax.host.runs.members import Saved
from ppo_jax.host.training.block import BlockLoop, SweepSession, program_metrics, seeds_of
from ppo_jax.host.training.generations import winner, with_next_generation
from ppo_jax.host.training.session import DONE, FAILED
from ppo_jax.host.training.standings import Results, describe, interval_of, scores_of


def train(session: SweepSession) -> int:
    """Trains all members, from the newest checkpoint if there is one, and fills the directory of the sweep.

    Returns:
        The exit status: 0 if the sweep is done, 1 if all members failed or a file could not be written, 128 +
        the number of the signal that stopped it.

    Raises:
        UsageError: If the environment cannot be made or does not fit, or a metric does not exist.
        DamageError: If there are checkpoints, but none can be loaded.
    """
    sweep, screen = session.sweep, session.screen
    try:
        return _train(session)
    except (OSError, SaveError) as error:
        screen.fail(f"cannot write to '{sweep.path}': {error}; what was saved before is intact")
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not footprint.is_exhausted(error):
            raise
        screen.fail("out of memory: give a smaller --block-size to another sweep, or fewer --num-envs")
    screen.say(f"to continue: ppo-jax resume {sweep.path}")
    return FAILED


def _train(session: SweepSession) -> int:
    results, began = Results(), time.perf_counter()
    stage: SweepSession | None = session
    programs: dict[tuple[int, int], Program] = {}
    plan: list[Block] = []
    while stage is not None:
        session, plan = _plan(stage)
        _run_blocks(session, plan, results, programs)
        stage = None if session.stop.requested else _next_stage(session, plan, results)
    return _finish(session, plan, results, time.perf_counter() - began)


def _next_stage(session: SweepSession, plan: list[Block], results: Results) -> SweepSession | None:
    """Asks for what follows: the next generation or rung, or further members of the best point.

    Returns:
        The session with what is asked for; None if the sweep is done.
    """
    asked = session.asked
    if asked.population is not None:
        is_done = len(asked.generations) == asked.population.generations
        return None if is_done else with_next_generation(session, plan[-1])
    if len(asked.survivors) < asked.num_rungs - 1:
        return _with_next_rung(session, results)
    return None if asked.winner is not None or len(asked.points) == 1 else _with_winner(session, results)


def _with_next_rung(session: SweepSession, results: Results) -> SweepSession:
    """Ranks the points, and keeps the best of them."""
    asked, rung = session.asked, len(session.asked.survivors)
    assert asked.halving is not None
    count = asked.halving.count_after(rung, len(asked.points))
    left = sorted(one.point for one in ranking.rank(asked, results.scores, results.failed)[:count])
    session.screen.say(
        f"rung {rung + 1} of {asked.num_rungs} is done; the best {count} points are trained on"
    )
    return session._replace(asked=asked._replace(survivors=(*asked.survivors, tuple(left))))


def _plan(session: SweepSession) -> tuple[SweepSession, list[Block]]:
    """Divides the sweep into blocks, and writes down how, so that it is resumed in the same blocks."""
    asked = session.asked
    groups = members.groups_of(asked)
    sizes = list(asked.block_sizes)
    is_full = asked.halving is None or asked.winner is not None
    # With halving, a block is not larger than the last rung, so that no rung trains lanes in vain.
    divisor = 1 if is_full else asked.halving.eta ** (asked.num_rungs - 1)  # pyright: ignore
    for one in groups[len(sizes) :]:
        wanted = max(1, len(one.members) // divisor)
        sizes.append(lanes.num_lanes(one.base.config, wanted, asked.block_size))
    if asked.population is not None and sizes[0] < asked.num_members:
        raise UsageError(
            f"only {sizes[0]} members of the population fit into memory at once, and all {asked.num_members} "
            "have to; give fewer members, or lower --num-envs"
        )
    asked = asked._replace(block_sizes=tuple(sizes))
    write_json(session.sweep.config, family.to_json(asked))
    return session._replace(asked=asked), layout.blocks(asked, groups)


def _with_winner(session: SweepSession, results: Results) -> SweepSession | None:
    """Ranks the points, and asks for further members of the best one; None if no point has a score."""
    best, *_ = ranking.rank(session.asked, results.scores, results.failed)
    if np.isnan(best.iqm):
        return None
    shown = points.describe(session.asked.points[best.point])
    session.screen.say(
        f"best of {len(session.asked.points)} points: {shown}, {interval_of(best)}; it is trained from "
        f"{session.asked.num_seeds} other seeds, because the best of many has also been lucky"
    )
    return session._replace(asked=session.asked._replace(winner=best.point))


def _run_blocks(
    session: SweepSession,
    plan: list[Block],
    results: Results,
    programs: dict[tuple[int, int], Program],
) -> None:
    """Trains the blocks that are not done, with the programs by their groups and numbers of lanes."""
    for block in plan[len(results.finished) :]:
        saved = _load_finished(session, plan, block)
        if saved is not None:
            columns = tables.read(session.sweep.metrics_of(block.group.number))
            seconds = float(columns[tables.SECONDS][block.places[0], block.end - 1])
            results.take(block, saved, block.num_updates, seconds)
            results.finished.add(block.number)
            continue
        if session.stop.requested:
            return
        shape = (block.group.number, len(block.lanes))
        if shape not in programs:
            programs[shape] = _compile(session, plan, block, results)
        with BlockLoop.prepared(session, plan, block, programs[shape], results) as loop:
            loop.run()
        if not session.stop.requested:
            results.finished.add(block.number)


def _load_finished(session: SweepSession, plan: list[Block], block: Block) -> Saved | None:
    """Loads the final state of a block, or in a population that of one after it; None if there is none.

    A damaged state is set aside. If there is no later one in its place, the block is trained again.
    """
    later = plan[block.number + 1 :] if session.asked.population else []
    for one in (block, *later):
        try:
            saved = members.load_block(session.sweep, session.asked, one)
        except DamageError as error:
            path = session.sweep.blocks / directories.name_of(one.number)
            directories.set_aside(path)
            session.screen.say(f"block {one.number + 1} is damaged and is trained again: {error}")
            continue
        if saved is not None:
            return saved
    return None


def _compile(session: SweepSession, plan: list[Block], block: Block, results: Results) -> Program:
    asked, screen = session.asked, session.screen
    config = block.group.base.config
    settings = members.settings_of(asked, block)
    with screen.waiting(f"compiling {len(block.lanes)} lanes"):
        program = lanes.compile_lanes(config, settings)
        known = program_metrics(program, config)
        if asked.metric not in known:
            raise UsageError(f"metric = {asked.metric!r} does not exist; {closest(asked.metric, known)}")
    results.compile_seconds += program.seconds
    screen.say(f"compiled in {program.seconds:.1f} s")
    seconds = _seconds_of_update(program, settings, seeds_of(asked, block))
    # The later generations of a population are not in the plan yet.
    num_updates = block.num_updates if asked.population is None else config.num_updates - block.start
    screen.say(_describe_work(plan, block, num_updates, seconds))
    return program


def _seconds_of_update(program: Program, settings: lanes.Settings, seeds: np.ndarray) -> float:
    """Measures the first update of a block; nothing of it is kept."""
    state = program.init(settings, seeds)
    jax.block_until_ready(program.advance(settings, state, np.int32(1)))  # the first call is slower
    start = time.perf_counter()
    jax.block_until_ready(program.advance(settings, state, np.int32(1)))
    return time.perf_counter() - start


def _describe_work(plan: list[Block], block: Block, num_updates: int, seconds: float) -> str:
    """Says how much is to be trained, and how long that will take."""
    rung = [one for one in plan if (one.group.number, one.start) == (block.group.number, block.start)]
    size, count, num_blocks = len(block.lanes), sum(one.num_members for one in rung), len(rung)
    minutes, rest = divmod(round(seconds * num_updates * num_blocks), 60)
    hours, minutes = divmod(minutes, 60)
    left = f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
    in_blocks = f" in {num_blocks} blocks of {size}" if num_blocks > 1 else ""
    return f"{count} members{in_blocks}, {num_updates:,} updates each: about {left}"


def _finish(session: SweepSession, plan: list[Block], results: Results, seconds: float) -> int:
    """Sums up, writes the report, and says how the sweep ended."""
    asked, sweep, screen = session.asked, session.sweep, session.screen
    is_done = not session.stop.requested
    standings = ranking.rank(asked, scores_of(asked, results), results.failed)
    again = None
    if asked.winner is not None:  # it was trained again from other seeds
        further = range(asked.num_members, asked.num_members + asked.num_seeds)
        lowest = np.nanmin([score for one in standings for score in one.scores])
        again = ranking.stand(asked, asked.winner, further, results.scores, results.failed, lowest)
    summary = _sum_up(asked, results, standings, again)
    if asked.population is not None:
        summary["evaluation_steps"] = sum(one.steps for one in asked.generations)
        has_winner = is_done and np.isfinite(standings[0].iqm)
        summary["winner"] = winner(session, plan[-1], standings[0].point) if has_winner else None
    status = "done" if is_done else "interrupted"
    write_json(sweep.summary, {"status": status, **summary, "total_seconds": round(seconds, 3)})
    if not is_done:
        screen.say(f"stopped; to continue: ppo-jax resume {sweep.path}")
        return session.stop.status(otherwise=FAILED)
    for line in describe(asked, standings, again, results):
        screen.say(line)
    screen.say(f"wrote {sweep.path}: {', '.join(sorted(file.name for file in sweep.path.iterdir()))}")
    all_failed = len(results.failed) == len(results.scores)
    if all_failed:
        screen.fail("all members failed: a number was not finite; lower --learning-rate or --max-grad-norm")
    return FAILED if all_failed else session.stop.status(otherwise=DONE)


def _sum_up(
    asked: SweepRequest, results: Results, standings: list[Standing], again: Standing | None
) -> dict[str, Any]:
    return {
        "env": asked.base.config.env,
        "metric": asked.metric,
        "num_members": asked.num_members,
        "ranking": [
            {"values": points.to_json(asked.latest_points[one.point]), **ranking.as_json(asked, one)}
            for one in standings
        ],
        "winner_from_other_seeds": again and ranking.as_json(asked, again),
        "failed_members": {str(member): update for member, update in sorted(results.failed.items())},
        "env_steps": results.total_steps,
        "train_seconds": round(results.total_seconds, 3),
        "compile_seconds": round(results.compile_seconds, 3),
        "versions": system.versions(),
        "hardware": system.hardware(),
        "memory": system.memory(),
        "git": system.git_commit(Path.cwd()),
    }
