"""The contract of a network: a policy and a value function as pure functions.

A `Network` is put together from one or two `Tower`s, each of which maps features to outputs. This module does
not know which library the towers are made with.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.config import Config
from ppo_jax.envs.environment import Environment, actor_features, critic_features, legal_actions
from ppo_jax.errors import UsageError, check_kind
from ppo_jax.networks.distributions import Distribution, make_distribution, num_outputs
from ppo_jax.spaces import Box, Space

Params = dict[str, Any]  # {"actor": ..., "critic": ...} or {"shared": ...}, and "log_std" for a Box
Memory = Any  # a PyTree of arrays [..., H], without leaves if nothing is remembered


class Prediction(NamedTuple):
    """The outputs of a network for a batch of observations.

    Attributes:
        policy: The distribution over actions, [...].
        value: V, [...].
        memory: The memory after these observations.
    """

    policy: Any
    value: jax.Array
    memory: Memory


class Network(NamedTuple):
    """A policy and a value function as pure functions of their parameters.

    Attributes:
        init: `init(key) -> params`.
        init_memory: `init_memory(num_envs) -> memory` before the first step of an episode.
        apply: `apply(params, memory, observation [...], start [...]) -> Prediction`, one step; where
            `start` is True an episode begins, and the memory is cleared first.
        unroll: `unroll(params, memory, observation, start) -> Prediction` for a minibatch: samples [M]
            without memory; with memory, sequences [n, T], each from the memory before its first step.
        remembers: Whether there is a memory, so that sequences have to stay whole.
    """

    init: Callable[[jax.Array], Params]
    init_memory: Callable[[int], Memory]
    apply: Callable[[Params, Memory, Any, Any], Prediction]
    unroll: Callable[[Params, Memory, Any, Any], Prediction]
    remembers: bool

    def policy(self, params: Params, observation: Any) -> Any:
        """Returns the distribution over actions [...] of a network without memory."""
        return self.apply(params, self.init_memory(0), observation, None).policy

    def value(self, params: Params, observation: Any) -> jax.Array:
        """Returns V, [...], of a network without memory."""
        return self.apply(params, self.init_memory(0), observation, None).value


MakeNetwork = Callable[[Config, Space, Space, Space | None], Network]


def network_for(config: Config, environment: Environment, make_network: MakeNetwork) -> Network:
    """Makes the network that fits the spaces of an environment.

    Raises:
        UsageError: If `make_network` is no function, or returns no network.
    """
    if not callable(make_network):
        raise UsageError(
            f"make_network is a {type(make_network).__name__}; give a function that returns a Network"
        )
    network = make_network(
        config, environment.observation_space, environment.action_space, environment.privileged_space
    )
    check_kind("what make_network returned", network, Network, "what separate, shared or memoryless return")
    return network


class Tower(NamedTuple):
    """A map from features to outputs, as pure functions of parameters.

    Attributes:
        init: `init(key) -> params`.
        init_memory: `init_memory(num_envs) -> memory`.
        apply: `apply(params, memory, features [..., *D]) -> (outputs [..., O], memory)`.
        remembers: Whether there is a memory.
    """

    init: Callable[[jax.Array], Any]
    init_memory: Callable[[int], Memory]
    apply: Callable[[Any, Memory, jax.Array], tuple[jax.Array, Memory]]
    remembers: bool


def separate(actor: Tower, critic: Tower, action_space: Space) -> Network:
    """Makes a network from an actor and a critic that share nothing.

    Args:
        actor: A tower with outputs [..., num_outputs(action_space)].
        critic: A tower with outputs [..., 1].
        action_space: The space of the actions.
    """

    def outputs_of(params: Params, memory: Memory, observation: Any) -> tuple[jax.Array, jax.Array, Memory]:
        outputs, actor_memory = actor.apply(params["actor"], memory["actor"], actor_features(observation))
        value, critic_memory = critic.apply(params["critic"], memory["critic"], critic_features(observation))
        _check_width(
            "the actor", outputs, num_outputs(action_space), f"the logits or means of {action_space}"
        )
        _check_width("the critic", value, 1, "the value")
        return outputs, value[..., 0], {"actor": actor_memory, "critic": critic_memory}

    return _assemble({"actor": actor, "critic": critic}, outputs_of, action_space)


def shared(tower: Tower, action_space: Space) -> Network:
    """Makes a network from one tower for both the policy and the value.

    Args:
        tower: A tower with outputs [..., num_outputs(action_space) + 1], the value last.
        action_space: The space of the actions.
    """

    def outputs_of(params: Params, memory: Memory, observation: Any) -> tuple[jax.Array, jax.Array, Memory]:
        outputs, after = tower.apply(params["shared"], memory["shared"], actor_features(observation))
        width, what = num_outputs(action_space) + 1, f"the logits or means of {action_space}, and the value"
        _check_width("the shared tower", outputs, width, what)
        policy, value = outputs[..., :-1], outputs[..., -1]
        return policy, value, {"shared": after}

    return _assemble({"shared": tower}, outputs_of, action_space)


def memoryless(
    init: Callable[[jax.Array], Params],
    policy: Callable[[Params, Any], Distribution],
    value: Callable[[Params, Any], jax.Array],
) -> Network:
    """Makes a network without memory from three pure functions, which need not use Flax.

    Args:
        init: `init(key) -> params`.
        policy: `policy(params, observation [...]) -> distribution` over actions [...].
        value: `value(params, observation [...]) -> V [...]`.
    """

    def apply(params: Params, memory: Memory, observation: Any, start: Any) -> Prediction:
        distribution, values = policy(params, observation), value(params, observation)
        if not hasattr(distribution, "log_prob"):
            raise UsageError(
                f"policy returned a {type(distribution).__name__}; return a distribution, as "
                "ppo_jax.networks.distributions.make_distribution makes them"
            )
        batch = jax.tree.leaves(distribution)[0].shape[:-1]
        if values.shape != batch:
            raise UsageError(
                f"value returned the shape {list(values.shape)} where policy returned distributions "
                f"{list(batch)}; return one value for each observation"
            )
        return Prediction(policy=distribution, value=values, memory=())

    return Network(init=init, init_memory=lambda num_envs: (), apply=apply, unroll=apply, remembers=False)


def _check_width(tower: str, outputs: jax.Array, width: int, what: str) -> None:
    """Makes sure that a tower has as many outputs as are used.

    Raises:
        UsageError: If it has more or fewer.
    """
    if outputs.shape[-1:] != (width,):
        raise UsageError(
            f"{tower} returns outputs of shape {list(outputs.shape)}, whose last axis is not {width}: {what}"
        )


def _assemble(towers: dict[str, Tower], outputs_of: Callable, action_space: Space) -> Network:
    """Makes a network from towers and a function that returns their outputs, value and memory."""

    def init(key: jax.Array) -> Params:
        # One key for each tower; a shared tower uses only the first.
        keys = jax.random.split(key)
        params = {name: tower.init(key) for (name, tower), key in zip(towers.items(), keys, strict=False)}
        if isinstance(action_space, Box):
            # The same in all states; at 0 the standard deviation is the scale of the actions.
            params["log_std"] = jnp.zeros(num_outputs(action_space), jnp.float32)
        return params

    def init_memory(num_envs: int) -> Memory:
        return {name: tower.init_memory(num_envs) for name, tower in towers.items()}

    def apply(params: Params, memory: Memory, observation: Any, start: Any) -> Prediction:
        # Where an episode starts, nothing of the one before is remembered.
        memory = jax.tree.map(lambda x: jnp.where(start[..., None], 0.0, x), memory)
        outputs, value, memory = outputs_of(params, memory, observation)

        legal = legal_actions(observation)
        policy = make_distribution(action_space, outputs, params.get("log_std"), legal)
        return Prediction(policy=policy, value=value, memory=memory)

    remembers = any(tower.remembers for tower in towers.values())
    return Network(
        init=init,
        init_memory=init_memory,
        apply=apply,
        unroll=partial(_unroll, apply) if remembers else apply,
        remembers=remembers,
    )


def _unroll(
    apply: Callable, params: Params, memory: Memory, observation: Any, start: jax.Array
) -> Prediction:
    """Steps through sequences [n, T].

    The stored memories, [n, T, H], are those before each step. Only the first of each sequence is used; the
    later ones are computed again, so that gradients pass through them.
    """

    def step(memory: Memory, inputs: tuple[Any, jax.Array]) -> tuple[Memory, Prediction]:
        observation, start = inputs  # [n, ...]
        prediction = apply(params, memory, observation, start)
        return prediction.memory, prediction

    first = jax.tree.map(lambda x: x[:, 0], memory)  # [n, H]
    inputs = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), (observation, start))  # [T, n, ...]
    _, predictions = jax.lax.scan(step, first, inputs)
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), predictions)  # [n, T, ...]
