"""Loads the agent of a run from its policy or a checkpoint, and saves an agent as the policy of a run."""

import dataclasses
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import jax

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import RewardScaler
from ppo_jax.algorithm.train import agent_of, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import loading, policy, request
from ppo_jax.host.runs.checkpoints import directories, store
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.checkpoints.store import Store
from ppo_jax.host.runs.directory import RunDirectory


def save(run: RunDirectory, config: Config, agent: Agent, scaler: RewardScaler | None = None) -> None:
    """Saves an agent as the policy of a run.

    Args:
        run: The run directory.
        config: The configuration of the run.
        agent: The agent.
        scaler: The state of reward scaling; None if rewards are not scaled.
    """
    rewards = None
    if scaler is not None:
        num_samples, mean, variance = jax.device_get(scaler.statistics)
        rewards = {"num_samples": int(num_samples), "mean": float(mean), "variance": float(variance)}
    policy.save(run, config, jax.device_get(by_path(agent)), rewards)


def _alone(config: Config) -> Config:
    """Returns a configuration that asks for no other policy: the state of a run has the same form without."""
    alone = {name: getattr(Config, name) for name in ("initial_parts", "teacher_sees")}
    return dataclasses.replace(config, initial_policy=None, teacher=None, **alone)


def load(
    run: RunDirectory,
    best: bool = False,
    trust_code: bool = False,
    say: Callable[[str], None] = warnings.warn,
) -> tuple[Config, Agent]:
    """Loads the agent of a run, and before it the user's own code that the run uses.

    If the run is still training, or was killed, its newest checkpoint has the agent.

    Args:
        run: The run directory.
        best: Whether to take the checkpoint with the best return, rather than the newest agent.
        trust_code: Whether to use code that is not as it was when the run was started (see `code`).
        say: A function that is called with a sentence about a checkpoint that is taken for the policy.

    Returns:
        The configuration of the run, and the agent.

    Raises:
        UsageError: If there is no such agent, or its files are damaged.
        DamageError: If the checkpoint is damaged.
    """
    if not best and policy.is_newest(run):
        config, arrays = policy.load(run)
        loading.load(config, request.find_code(run, config, trust_code), trust_code)
        return config, restore(config, arrays)
    asked = request.read(run)
    loading.load(asked.config, request.find_code(run, asked.config, trust_code), trust_code)
    template = jax.eval_shape(make_ppo(_alone(asked.config)).init, asked.hyper, jax.random.key(0))
    place = Store(run.checkpoints, request.digest(asked), keep=1)
    if not best:
        progress, state = store.read_newest(place, template, say)
        say(f"'{run.path}' has not ended; this is its newest checkpoint, of update {progress.update:,}")
        return asked.config, agent_of(state)
    checkpoint = directories.find_best(run.checkpoints)
    try:
        return asked.config, agent_of(store.load(place, checkpoint, template))
    except DamageError as error:
        raise DamageError(f"checkpoint '{checkpoint.path}' is damaged: {error}") from error


def restore(config: Config, given: Mapping[str, Any]) -> Agent:
    """Makes an agent from the tensors of a saved policy.

    Args:
        config: The configuration, which says which network the tensors belong to.
        given: The tensors by their paths in the agent.

    Raises:
        UsageError: If the tensors are not those of that network.
    """

    def describe(arrays: Mapping[str, Any]) -> dict[str, str]:
        return {name: f"{array.dtype}{list(array.shape)}" for name, array in arrays.items()}

    state = jax.eval_shape(make_ppo(_alone(config)).init, Hyperparams(), jax.random.key(0))
    template = agent_of(state)
    found, expected = describe(given), describe(by_path(template))
    if found != expected:
        raise UsageError(
            "the policy's tensors are not those of the network that its config describes: "
            f"given {found}, expected {expected}; the files are damaged"
        )
    return jax.tree.unflatten(jax.tree.structure(template), [given[name] for name in expected])
