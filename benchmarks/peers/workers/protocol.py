"""What a worker and the comparison say to each other: lines of JSON. Standard library only.

The comparison sends the job. The worker compiles, finds out how much work takes about as long as asked,
and answers that it is ready. For each line "go" it trains that much once and answers with the steps and
the seconds. The end of the input ends the worker.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple, TextIO


class Job(NamedTuple):
    """What to train.

    Attributes:
        env: Name of the environment, as gymnax and gymnasium call it.
        num_envs: N, environments of one agent.
        num_steps: T, steps per environment and update.
        num_epochs: K, passes over each batch.
        num_minibatches: Minibatches per epoch.
        agents: Independent trainings in one program.
        seconds: About how long one measurement should take.
        source: File with the training, for the worker that loads one; otherwise empty.
    """

    env: str
    num_envs: int
    num_steps: int
    num_epochs: int
    num_minibatches: int
    agents: int
    seconds: float
    source: str = ""

    @property
    def batch_size(self) -> int:
        """Environment steps of one update, over all agents."""
        return self.agents * self.num_envs * self.num_steps


class Ready(NamedTuple):
    """A worker that has warmed up.

    Attributes:
        train: Trains the calibrated work once; returns environment steps and seconds.
        compile_seconds: What tracing and compiling took; None if there is no such thing.
        version: Of the package that is measured.
    """

    train: Callable[[], tuple[int, float]]
    compile_seconds: float | None
    version: str


class UnsupportedError(Exception):
    """A job that a peer cannot do, with the reason in one line."""


def serve(prepare: Callable[[Job], Ready]) -> None:
    """Does one job for the comparison.

    Args:
        prepare: Compiles, calibrates and warms up.
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


def calibrate(clock: Callable[[int], float], seconds: float, first: int = 1, growth: int = 4) -> int:
    """Finds how many updates take about as long as asked; warms up on the way.

    Args:
        clock: Runs a number of updates and returns the seconds.
        seconds: As asked.
        first: Updates to begin with.
        growth: By how much to multiply them as long as they take less than a quarter of it.
    """
    count = first
    while (taken := clock(count)) < seconds / 4:
        count *= growth
    return max(1, round(count * seconds / taken))


def timed(function: Callable[[], Any]) -> float:
    """Returns the seconds that a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def _keep_stdout() -> TextIO:
    """Takes the standard output for the answers alone; whatever others print goes to standard error."""
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
