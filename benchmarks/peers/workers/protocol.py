"""How a worker and the comparison talk to each other: in lines of JSON. Standard library only.

The comparison sends the job. The worker compiles, finds out how many updates take about as long as asked, and
answers that it is ready. For each line "go" it trains that many updates once, and answers with the steps and
the seconds. The worker ends when its input ends.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO

GROWTH = 4  # while updates take less than a quarter of the time that they should take
LIKELY_RATE = 375_000  # environment steps per second


class Job(NamedTuple):
    """What to train.

    Attributes:
        env: The name of the environment, the same in gymnax and gymnasium.
        num_envs: N, the environments of one agent.
        num_steps: T, the steps per environment and update.
        num_epochs: K, the passes over each batch.
        num_minibatches: The minibatches per epoch.
        agents: The number of agents trained side by side in one program.
        cores: The number of cores that the process may use.
        seconds: About how long one measurement should take.
        options: The options of XLA to compile with; without any, XLA's own.
        source: The file with the training, for the worker that loads one; otherwise empty.
    """

    env: str
    num_envs: int
    num_steps: int
    num_epochs: int
    num_minibatches: int
    agents: int
    cores: int
    seconds: float
    options: dict[str, str | bool] | None = None
    source: str = ""

    @property
    def batch_size(self) -> int:
        """Environment steps of one update, over all agents."""
        return self.agents * self.num_envs * self.num_steps


class Ready(NamedTuple):
    """A worker that has warmed up.

    Attributes:
        train: Trains the calibrated number of updates; returns the environment steps and the seconds.
        compile_seconds: The seconds of tracing and compiling; None if nothing is compiled.
        version: The version of the package that is measured.
    """

    train: Callable[[], tuple[int, float]]
    compile_seconds: float | None
    version: str


class UnsupportedError(Exception):
    """A job that a peer cannot do, with the reason in one line."""


def serve(prepare: Callable[[Job], Ready]) -> None:
    """Does one job for the comparison.

    Args:
        prepare: The function that compiles, calibrates and warms up.
    """
    answers = _keep_stdout()
    try:
        ready = prepare(Job(**json.loads(input())))
        _say(answers, ready=True, compile_seconds=ready.compile_seconds, version=ready.version)
        _answer_all(answers, ready)
    except UnsupportedError as error:
        _say(answers, ready=False, error=str(error))
    except Exception as error:
        traceback.print_exc()
        _say(answers, ready=False, error=f"{type(error).__name__}: {error}".splitlines()[0])


def calibrate(clock: Callable[[int], float], seconds: float) -> int:
    """Finds out how many updates take about as long as asked, and warms up in doing so.

    Args:
        clock: The function that runs a number of updates and returns the seconds.
        seconds: The seconds asked for.
    """
    count = 1
    while (taken := clock(count)) < seconds / 4:
        count *= GROWTH
    return max(1, round(count * seconds / taken))


def likely_updates(job: Job) -> int:
    """Guesses how many updates take as long as asked, for workers that compile anew for each number."""
    return max(1, round(LIKELY_RATE * job.seconds) // job.batch_size)


def better_updates(job: Job, count: int, taken: float) -> int:
    """Returns how many updates to measure, after some: as many if they took about as long as asked.

    Args:
        job: What to train.
        count: The number of updates that were tried.
        taken: The seconds that they took.
    """
    share = taken / job.seconds
    return count if 0.5 <= share <= 1.5 else max(1, round(count / share))


def _keep_stdout() -> TextIO:
    """Keeps standard output for the answers alone; what others print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return answers


def _answer_all(answers: TextIO, ready: Ready) -> None:
    for _ in sys.stdin:
        steps, seconds = ready.train()
        _say(answers, steps=steps, seconds=seconds)


def _say(answers: TextIO, **content: Any) -> None:
    answers.write(json.dumps(content) + "\n")
    answers.flush()
