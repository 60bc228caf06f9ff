"""Evaluates an agent from the host: compiles the evaluation, runs it, and sums it up in a few numbers."""

import dataclasses
import math
from collections.abc import Mapping
from functools import cache
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.evaluate import MAX_STEPS, Episodes, evaluate
from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.envs.environment import NO_METRICS
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.host.programs.chunks import compiler_options
from ppo_jax.validation import check_seed

EPISODES = 100  # of an evaluation during or after training


class Result(NamedTuple):
    """The returns of the episodes of one evaluation, summed up.

    Attributes:
        episodes: The number of episodes.
        greedy: Whether the most probable action was taken rather than a sampled one.
        seed: The seed of the evaluation.
        mean: The mean return.
        std: The standard deviation of the returns (of the sample, not of the mean).
        median: The median return.
        min: The least return.
        max: The largest return.
        mean_length: The mean length in steps.
        unfinished: Episodes cut off because they did not end within MAX_STEPS.
        metrics: The means of the environment's own metrics by name, each of its sum over an episode.
    """

    episodes: int
    greedy: bool
    seed: int
    mean: float
    std: float
    median: float
    min: float
    max: float
    mean_length: float
    unfinished: int
    metrics: dict[str, float] = NO_METRICS


def run(config: Config, agent: Agent, num_episodes: int, greedy: bool, seed: int) -> Result:
    """Evaluates an agent on fresh episodes.

    Args:
        config: The configuration of the run that the agent comes from.
        agent: The agent.
        num_episodes: The number of whole episodes.
        greedy: Whether to take the most probable action rather than sample one.
        seed: The source of all randomness; the same seed gives the same episodes.

    Raises:
        UsageError: If the seed is none.
    """
    check_seed(seed)
    # Folded, so that no evaluation repeats the states in which a run with the same seed began.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    if registry.is_on_host(config.env):
        from ppo_jax.host.programs import simulators

        episodes = simulators.play(config, agent, num_episodes, greedy, key)
    else:
        episodes = jax.device_get(_make_program(config, num_episodes, greedy)(key, agent))
    returns = episodes.episode_return.astype(float)
    own = episodes._fields[len(Episodes._fields) :]
    return Result(
        episodes=num_episodes,
        greedy=greedy,
        seed=seed,
        mean=float(returns.mean()),
        std=float(returns.std()),
        median=float(np.median(returns)),
        min=float(returns.min()),
        max=float(returns.max()),
        mean_length=float(episodes.episode_length.mean()),
        unfinished=int((~episodes.finished).sum()),
        metrics={name: float(getattr(episodes, name).mean(dtype=float)) for name in own},
    )


def in_other_task(config: Config, arguments: Mapping[str, Any]) -> Config:
    """Returns the configuration of a run with other arguments of its environment, where they are given.

    Otherwise an evaluation takes those of the run, and the last value of one that changes during it.
    """
    return dataclasses.replace(config, env_args={**dict(config.env_args), **arguments})  # pyright: ignore[reportArgumentType]


def in_gymnasium(config: Config) -> Config:
    """Returns the configuration of a run with the environment of Gymnasium that has the name of its own.

    Raises:
        UsageError: If Gymnasium has none, or one with other spaces.
    """
    library, _, id_ = config.env.rpartition(":")
    if library not in ("", "gymnax") or config.env_args:
        raise UsageError(
            f"env = {config.env!r} is not one of gymnax with its usual parameters, so Gymnasium does not "
            "have it; leave out --gymnasium"
        )
    there = dataclasses.replace(config, env=f"gymnasium:{id_}")
    made = [make_environment(one.env) for one in (config, there)]
    shapes = [(one.observation_space.shape, one.action_space) for one in made]  # pyright: ignore
    if shapes[0] != shapes[1]:
        raise UsageError(
            f"env = {config.env!r} has observations and actions {shapes[0]}, and that of Gymnasium "
            f"{shapes[1]}; leave out --gymnasium"
        )
    return there


@cache
def _make_program(config: Config, num_episodes: int, greedy: bool) -> Any:
    """Makes the program of an evaluation, which is compiled when it is first called."""

    def program(key: jax.Array, agent: Agent) -> Episodes:
        return evaluate(
            config, key, agent.params, num_episodes=num_episodes, greedy=greedy, statistics=agent.statistics
        )

    return jax.jit(program, compiler_options=compiler_options())


def as_json(result: Result) -> dict[str, Any]:
    """Returns a result as JSON can hold it: None where a number is NaN or infinite."""

    def plain(numbers: dict[str, Any]) -> dict[str, Any]:
        return {name: value if math.isfinite(value) else None for name, value in numbers.items()}

    numbers = result._asdict()
    own = plain(numbers.pop("metrics"))
    return {**plain(numbers), "metrics": own}


def describe(result: Result) -> str:
    """Describes a result in one line."""
    kind = "greedy" if result.greedy else "sampled"
    cut = f"; {result.unfinished} cut off after {MAX_STEPS:,} steps" if result.unfinished else ""
    own = "".join(f", {name} {value:.4g}" for name, value in result.metrics.items())
    return (
        f"{result.episodes} {kind} episodes: mean return {result.mean:.2f}, "
        f"standard deviation {result.std:.2f}, median {result.median:.2f}, "
        f"min {result.min:.2f}, max {result.max:.2f}{own}{cut}"
    )
