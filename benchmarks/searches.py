"""Compares searches at equal environment steps: random search, successive halving, and a population.

The ranges are deliberately wide: most of their values learn slowly or not at all. Random search trains every
point to the end. Halving begins with the same points. The population has fewer members, which are trained for
as long. What counts is the best return that any member has had so far, as a mean over its last 100 episodes,
against the environment steps of all members, with those that a population plays for its scores. The target is
what random search ends at: the interquartile mean of its repeats.
"""

import dataclasses
import json
import math
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.diagnosis.intervals import CONFIDENCE, RESAMPLES, interval
from ppo_jax.host.programs import chunks, lanes, system
from ppo_jax.host.runs import family, files, tables
from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start_sweep

RANGES = {
    "learning_rate": ppo_jax.Range(1e-6, 1e-1, is_log=True),
    "gamma": ppo_jax.Range(0.5, 0.999),
    "gae_lambda": ppo_jax.Range(0.3, 1.0),
    "entropy_coefficient": ppo_jax.Range(1e-4, 1.0, is_log=True),
}
POINTS = 16  # of random search, and those with which halving begins
MEMBERS = 6  # of the population


class Task(NamedTuple):
    """What to train a preset for.

    Attributes:
        steps: The environment steps of a member.
        episodes: The episodes after each generation that score a member of the population.
    """

    steps: int
    episodes: int


# Returns of 0 or 1 take more episodes to tell members apart, and those are short.
TASKS = {
    "CartPole-v1": Task(30_000, 4),
    "Catch-bsuite": Task(15_000, 16),
    "FrozenLake-misc": Task(30_000, 16),
}


class Curve(NamedTuple):
    """How a search went.

    Attributes:
        steps: The environment steps of all members after each update, [U].
        best: The best return that any member has had so far, [U].
    """

    steps: np.ndarray
    best: np.ndarray


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare searches at equal environment steps."""

    tasks: tuple[str, ...] = tuple(TASKS)
    """Presets to train."""
    repeats: int = 10
    """How often each search is repeated, with other seeds."""
    seed: int = 0
    """Seed of the first repeat; each repeat has a hundred seeds of its own."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Searches, prints, and writes the result."""
    # Side by side, because steps are counted rather than seconds.
    with ProcessPoolExecutor(len(options.tasks), get_context("spawn")) as pool:
        rows = list(pool.map(compare, options.tasks, [options] * len(options.tasks)))
    ranges = {name: str(one) for name, one in RANGES.items()}
    result = {"points": POINTS, "members": MEMBERS, "repeats": options.repeats, "ranges": ranges}
    result |= {"tasks": rows, "versions": system.versions(), "hardware": system.hardware()}
    if options.output is not None:
        with files.output(options.output) as draft:
            draft.write_text(json.dumps(result, indent=1) + "\n")


def compare(task: str, options: Options) -> dict[str, Any]:
    """Repeats all searches on a task, and returns what they came to."""
    lanes.use_all_cores()
    with tempfile.TemporaryDirectory() as folder:
        chunks.keep_compiled(Path(folder) / "compiled")
        return repeat_all(task, options, Path(folder))


def repeat_all(task: str, options: Options, folder: Path) -> dict[str, Any]:
    """Repeats all searches on a task, in a folder that is empty; returns what they came to."""
    population = ppo_jax.Population(generations=10, ranges=RANGES, episodes=TASKS[task].episodes)
    searches = {
        "random search": (POINTS, {}),
        "successive halving": (POINTS, {"halving": ppo_jax.Halving(rungs=2, eta=4)}),
        "population": (MEMBERS, {"population": population}),
    }
    curves: dict[str, list[Curve]] = {name: [] for name in searches}
    for repeat in range(options.repeats):
        for name, (size, chosen) in searches.items():
            seed = options.seed + 100 * repeat
            path = folder / f"{task}-{name}-{repeat}"
            curves[name].append(search(task, size, seed, path, chosen))
            Console().print(task, repeat, name, curves[name][-1].steps[-1], curves[name][-1].best[-1])
    target = float(interval(np.array([best[-1] for _, best in curves["random search"]])).iqm)
    whole = curves["random search"][0][0][-1]
    outcomes = {name: sum_up(of_repeats, target, whole) for name, of_repeats in curves.items()}
    row = {"preset": task, "steps_of_a_member": TASKS[task].steps, "target": round(target, 2), **outcomes}
    Console().print(row)
    return row


def search(task: str, size: int, seed: int, path: Path, chosen: dict[str, Any]) -> Curve:
    """Carries out a search; returns its curve."""
    config, hyper = ppo_jax.preset(task)
    config = dataclasses.replace(config, total_timesteps=TASKS[task].steps)
    base = Request(task, config, hyper, seed)
    asked = SweepRequest(base, tuple(ppo_jax.sample(RANGES, size, seed)), num_seeds=1, **chosen)
    sweep, status = start_sweep.run(asked, path, quiet=True)
    assert status == 0
    asked = family.read(sweep)
    columns = tables.read(sweep.metrics_of(0))
    done = columns[tables.SECONDS] > 0  # [L, U]
    steps = done.sum(axis=0) * config.batch_size
    for number, generation in enumerate(asked.generations):
        assert asked.population is not None
        steps[asked.population.end_of(number, config.num_updates) - 1] += generation.steps
    returns = np.where(done, columns["return_window"], np.nan)
    known = np.where(np.isfinite(returns), returns, -np.inf).max(axis=0)
    return Curve(np.cumsum(steps), np.maximum.accumulate(known))


def sum_up(curves: list[Curve], target: float, whole: float) -> dict[str, Any]:
    """Sums up the repeats of a search.

    Args:
        curves: The curves of all repeats.
        target: The return to reach.
        whole: The steps of random search.
    """
    final = np.array([best[-1] for _, best in curves])
    band = interval(final)
    shares = np.array([steps_to_reach(*curve, target) / whole for curve in curves])
    return {
        "share_of_steps": round(float(np.mean([steps[-1] for steps, _ in curves]) / whole), 3),
        "return": [round(float(x), 2) for x in (band.iqm, band.low, band.high)],
        "returns": [round(float(x), 2) for x in final],
        "share_to_target": [plain(x) for x in median(shares)],
        "shares_to_target": [plain(x) for x in shares],
    }


def steps_to_reach(steps: np.ndarray, best: np.ndarray, target: float) -> float:
    """Returns the steps after which a return was reached; infinity if it was not."""
    reached = np.flatnonzero(best >= target)
    return float(steps[reached[0]]) if len(reached) else math.inf


def median(values: np.ndarray) -> tuple[float, float, float]:
    """Returns the median with its bootstrap interval; the higher one of two, so that infinity is a value."""
    drawn = np.random.default_rng(0).choice(values, (RESAMPLES, len(values)))
    medians = np.quantile(drawn, 0.5, axis=1, method="higher")
    ends = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], method="higher")
    return float(np.quantile(values, 0.5, method="higher")), float(ends[0]), float(ends[1])


def plain(share: float) -> float | None:
    """Returns a share as JSON can hold it: None if the target was not reached."""
    return round(float(share), 3) if math.isfinite(share) else None


if __name__ == "__main__":
    main(tyro.cli(Options))
