"""Known policies: what a run may start from or be taught by, and whether it fits the run."""

import hashlib
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ppo_jax import registered
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.config import Config
from ppo_jax.errors import UsageError, check_kind

Tensors = Mapping[str, Any]  # arrays by their paths in an `Agent`
MOST = 3  # differences that an error names
CRITIC = "critic"  # the name of the parameters of the value function, where a network keeps them apart


def register_policy(name: str, config: Config, agent: Agent) -> None:
    """Registers a trained policy: `Config(teacher=name)` and `Config(initial_policy=name)` then work.

    Args:
        name: The name, without a colon.
        config: The configuration of the run that the agent comes from.
        agent: The agent, `ppo_jax.agent_of(state)`; its arrays are known, not traced.

    Raises:
        UsageError: If the name is none, or the agent is something else.
    """
    registered.check_name(name)
    check_kind("config", config, Config, "ppo_jax.Config(...)")
    check_kind("agent", agent, Agent, "ppo_jax.agent_of(state)")
    tensors = {path: np.asarray(x) for path, x in by_path(agent).items()}
    content = b"".join(path.encode() + x.tobytes() for path, x in tensors.items())
    digest = hashlib.sha256(content).hexdigest()
    registered.enter_policy(name, registered.KnownPolicy(config, digest, tensors, is_own=True))


def rewards_of(policy: registered.KnownPolicy) -> Statistics | None:
    """Returns the statistics that the run of a policy scaled its rewards with, if they are known."""
    if policy.rewards is None:
        return None
    return Statistics(
        num_samples=jnp.asarray(policy.rewards["num_samples"], jnp.uint32),
        mean=jnp.asarray(policy.rewards["mean"], jnp.float32),
        variance=jnp.asarray(policy.rewards["variance"], jnp.float32),
    )


def is_of_critic(path: str) -> bool:
    """Whether a tensor of an agent is a parameter of the value function alone."""
    return path == f"params/{CRITIC}" or path.startswith(f"params/{CRITIC}/")


def check_fits(what: str, given: Tensors, wanted: Tensors) -> None:
    """Makes sure that the tensors of a policy are those of a network, in their names and shapes.

    Args:
        what: The field and its value, which begin the error.
        given: The tensors of the policy.
        wanted: Those of the network.

    Raises:
        UsageError: With the first differences.
    """

    def describe(tensors: Tensors, path: str) -> str:
        return str(list(tensors[path].shape)) if path in tensors else "missing"

    paths = dict.fromkeys((*wanted, *given))
    different = [path for path in paths if describe(given, path) != describe(wanted, path)]
    if not different:
        return
    told = "; ".join(
        f"{path} is {describe(given, path)}, not {describe(wanted, path)}" for path in different[:MOST]
    )
    more = f"; and {len(different) - MOST} others" if len(different) > MOST else ""
    raise UsageError(
        f"{what} does not fit this run: {told}{more}; give a policy of the same network, observations and "
        "actions"
    )


def check_alike(what: str, theirs: Config, ours: Config) -> None:
    """Makes sure that two configurations agree in what the tensors of one mean in the other.

    Args:
        what: The field and its value, which begin the error.
        theirs: The configuration of the policy.
        ours: The configuration of the run.

    Raises:
        UsageError: With every field that differs.
    """
    names = ["network", "hidden_sizes", "activation", "shared_torso", "memory_size", "normalize_observations"]
    if ours.initial_parts != "actor":
        names.append("normalize_rewards")  # it decides the units of values
    told = [
        f"it has {name} = {getattr(theirs, name)!r}, and this run {getattr(ours, name)!r}"
        for name in names
        if getattr(theirs, name) != getattr(ours, name)
    ]
    if told:
        raise UsageError(f"{what} does not fit this run: {'; '.join(told)}; give the same")
