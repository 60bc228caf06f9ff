"""What has come out of a training so far: written down, shown, and watched."""

import dataclasses
from typing import IO

from ppo_jax.runs import records
from ppo_jax.runs.program import Chunk
from ppo_jax.runs.records import Record
from ppo_jax.runs.screen import Screen

# NaN says "none" in other metrics; in these it says that the training has diverged.
ALWAYS_FINITE = ("policy_loss", "value_loss", "entropy", "approx_kl", "grad_norm")


@dataclasses.dataclass
class Journal:
    """The record of a training, up to its newest chunk.

    Attributes:
        file: Where records are written.
        screen: Where they are shown.
        solved_return: Mean return of 100 episodes at which the task is solved, if there is a mark.
        chunk: The newest chunk.
        solved: The first record that reached the mark.
        failure: What went wrong at which update and what to do; empty while nothing has.
        episodes: How many episodes have ended.
    """

    file: IO[str]
    screen: Screen
    solved_return: float | None
    chunk: Chunk | None = None
    solved: Record | None = None
    failure: str = ""
    episodes: int = 0

    def take(self, chunk: Chunk) -> None:
        """Writes a chunk down, shows it, and looks for what is worth saying."""
        records.append(self.file, chunk.records)
        self.chunk = chunk
        self.episodes += sum(record["episodes"] for record in chunk.records)
        self.failure = next(filter(None, map(_failure, chunk.records)), "")
        self.screen.update(chunk.records, chunk.steps_per_second)
        if self.solved is None and self.solved_return is not None:
            self._look_for_solution(self.solved_return, chunk.records)

    def _look_for_solution(self, mark: float, new_records: list[Record]) -> None:
        known = (record for record in new_records if record["return_window"] is not None)
        self.solved = next((record for record in known if record["return_window"] >= mark), None)
        if self.solved is not None:
            self.screen.say(
                f"solved after {self.solved['env_steps']:,} steps and {self.solved['seconds']:.1f} s: "
                f"mean of 100 episodes {self.solved['return_window']:.1f}"
            )


def _failure(record: Record) -> str:
    nonfinite = [name for name in ALWAYS_FINITE if record[name] is None]
    if nonfinite:
        return (
            f"diverged: {', '.join(nonfinite)} is not finite at update {record['update']}; "
            "lower --learning-rate or --max-grad-norm"
        )
    if record["dead_ends"]:
        return (
            f"error of the environment: it allowed no action in {record['dead_ends']} of the states of "
            f"update {record['update']}; correct its legal_actions"
        )
    return ""
