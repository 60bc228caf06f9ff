"""The journal of a run: writes its results to files, shows them, and notices when the task is solved."""

import dataclasses
import os
from typing import IO, Any

from ppo_jax.host.monitor.screen import Screen
from ppo_jax.host.monitor.sinks import Sinks
from ppo_jax.host.programs.evaluation import Result, as_json, describe
from ppo_jax.host.runs import records
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import sync
from ppo_jax.host.runs.records import Record
from ppo_jax.host.training.failure import Failure


@dataclasses.dataclass
class Journal:
    """The results of a run so far, and where they go.

    Attributes:
        run: The run directory.
        file: The file of the metrics, open to append to.
        screen: The screen on which the metrics are shown.
        sinks: The other places to which the metrics go.
        solved_return: The mean return of 100 episodes at which the task is solved; None without such a mark.
        last: The newest record; None before the first update.
        solved: The first record that reached the mark; None before that.
        failure: The failure that ended the run; None if there was none.
        episodes: The number of episodes that have ended.
    """

    run: RunDirectory
    file: IO[str]
    screen: Screen
    sinks: Sinks
    solved_return: float | None
    last: Record | None = None
    solved: Record | None = None
    failure: Failure | None = None
    episodes: int = 0

    @property
    def return_window(self) -> float | None:
        """Mean return of the last 100 episodes; None before there are 100."""
        return None if self.last is None else self.last["return_window"]

    @property
    def seconds(self) -> float:
        """Seconds of training up to the newest record."""
        return 0.0 if self.last is None else self.last["seconds"]

    def recall(self, past: list[Record]) -> None:
        """Takes note of records that the file already holds."""
        for record in past:
            self.last = record
            self.episodes += record["episodes"]
            mark, value = self.solved_return, record["return_window"]
            if self.solved is None and mark is not None and value is not None and value >= mark:
                self.solved = record

    def take(self, new: list[Record], steps_per_second: float) -> None:
        """Writes down the records of a chunk, shows them, and says so when the task is solved.

        Args:
            new: The records of the chunk.
            steps_per_second: Environment steps per second over the chunk.
        """
        records.append(self.file, new)
        was_solved = self.solved is not None
        self.recall(new)
        self.screen.update(new, steps_per_second)
        self.sinks.write_chunk(new, "train")
        if self.solved is not None and not was_solved:
            self.screen.say(
                f"solved after {self.solved['env_steps']:,} steps and {self.solved['seconds']:.1f} s: "
                f"mean of 100 episodes {self.solved['return_window']:.1f}"
            )

    def fail(self, new: list[Record], failure: Failure) -> None:
        """Writes down how a run failed. The records up to the failure go into the file, but nowhere else."""
        records.append(self.file, [row for row in new if row["update"] <= failure.update])
        self.failure = failure

    def take_evaluation(self, results: dict[str, Result]) -> None:
        """Writes down an evaluation of the policy after the newest record, and shows it.

        Args:
            results: The results by the kind of policy, "greedy" or "sampled".
        """
        assert self.last is not None
        now = {name: self.last[name] for name in ("update", "env_steps")}
        row: dict[str, Any] = {**now, **{kind: as_json(result) for kind, result in results.items()}}
        with self.run.evaluations.open("a") as file:
            records.append(file, [row])
            os.fsync(file.fileno())
        for kind, result in results.items():
            self.screen.say(f"update {now['update']:,}: {describe(result)}")
            shown = {name: getattr(result, name) for name in ("mean", "median", "min", "max", "mean_length")}
            self.sinks.write({**now, **shown, **result.metrics}, f"evaluate/{kind}")

    def sync(self) -> None:
        """Waits until everything that has been written would survive a loss of power."""
        os.fsync(self.file.fileno())
        sync(self.run.path)
