"""Trains PPO on CartPole-v1 from 64 seeds in one compiled program and draws the curve with a band."""

import dataclasses
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

import ppo_jax
from ppo_jax.envs.registry import solved_return
from ppo_jax.host.pictures.style import COLORS, GUIDE, save


@dataclasses.dataclass(frozen=True)
class Options:
    """Train from many seeds at once."""

    preset: str = "CartPole-v1"
    """Which preset to train."""
    num_seeds: int = 64
    """S: how many seeds, vmapped in one program."""
    seed: int = 0
    """From which the seeds are split."""
    output: Path = Path("many_seeds.png")
    """Picture to write."""


def main(options: Options) -> None:
    """Trains, prints how many seeds solved the task and when, and draws."""
    config, hyper = ppo_jax.preset(options.preset)
    keys = jax.random.split(jax.random.key(options.seed), options.num_seeds)
    train = jax.jit(jax.vmap(ppo_jax.train, in_axes=(None, None, 0)), static_argnums=0)

    start = time.perf_counter()
    train = train.lower(config, hyper, keys).compile()
    print(f"compiled {options.num_seeds} seeds into one program in {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    states, metrics = jax.block_until_ready(train(hyper, keys))
    seconds = time.perf_counter() - start
    steps = int(metrics.env_steps.max()) * options.num_seeds
    print(f"{steps:,} steps in {seconds:.1f} s: {steps / seconds:,.0f} steps/s")

    returns = np.asarray(metrics.return_window)  # [S, U]
    report_solved(returns, np.asarray(metrics.env_steps[0]), solved_return(config.env))
    report_evaluation(config, states, keys)
    save(draw(returns, np.asarray(metrics.env_steps[0]), solved_return(config.env)), options.output)
    print(f"wrote {options.output}")


def report_solved(returns: np.ndarray, env_steps: np.ndarray, mark: float | None) -> None:
    """Prints how many of the seeds reached the mark, and after how many steps.

    Args:
        returns: Mean return of the last 100 episodes, [S, U].
        env_steps: [U].
        mark: At which the task is solved, if there is one.
    """
    if mark is None:
        return
    reached = np.nan_to_num(returns, nan=-np.inf) >= mark
    solved = reached.any(axis=1)
    steps = env_steps[reached.argmax(axis=1)][solved]
    print(f"solved (mean of 100 episodes >= {mark:g}): {solved.sum()} of {solved.size} seeds")
    if steps.size:
        print(f"steps to solved: median {np.median(steps):,.0f}, min {steps.min():,}, max {steps.max():,}")


def report_evaluation(config: ppo_jax.Config, states: ppo_jax.TrainState, keys: jax.Array) -> None:
    """Prints the greedy returns of all final policies, 100 fresh episodes each.

    Args:
        config: Of the training.
        states: After it, stacked over seeds, [S, ...].
        keys: Of the training, [S]; the evaluation folds something new into them.
    """
    evaluate = jax.jit(jax.vmap(partial(evaluate_one, config)))
    fresh = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, 1)
    means = np.asarray(evaluate(fresh, states))
    print(
        f"greedy evaluation, mean of 100 episodes: median over seeds {np.median(means):.1f}, "
        f"min {means.min():.1f}, max {means.max():.1f}"
    )


def evaluate_one(config: ppo_jax.Config, key: jax.Array, state: ppo_jax.TrainState) -> jax.Array:
    """Mean greedy return of the policy of one seed, []."""
    statistics = state.collector.statistics
    return ppo_jax.evaluate(config, key, state.learner.params, statistics=statistics).episode_return.mean()


def draw(returns: np.ndarray, env_steps: np.ndarray, mark: float | None) -> Figure:
    """Draws the median over seeds with the bands that hold the middle half and the middle 90 %.

    Args:
        returns: Mean return of the last 100 episodes, [S, U].
        env_steps: [U].
        mark: At which the task is solved, if there is one.
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
