"""Compares searches at unequal environment steps: random search, successive halving, and a population.

The ranges are deliberately wide: most of their values learn slowly or not at all. Random search trains every
point to the end. Halving and the population begin with the same points. Halving trains half of them on after
a quarter of the steps, and half of those after half of the steps. The members of the population are trained
for a shorter time; the steps that it plays to score them are counted with those of training. Both take at
most half of the steps of random search. So do two others, with which they are compared too: random search
over the first half of its points, and over all of them for half of the steps.

What counts is the agent that a search hands out, the best by the scores of the search, and its mean return
over fresh episodes. Repeats are compared in pairs: with the same seed, random search and halving begin with
the same points.
"""

import dataclasses
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.diagnosis.intervals import Interval, interval
from ppo_jax.host.programs import chunks, lanes

RANGES = {
    "learning_rate": ppo_jax.Range(1e-6, 1e-1, is_log=True),
    "gamma": ppo_jax.Range(0.5, 0.999),
    "gae_lambda": ppo_jax.Range(0.3, 1.0),
    "entropy_coefficient": ppo_jax.Range(1e-4, 1.0, is_log=True),
}
POINTS = 16  # with which each search begins
HALVING = ppo_jax.Halving(rungs=3, eta=2)
GENERATIONS = 5  # of the population
SHORTER = 0.4  # of the steps of a member, in the population; what is left of half goes to its scores
FRESH_EPISODES = 100  # of the agent that a search hands out


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
    "CartPole-v1": Task(120_000, 4),
    "Catch-bsuite": Task(40_000, 16),
    "Acrobot-v1": Task(100_000, 4),
}


class Found(NamedTuple):
    """What a search came to.

    Attributes:
        steps: The environment steps of all members, with those of scoring.
        value: The mean return of its best agent over fresh episodes.
    """

    steps: int
    value: float


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare searches at unequal environment steps."""

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
    result = {"points": POINTS, "repeats": options.repeats, "ranges": ranges}
    record.write(options.output, record.complete(result | {"tasks": rows}))


def compare(task: str, options: Options) -> dict[str, Any]:
    """Repeats all searches on a task, and returns what they came to."""
    lanes.use_all_cores()
    found: dict[str, list[Found]] = {}
    with tempfile.TemporaryDirectory() as folder:
        chunks.keep_compiled(Path(folder) / "compiled")
        for repeat in range(options.repeats):
            path = Path(folder) / str(repeat)
            for name, one in search_all(task, options.seed + 100 * repeat, path).items():
                found.setdefault(name, []).append(one)
                Console().print(task, repeat, name, one)
    random = found["random search"]
    row: dict[str, Any] = {"preset": task, "steps_of_a_member": TASKS[task].steps, "steps": random[0].steps}
    row |= {"searches": {name: sum_up(repeats, random) for name, repeats in found.items()}}
    Console().print(row)
    return row


def search_all(task: str, seed: int, folder: Path) -> dict[str, Found]:
    """Carries out all searches with a seed, each in a folder of its own."""
    population = ppo_jax.Population(GENERATIONS, RANGES, TASKS[task].episodes)
    random = search(task, seed, folder / "random")
    shorter = search(task, seed, folder / "shorter", share=0.5)
    halving = search(task, seed, folder / "halving", halving=HALVING)
    evolved = search(task, seed, folder / "population", share=SHORTER, population=population)
    return {
        "random search": found_by(random, POINTS, seed),
        "random search, half of the points": found_by(random, POINTS // 2, seed),
        "random search, half of the steps": found_by(shorter, POINTS, seed),
        "successive halving": found_by(halving, POINTS, seed),
        "population": found_by(evolved, POINTS, seed),
    }


def search(task: str, seed: int, path: Path, share: float = 1.0, **chosen: Any) -> ppo_jax.Sweep:
    """Carries out a search from the points that the seed draws, for a share of the steps of a member."""
    config, hyper = ppo_jax.preset(task)
    config = dataclasses.replace(config, total_timesteps=int(share * TASKS[task].steps))
    points = ppo_jax.sample(RANGES, POINTS, seed)
    options = ppo_jax.SweepOptions(seed, **chosen)
    return ppo_jax.run_sweep(config, points, 1, hyper, path, options=options, quiet=True)


def found_by(sweep: ppo_jax.Sweep, points: int, seed: int) -> Found:
    """Plays the best agent of the first points of a search, each of which has one member."""
    ranked = [row["point"] for row in sweep.summary["ranking"] if row["point"] < points]
    best = sweep.member(ranked[0])
    updates = sum(int(np.sum(sweep.metrics(point)["seconds"] > 0)) for point in range(points))
    steps = updates * best.config.batch_size + (sweep.summary.get("evaluation_steps") or 0)
    return Found(steps, best.evaluate(FRESH_EPISODES, greedy=False, seed=seed).mean)


def sum_up(repeats: list[Found], random: list[Found]) -> dict[str, Any]:
    """Sums up the repeats of a search.

    Args:
        repeats: What the search came to.
        random: What random search came to, with the same seeds.
    """
    values = np.array([one.value for one in repeats])
    shares = [one.steps / other.steps for one, other in zip(repeats, random, strict=True)]
    return {
        "share_of_steps": round(max(shares), 3),
        "return": rounded(interval(values)),
        "gain": rounded(interval(values - np.array([one.value for one in random]))),
        "returns": rounded(values),
    }


def rounded(values: Interval | np.ndarray) -> list[float]:
    """Returns numbers as the record has them."""
    return [round(float(x), 3) for x in values]


if __name__ == "__main__":
    main(tyro.cli(Options))
