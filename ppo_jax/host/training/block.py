"""The training loop of one block of a sweep: members that are trained at the same time."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from ppo_jax.algorithm.metrics import ALARMS, Metrics, further_metrics
from ppo_jax.config import Config
from ppo_jax.host.diagnosis.history import ALWAYS_FINITE
from ppo_jax.host.monitor.screen import Screen
from ppo_jax.host.programs import lanes
from ppo_jax.host.programs.chunks import Chunk, Program, Running, Training
from ppo_jax.host.runs import family, members, tables
from ppo_jax.host.runs.checkpoints import directories, store
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.checkpoints.store import Progress, Store
from ppo_jax.host.runs.family import SweepDirectory, SweepRequest
from ppo_jax.host.runs.layout import Block
from ppo_jax.host.runs.members import Saved
from ppo_jax.host.training.loop import CHECKPOINT_SECONDS
from ppo_jax.host.training.signals import Stop
from ppo_jax.host.training.standings import Results, best_rows

CHUNK_SECONDS = 1.0


class SweepSession(NamedTuple):
    """Everything that a sweep works with.

    Attributes:
        asked: The request of the sweep, already checked.
        sweep: The directory of the sweep.
        screen: The screen on which it is shown.
        stop: The signals that ask it to end early.
    """

    asked: SweepRequest
    sweep: SweepDirectory
    screen: Screen
    stop: Stop


@dataclasses.dataclass
class BlockLoop:
    """The training loop of one block.

    Attributes:
        session: Everything that the sweep works with.
        block: The block.
        training: The compiled program in progress.
        results: The results of the sweep so far.
        saved: The failures and the scores of the members; `training` has their states.
        table: The metrics of the group.
        place: The place of the checkpoints.
        saved_update: The updates that the newest checkpoint, or the block before, has done.
        running: The chunk that the devices run while the host is at work with the one before; None before
            the first, and while the states are saved.
    """

    session: SweepSession
    block: Block
    training: Training
    results: Results
    saved: Saved
    table: np.memmap
    place: Store
    saved_update: int
    running: Running | None = None

    @classmethod
    @contextmanager
    def prepared(
        cls, session: SweepSession, plan: list[Block], block: Block, program: Program, results: Results
    ) -> Iterator["BlockLoop"]:
        """Prepares a block to start, or to continue from the newest checkpoint."""
        asked, sweep = session.asked, session.sweep
        settings = members.settings_of(asked, block)
        place = Store(sweep.checkpoints, family.digest(asked), asked.base.options.keep)
        update, saved = _load(session, block, place)
        if saved is None and block.start:
            saved = members.load_start(sweep, asked, plan, block)
        elif saved is None:
            size = len(block.lanes)
            saved = Saved(
                state=program.init(settings, seeds_of(asked, block)),
                failed=np.zeros(size, np.int32),
                score=np.zeros(size, np.float32),
                has_score=np.zeros(size, bool),
            )
        names = tables.names_of(program_metrics(program, block.group.base.config))
        path = sweep.metrics_of(block.group.number)
        total = block.group.base.config.num_updates
        table = tables.open_table(path, names, len(block.group.members), total)
        is_begun = update > block.start
        seconds = float(table[0][tables.SECONDS][block.places[0], update - 1]) if is_begun else 0.0
        state = lanes.place(saved.state)
        training = Training(
            program, block.group.base.config, settings, state, update, seconds, chunk_seconds=CHUNK_SECONDS
        )
        loop = cls(session, block, training, results, saved, table, place, update)
        with session.screen.training():
            yield loop

    def run(self) -> None:
        """Trains all updates and saves the final states; or saves a checkpoint if asked to stop."""
        saved_at = time.perf_counter()
        every, end = self.session.asked.base.options.checkpoint_every, self.block.end
        while self.training.update < end and not self.session.stop.requested:
            halt = end if every is None else min(end, (self.training.update // every + 1) * every)
            self._advance(halt)
            is_due = every is None and time.perf_counter() > saved_at + CHECKPOINT_SECONDS
            if is_due or (every is not None and self.training.update % every == 0):
                self._save()
                saved_at = time.perf_counter()
        self._take_chunk()
        if self.training.update < end:
            self._save()
            return
        # Of a block that was killed when nothing was left to train, no chunk has told how it ended.
        self.results.take(self.block, self.saved, self.block.num_updates, self.training.seconds)
        tables.save(self.table, self.session.sweep.metrics_of(self.block.group.number))
        done = members.finished(self.session.sweep, self.session.asked)
        saved = self.saved._replace(state=self.training.state)
        store.save(done, saved, Progress(self.block.number, None, 0))

    def _advance(self, until: int) -> None:
        """Gives the devices the next chunk before it takes the results of the one before."""
        dispatched = self.training.dispatch(until)
        self._take_chunk()
        self.running = dispatched

    def _take_chunk(self) -> None:
        """Waits for the running chunk, if there is one, and takes what it has to tell."""
        if self.running is None:
            return
        chunk = self.training.fetch(self.running)
        self.running = None
        count = chunk.num_updates
        metrics = jax.tree.map(lambda x: x[:, :count], chunk.metrics)
        failed = find_failed(metrics, chunk, self.saved.failed)
        for name, values in metrics._asdict().items():
            if values.dtype == np.float32:  # what comes after a failure means nothing
                after = np.arange(chunk.first_update, chunk.first_update + count) > failed[:, None]
                metrics = metrics._replace(**{name: np.where((failed > 0)[:, None] & after, np.nan, values)})
        score = getattr(metrics, self.session.asked.metric)[:, -1].astype(np.float32)
        has_score = np.isfinite(score) & (failed == 0)
        score = np.where(has_score, score, np.float32(0))
        if failed.any():
            self.training.state = lanes.place(lanes.clean(self.training.state, failed == 0))
        self.saved = self.saved._replace(failed=failed, score=score, has_score=has_score)
        size = self.block.num_members
        seconds = np.linspace(chunk.start, chunk.end, count + 1)[1:]
        rows = jax.tree.map(lambda x: x[:size], metrics)
        tables.write(self.table, self.block.places, chunk.first_update - 1, rows, seconds)
        self._show(chunk, size)

    def _show(self, chunk: Chunk, size: int) -> None:
        steps = chunk.num_updates * self.block.group.base.config.batch_size * size
        results = self.results
        done = chunk.first_update - 1 + chunk.num_updates - self.block.start
        results.take(self.block, self.saved, done, chunk.end)
        rows = best_rows(self.session.asked, results)
        speed = steps / (chunk.end - chunk.start)
        self.session.screen.show(results.total_steps, results.total_seconds, speed, rows)

    def _save(self) -> None:
        """Saves the states of all members, once the metrics before them are on the disk."""
        self._take_chunk()
        if self.training.update == self.saved_update:
            return
        tables.save(self.table, self.session.sweep.metrics_of(self.block.group.number))
        update = self.block.before + self.training.update - self.block.start
        saved = self.saved._replace(state=self.training.state)
        store.save(self.place, saved, Progress(update, None, 0))
        self.saved_update = self.training.update


def _load(session: SweepSession, block: Block, place: Store) -> tuple[int, Saved | None]:
    """Loads the newest checkpoint of a block; returns the updates done, and the state if there is one.

    If all of them are damaged, they are set aside, and the block begins again: it comes to the same end.
    """
    say = session.screen.say
    own = [path for path in directories.newest_first(place.path) if _is_of(block, path.name)]
    if not own:
        return block.start, None
    try:
        found = store.load_newest(place, members.template_of(session.asked, block), say)
    except DamageError as error:
        say(f"block {block.number + 1} begins again: {error}")
        found = None
    progress, saved = found if found else (None, None)
    if progress is None or not _is_of(block, directories.name_of(progress.update)):
        for path in filter(Path.exists, own):
            directories.set_aside(path)
        return block.start, None
    update = progress.update - block.before + block.start
    say(f"resumed block {block.number + 1} at update {update:,} of {block.end:,}")
    return update, saved


def _is_of(block: Block, name: str) -> bool:
    """Whether a checkpoint is one of a block, rather than of one before it."""
    return int(name) > block.before


def find_failed(metrics: Metrics, chunk: Chunk, before: np.ndarray) -> np.ndarray:
    """Returns the update in which each lane failed, [L] int32; 0 if it has not.

    Args:
        metrics: The metrics of a chunk, [L, U].
        chunk: The chunk.
        before: The same before the chunk.
    """
    columns = metrics._asdict()
    bad = np.zeros(columns["env_steps"].shape, bool)
    for name in ALWAYS_FINITE:
        bad |= ~np.isfinite(columns[name])
    for name in ALARMS:
        bad |= columns[name] > 0
    first = np.where(bad.any(axis=1), chunk.first_update + bad.argmax(axis=1), 0)
    # A state that is not finite shows in the metrics of the next update.
    after = chunk.first_update + chunk.num_updates
    first = np.where((first == 0) & ~chunk.finite, after, first)
    return np.where(before > 0, before, first).astype(np.int32)


def seeds_of(asked: SweepRequest, block: Block) -> np.ndarray:
    """Returns the seeds of the lanes of a block, [L]."""
    return np.array([asked.seed_of(member) for member in block.lanes], np.uint32)


def program_metrics(program: Program, config: Config) -> list[str]:
    """Returns the names of the metrics that a program for a configuration reports."""
    own = program.template.collector.episodes.running_metrics
    return [*Metrics._fields, *own, *further_metrics(config)]
