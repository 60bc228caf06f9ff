"""Taking a training to its end, and keeping on the way what must not be lost."""

import dataclasses
import time

import jax

from ppo_jax.runs import evaluation, failure, store
from ppo_jax.runs.failure import Failure
from ppo_jax.runs.journal import Journal
from ppo_jax.runs.program import Chunk, Training
from ppo_jax.runs.request import Request
from ppo_jax.runs.run_options import RunOptions
from ppo_jax.runs.stop import Stop
from ppo_jax.runs.store import Progress, Store
from ppo_jax.train import TrainState

CHECKPOINT_SECONDS = 60.0
MAX_REWINDS = 3


@dataclasses.dataclass
class Trainer:
    """A training with its journal and its checkpoints.

    Attributes:
        asked: What to do.
        options: How to keep it.
        training: Where it stands.
        store: Where its checkpoints go.
        journal: What has come out of it.
        stop: Whether to end early.
        saved_update: Updates done in the newest checkpoint; None while there is none.
        evaluated_update: Updates done at the newest evaluation; None while there is none.
        rewinds: How often it has gone back to the last good state.
    """

    asked: Request
    options: RunOptions
    training: Training
    store: Store
    journal: Journal
    stop: Stop
    saved_update: int | None = None
    evaluated_update: int | None = None
    rewinds: int = 0

    def __post_init__(self):
        self._saved_at = time.perf_counter()

    @property
    def is_done(self) -> bool:
        """Whether all updates that were asked for are done."""
        return self.training.update >= self.asked.config.num_updates

    def run(self) -> None:
        """Trains to the end, to a failure, or until it is to stop; the state it then has is saved."""
        self.journal.failure = failure.in_state(self.training.state, self.training.update)
        if self.journal.failure:
            return
        self._evaluate_if_due()
        with self.journal.screen.training():
            while not (self.is_done or self.stop.requested or self.journal.failure):
                self.advance()
        self._save()

    def advance(self) -> None:
        """Trains for a chunk, and does what is due after it."""
        before = self.training.state
        chunk = self.training.advance(self._next_halt())
        problem = failure.find(chunk)
        if problem is not None:
            self._go_back(before, chunk, problem)
            return
        self.journal.take(chunk)
        if self.stop.requested and not self.is_done:
            return  # to be saved at once; what else is due is done when it goes on
        self._evaluate_if_due()
        if self._is_halt(self.options.checkpoint_every) or self._is_time_to_save():
            self._save()

    def _next_halt(self) -> int:
        """Returns the update to go to at most: the end, or the next at which something is to be done."""
        steps = filter(None, (self.options.checkpoint_every, self.options.evaluate_every))
        halts = [(self.training.update // every + 1) * every for every in steps]
        return min([*halts, self.asked.config.num_updates])

    def _is_halt(self, every: int | None) -> bool:
        return every is not None and self.training.update % every == 0

    def _is_time_to_save(self) -> bool:
        by_time = self.options.checkpoint_every is None
        return by_time and time.perf_counter() > self._saved_at + CHECKPOINT_SECONDS

    def _go_back(self, before: TrainState, chunk: Chunk, problem: Failure) -> None:
        """Returns to the last good state: to stop there, or to try again with other random numbers."""
        self.training.state = before
        may_rewind = problem.is_nonfinite and self.options.on_nonfinite == "rewind"
        if not may_rewind or self.rewinds == MAX_REWINDS:
            self.journal.fail(chunk, problem)
            return
        self.rewinds += 1
        self.training.state = before._replace(key=jax.random.fold_in(before.key, self.rewinds))
        self.journal.screen.say(
            f"{problem.text}; went back to update {self.training.update}, "
            f"and on with other random numbers ({self.rewinds} of at most {MAX_REWINDS} times)"
        )

    def _evaluate_if_due(self) -> None:
        update = self.training.update
        if update == self.evaluated_update or not update or not self._is_halt(self.options.evaluate_every):
            return
        agent, asked = evaluation.agent_of(self.training.state), self.asked
        results = {
            kind: evaluation.run(asked.config, agent, evaluation.EPISODES, kind == "greedy", asked.seed)
            for kind in ("greedy", "sampled")
        }
        self.journal.take_evaluation(results)
        self.evaluated_update = update

    def _save(self) -> None:
        """Saves the state, after all that has been written about the way to it."""
        if self.training.update == self.saved_update:
            return
        self.journal.sync()
        progress = Progress(self.training.update, self.journal.return_window, self.rewinds)
        store.save(self.store, self.training.state, progress)
        self.saved_update, self._saved_at = self.training.update, time.perf_counter()
