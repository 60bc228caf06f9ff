"""Trains a preset from many seeds in one program, and records how soon each seed solves the task."""

import dataclasses
import json
import shlex
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

import ppo_jax
from ppo_jax.envs.registry import solved_return
from ppo_jax.host.pictures.style import COLORS, GUIDE, save
from ppo_jax.host.programs import system

EPISODES = 100  # of each evaluation


@dataclasses.dataclass(frozen=True)
class Options:
    """Train from many seeds at once."""

    preset: str = "CartPole-v1"
    """Preset to train."""
    num_seeds: int = 64
    """S: how many seeds, vmapped in one program."""
    seed: int = 0
    """Seed that all others are split from."""
    output: Path = Path("many_seeds.png")
    """Picture to write."""
    record: Path | None = None
    """JSON file to write the result to; by default it is only printed."""


def main(options: Options) -> None:
    """Trains and evaluates all seeds, prints the result, draws it, and records it."""
    config, hyper = ppo_jax.preset(options.preset)
    keys = jax.random.split(jax.random.key(options.seed), options.num_seeds)
    train = jax.jit(jax.vmap(ppo_jax.train, in_axes=(None, None, 0)), static_argnums=0)

    start = time.perf_counter()
    train = train.lower(config, hyper, keys).compile()
    print(f"compiled {options.num_seeds} seeds into one program in {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    states, metrics = jax.block_until_ready(train(hyper, keys))
    seconds = time.perf_counter() - start
    env_steps, returns = np.asarray(metrics.env_steps[0]), np.asarray(metrics.return_window)  # [U], [S, U]
    steps = int(env_steps[-1]) * options.num_seeds
    print(f"{steps:,} steps in {seconds:.1f} s: {steps / seconds:,.0f} steps/s")

    mark = solved_return(config.env)
    record = {
        "preset": options.preset,
        "command": command(options),
        "seeds": options.num_seeds,
        "env_steps": int(env_steps[-1]),
        "solved_return": mark,
        "steps_to_solved": None if mark is None else steps_to_solved(returns, env_steps, mark),
        "greedy": evaluate(config, states, keys),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }
    record["result"] = result(record)
    print(f"{options.preset}: {record['result']}")
    save(draw(returns, env_steps, mark), options.output)
    print(f"wrote {options.output}")
    if options.record is not None:
        options.record.parent.mkdir(parents=True, exist_ok=True)
        options.record.write_text(json.dumps(record, indent=1) + "\n")
        print(f"wrote {options.record}")


def command(options: Options) -> str:
    """Returns the shortest command that trains the same."""
    words = ["python", "scripts/train_many_seeds.py"]
    for name in ("preset", "num_seeds", "seed"):
        value = getattr(options, name)
        if value != getattr(Options, name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    return shlex.join(words)


def steps_to_solved(returns: np.ndarray, env_steps: np.ndarray, mark: float) -> list[int | None]:
    """Finds when each seed first reached the mark.

    Args:
        returns: The mean return of the last 100 episodes, [S, U]; NaN before there were so many.
        env_steps: The environment steps of a seed, [U].
        mark: The mean return at which the task is solved.

    Returns:
        The environment steps of each seed, [S]; None for one that never solved the task.
    """
    reached = np.nan_to_num(returns, nan=-np.inf) >= mark  # [S, U]
    return [int(env_steps[row.argmax()]) if row.any() else None for row in reached]


def evaluate(config: ppo_jax.Config, states: ppo_jax.TrainState, keys: jax.Array) -> list[float]:
    """Plays 100 fresh episodes with each final policy.

    Args:
        config: The static part of the run.
        states: The final states, stacked over seeds, [S, ...].
        keys: The keys of the training, [S]; the evaluation derives keys of its own from them.

    Returns:
        The mean greedy return of each seed, [S].
    """

    def evaluate_one(key: jax.Array, state: ppo_jax.TrainState) -> jax.Array:
        agent = ppo_jax.agent_of(state)
        episodes = ppo_jax.evaluate(config, key, agent.params, EPISODES, statistics=agent.statistics)
        return episodes.episode_return.mean()

    fresh = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
    means = jax.jit(jax.vmap(evaluate_one))(fresh, states)
    return [float(f"{mean:.6g}") for mean in np.asarray(means)]


def result(record: dict[str, Any]) -> str:
    """Puts a record into a sentence."""
    greedy = np.array(record["greedy"])
    if greedy.min() == greedy.max():
        evaluated = f"greedy return {greedy.min():.4g} from every one"
    else:
        evaluated = (
            f"greedy return {np.median(greedy):.4g} (median over seeds), "
            f"from {greedy.min():.4g} to {greedy.max():.4g}"
        )
    if record["solved_return"] is None:
        return f"{record['seeds']} seeds: {evaluated}"
    solved = [steps for steps in record["steps_to_solved"] if steps is not None]
    if solved:
        when = f", after {min(solved):,} to {max(solved):,} steps, median {np.median(solved):,.0f}"
    else:
        when = f" in {record['env_steps']:,} steps"
    return f"{len(solved)} of {record['seeds']} seeds solved{when}; {evaluated}"


def draw(returns: np.ndarray, env_steps: np.ndarray, mark: float | None) -> Figure:
    """Draws the median over seeds with the bands that hold the middle half and the middle 90 %.

    Args:
        returns: The mean return of the last 100 episodes, [S, U].
        env_steps: The environment steps of a seed, [U].
        mark: The mean return at which the task is solved, if there is one.
    """
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    ax = figure.subplots()
    known = np.isfinite(returns).all(axis=0)  # updates at which every seed has finished 100 episodes
    low, quarter, median, three_quarters, high = np.percentile(returns[:, known], (5, 25, 50, 75, 95), axis=0)
    ax.fill_between(env_steps[known], low, high, color=COLORS[0], alpha=0.15, label="middle 90 %")
    ax.fill_between(
        env_steps[known], quarter, three_quarters, color=COLORS[0], alpha=0.3, label="middle 50 %"
    )
    ax.plot(env_steps[known], median, color=COLORS[0], label=f"median of {len(returns)} seeds")
    if mark is not None:
        ax.axhline(mark, color=GUIDE, linestyle="--", label=f"solved: {mark:g}")
    ax.set_xlabel("environment steps of one seed")
    ax.set_ylabel("mean return of the last 100 episodes")
    ax.legend(loc="lower right")
    return figure


if __name__ == "__main__":
    main(tyro.cli(Options))
