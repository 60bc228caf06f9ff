"""Evaluating a policy on the host: compile, run, sum up in a few numbers."""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config import Config
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.evaluate import MAX_STEPS, evaluate
from ppo_jax.networks import Params, flatten, make_network, unflatten


class Result(NamedTuple):
    """Returns of the episodes of one evaluation.

    Attributes:
        episodes: How many.
        greedy: Whether the most probable action was taken, rather than one sampled.
        seed: Of the evaluation.
        mean: Mean return.
        std: Standard deviation of the returns (of the sample, not of the mean).
        median: Median return.
        min: Least return.
        max: Largest return.
        mean_length: Mean length in steps.
        unfinished: Episodes cut off because they did not end within MAX_STEPS.
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


def run(config: Config, params: Params, num_episodes: int, greedy: bool, seed: int) -> Result:
    """Evaluates a policy on fresh episodes.

    Args:
        config: Of the run the policy comes from.
        params: The policy's.
        num_episodes: How many whole episodes.
        greedy: Take the most probable action rather than sample one.
        seed: The same seed gives the same episodes.
    """
    program = jax.jit(partial(evaluate, config, num_episodes=num_episodes, greedy=greedy))
    # Folded, so that no evaluation repeats the states that a training with the same seed began in.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    episodes = jax.device_get(program(key, params))
    returns = episodes.episode_return.astype(float)
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
    )


def describe(result: Result) -> str:
    """Says a result in one line."""
    kind = "greedy" if result.greedy else "sampled"
    cut = f"; {result.unfinished} cut off after {MAX_STEPS:,} steps" if result.unfinished else ""
    return (
        f"{result.episodes} {kind} episodes: mean return {result.mean:.2f}, deviation {result.std:.2f}, "
        f"median {result.median:.2f}, min {result.min:.2f}, max {result.max:.2f}{cut}"
    )


def restore(config: Config, tensors: Mapping[str, Any]) -> Params:
    """Puts the tensors of a saved policy together again.

    Args:
        config: Says which network they belong to.
        tensors: By their path in the parameters.

    Raises:
        UsageError: If they are not those of that network.
    """
    environment = make_environment(config.env)
    network = make_network(config, environment.observation_space, environment.action_space)
    expected = {
        name: array.shape for name, array in flatten(jax.eval_shape(network.init, jax.random.key(0))).items()
    }
    given = {name: tensor.shape for name, tensor in tensors.items()}
    if given != expected:
        raise UsageError(
            "the policy's tensors are not those of the network that its config describes: "
            f"given {given}, expected {expected}; the files are damaged"
        )
    return unflatten(tensors)
