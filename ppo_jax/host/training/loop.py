"""The host's training loop: runs chunks, and saves, evaluates and rewinds between them."""

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager

from ppo_jax.host.programs import evaluation
from ppo_jax.host.programs.chunks import Training, find_nonfinite
from ppo_jax.host.runs import records
from ppo_jax.host.runs.checkpoints import store
from ppo_jax.host.runs.checkpoints.store import Progress, Store
from ppo_jax.host.runs.records import Clock, Record
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import failure
from ppo_jax.host.training.failure import Failure
from ppo_jax.host.training.journal import Journal
from ppo_jax.host.training.signals import Stop

CHECKPOINT_SECONDS = 60.0
MAX_REWINDS = 3


@dataclasses.dataclass
class Loop:
    """The training loop of one run, with its journal and its checkpoints.

    Attributes:
        asked: The request of the run.
        training: The compiled run in progress.
        store: The place where its checkpoints go.
        journal: The results so far.
        stop: The signals that ask the run to end early.
        saved_update: Updates done in the newest checkpoint; None while there is none.
        evaluated_update: Updates done at the newest evaluation; None while there is none.
        rewinds: The number of times the run has gone back to the last good state.
        is_drawn: False if its picture could not be written.
    """

    asked: Request
    training: Training
    store: Store
    journal: Journal
    stop: Stop
    saved_update: int | None = None
    evaluated_update: int | None = None
    rewinds: int = 0
    is_drawn: bool = True

    def __post_init__(self):
        self._saved_at = time.perf_counter()
        self._is_between_chunks = True

    @property
    def is_done(self) -> bool:
        """Whether all updates that were asked for are done."""
        return self.training.update >= self.asked.config.num_updates

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: all is done, or the run has failed or was asked to stop."""
        return self.is_done or self.stop.requested or self.journal.failure is not None

    def chunks(self) -> Iterator[list[Record]]:
        """Trains to the end, to a failure, or until asked to stop; yields the records of each chunk."""
        while not self.is_over:
            yield self.advance()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Shows the run while the `with` block advances it; afterwards saves the last good state, if any.

        If the block raises an error between two chunks, the state is saved as well.
        """
        if self.journal.failure:  # the first state is not finite
            yield
            return
        self._evaluate_if_due()
        try:
            with self.journal.screen.training():
                yield
        except Exception:
            if self._is_between_chunks:
                self._save()
            raise
        self._save()

    def advance(self) -> list[Record]:
        """Trains for one chunk, then evaluates and saves if that is due.

        Returns:
            The records of the chunk; none if it is not kept, because a number in it was not finite.
        """
        self._is_between_chunks = False
        new = self._advance()
        self._is_between_chunks = True
        return new

    def _advance(self) -> list[Record]:
        chunk = self.training.advance(self._next_halt())
        clock = Clock(chunk.first_update, chunk.start, chunk.end)
        new = records.from_metrics(chunk.metrics, chunk.num_updates, clock)
        nonfinite = [] if chunk.finite else find_nonfinite(self.training.whole_state())
        problem = failure.find(new, nonfinite)
        if problem is not None:
            self.training.go_back()
            self._rewind_or_fail(new, problem)
            return []
        steps = chunk.num_updates * self.asked.config.batch_size
        self.journal.take(new, steps_per_second=steps / (chunk.end - chunk.start))
        self.stop.hear_of(self.training.crew.signal())
        if self.stop.requested and not self.is_done:
            return new  # `running` saves the state; an evaluation that is due waits until the run is resumed
        self._evaluate_if_due()
        by_time = self.asked.options.checkpoint_every is None
        is_time = by_time and time.perf_counter() > self._saved_at + CHECKPOINT_SECONDS
        if is_time or self._is_halt(self.asked.options.checkpoint_every):
            self._save()
        return new

    def _next_halt(self) -> int:
        """Returns the last update that the next chunk may include."""
        update, halts = self.training.update, [self.asked.config.num_updates]
        options = self.asked.options
        for period in (options.checkpoint_every, options.evaluate_every):
            if period is not None:
                halts.append((update // period + 1) * period)
        return min(halts)

    def _is_halt(self, period: int | None) -> bool:
        return period is not None and self.training.update % period == 0

    def _rewind_or_fail(self, new: list[Record], problem: Failure) -> None:
        """Continues from the last good state with other random numbers, or ends the run there."""
        may_rewind = problem.is_nonfinite and self.asked.options.on_nonfinite == "rewind"
        if not may_rewind or self.rewinds == MAX_REWINDS:
            self.journal.fail(new, problem)
            return
        self.rewinds += 1
        self.training.reseed(self.rewinds)
        self.journal.screen.say(
            f"{problem.text}; went back to update {self.training.update} "
            f"to continue with other random numbers (rewind {self.rewinds} of at most {MAX_REWINDS})"
        )

    def _evaluate_if_due(self) -> None:
        update, config = self.training.update, self.asked.config
        is_due = update > 0 and self._is_halt(self.asked.options.evaluate_every)
        if not is_due or update == self.evaluated_update:
            return
        agent = self.training.agent()
        results = {
            kind: evaluation.run(config, agent, evaluation.EPISODES, kind == "greedy", self.asked.seed)
            for kind in ("greedy", "sampled")
        }
        self.journal.take_evaluation(results)
        self.evaluated_update = update

    def _save(self) -> None:
        """Saves the state, once everything that was written about the updates before it is on the disk."""
        if self.training.update == self.saved_update:
            return
        self.journal.sync()
        progress = Progress(self.training.update, self.journal.return_window, self.rewinds)
        store.save(self.store, self.training.whole_state(), progress)
        self.saved_update, self._saved_at = self.training.update, time.perf_counter()
