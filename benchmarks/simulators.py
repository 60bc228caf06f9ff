"""Measures training in simulators of Gymnasium against what the simulators and the learning take alone.

All is timed in the same updates: the whole, the steps of the simulators within, and the learning program
within. What is left is what the host adds: choosing actions, and keeping what came of each step.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import record
import tyro
from gymnasium.vector import SyncVectorEnv
from rich.console import Console

import ppo_jax
from ppo_jax.host.programs import simulators


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure training in simulators."""

    preset: str = "gymnasium-LunarLander-v3"
    """Preset to train."""
    updates: int = 8
    """Updates in each repeat."""
    repeats: int = 5
    """Repeats, of which the median counts."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


class Clock:
    """Adds up the seconds that a function takes.

    Attributes:
        seconds: The sum.
    """

    def __init__(self, function: Callable[..., Any]):
        self._function = function
        self.seconds = 0.0

    def __call__(self, *arguments: Any) -> Any:
        """Calls the function, and waits for its result."""
        start = time.perf_counter()
        result = jax.block_until_ready(self._function(*arguments))
        self.seconds += time.perf_counter() - start
        return result


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    config, hyper = ppo_jax.preset(options.preset)
    stepping = Clock(SyncVectorEnv.step)
    SyncVectorEnv.step = lambda self, actions: stepping(self, actions)
    program = simulators.make_program(config, hyper)
    iteration: Any = program.advance.__self__  # pyright: ignore[reportFunctionMemberAccess]
    learning = iteration._end = Clock(iteration._end)
    state = program.init(hyper, np.uint32(0))
    state, _ = program.advance(hyper, state, np.int32(1))  # the first calls are slower

    rows = []
    for _ in range(options.repeats):
        stepping.seconds = learning.seconds = 0.0
        start = time.perf_counter()
        state, _ = program.advance(hyper, state, np.int32(options.updates))
        jax.block_until_ready(state)
        whole = time.perf_counter() - start
        rows.append([x / options.updates for x in (whole, stepping.seconds, learning.seconds)])

    whole, of_simulators, of_learning = (statistics.median(column) for column in zip(*rows, strict=True))
    ratios = [whole / (stepping + learning) for whole, stepping, learning in rows]
    result = {
        "preset": options.preset,
        "num_envs": config.num_envs,
        "seconds_of_an_update": round(whole, 5),
        "seconds_of_the_simulators": round(of_simulators, 5),
        "seconds_of_learning": round(of_learning, 5),
        "times_as_long": round(statistics.median(ratios), 4),
        "times_as_long_each": [round(ratio, 4) for ratio in ratios],
        "steps_per_second": round(config.batch_size / whole),
    }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


if __name__ == "__main__":
    main(tyro.cli(Options))
