"""Evaluating a policy on the host: compile, run, sum up in a few numbers."""

import math
from collections.abc import Mapping
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import numpy as np

from ppo_jax.actor_critic import Params
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.evaluate import MAX_STEPS, Episodes, evaluate
from ppo_jax.runs import request, store
from ppo_jax.runs.checkpoints import Checkpoint
from ppo_jax.runs.manifest import DamageError
from ppo_jax.runs.program import compiler_options
from ppo_jax.runs.request import Request
from ppo_jax.runs.store import Store
from ppo_jax.train import TrainState, make_ppo

EPISODES = 100  # of an evaluation during a training or after it


class Agent(NamedTuple):
    """What acts, and all that is saved of it.

    Attributes:
        params: Parameters of the network.
        statistics: Of the observations; None where they are not normalized.
    """

    params: Params
    statistics: Any


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


def run(config: Config, agent: Agent, num_episodes: int, greedy: bool, seed: int) -> Result:
    """Evaluates a policy on fresh episodes.

    Args:
        config: Of the run the policy comes from.
        agent: The policy.
        num_episodes: How many whole episodes.
        greedy: Take the most probable action rather than sample one.
        seed: The same seed gives the same episodes.
    """
    # Folded, so that no evaluation repeats the states that a training with the same seed began in.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    episodes = jax.device_get(_program(config, num_episodes, greedy)(key, agent))
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


def as_json(result: Result) -> dict[str, Any]:
    """Returns a result as JSON can hold it: None where a number is NaN or infinite."""
    return {name: value if math.isfinite(value) else None for name, value in result._asdict().items()}


def describe(result: Result) -> str:
    """Says a result in one line."""
    kind = "greedy" if result.greedy else "sampled"
    cut = f"; {result.unfinished} cut off after {MAX_STEPS:,} steps" if result.unfinished else ""
    return (
        f"{result.episodes} {kind} episodes: mean return {result.mean:.2f}, deviation {result.std:.2f}, "
        f"median {result.median:.2f}, min {result.min:.2f}, max {result.max:.2f}{cut}"
    )


def agent_of(state: TrainState) -> Agent:
    """Returns the policy of a training."""
    return Agent(params=state.learner.params, statistics=state.collector.statistics)


def tensors(agent: Agent) -> dict[str, Any]:
    """Names every array of a policy by its path, such as "params/actor/params/Dense_0/kernel"."""
    leaves = jax.tree.leaves_with_path(agent)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def restore(config: Config, given: Mapping[str, Any]) -> Agent:
    """Puts the tensors of a saved policy together again.

    Args:
        config: Says which network they belong to.
        given: By their path in the policy.

    Raises:
        UsageError: If they are not those of that network.
    """
    state = jax.eval_shape(make_ppo(config).init, Hyperparams(), jax.random.key(0))
    template = agent_of(state)
    expected = {name: _describe(array) for name, array in tensors(template).items()}
    found = {name: _describe(tensor) for name, tensor in given.items()}
    if found != expected:
        raise UsageError(
            "the policy's tensors are not those of the network that its config describes: "
            f"given {found}, expected {expected}; the files are damaged"
        )
    return jax.tree.unflatten(jax.tree.structure(template), [given[name] for name in expected])


def from_checkpoint(asked: Request, checkpoint: Checkpoint) -> Agent:
    """Takes the policy out of a checkpoint.

    Args:
        asked: What its run was asked for.
        checkpoint: One of that run.

    Raises:
        DamageError: If anything in it is not as it was written.
    """
    template = jax.eval_shape(make_ppo(asked.config).init, asked.hyper, jax.random.key(0))
    place = Store(checkpoint.path.parent, request.digest(asked), keep=1)
    try:
        return agent_of(store.load(place, checkpoint, template))
    except DamageError as error:
        raise DamageError(f"checkpoint '{checkpoint.path}' is damaged: {error}") from error


def _describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


@cache
def _program(config: Config, num_episodes: int, greedy: bool) -> Any:
    """Makes the program of an evaluation, which is compiled the first time it is called."""
    program = partial(_evaluate, config, num_episodes, greedy)
    return jax.jit(program, compiler_options=compiler_options())


def _evaluate(config: Config, num_episodes: int, greedy: bool, key: jax.Array, agent: Agent) -> Episodes:
    return evaluate(config, key, agent.params, num_episodes, greedy, statistics=agent.statistics)
