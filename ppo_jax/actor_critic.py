"""A policy and a value function as pure functions: what the trainer asks of any network.

A `Network` is put together from one or two `Tower`s, each of which maps features to outputs. What the
towers are made of, and by which library, is not known here.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.distributions import Distribution, make_distribution, num_outputs
from ppo_jax.envs.environment import actor_features, critic_features, legal_actions
from ppo_jax.envs.spaces import Box, Space

Params = dict[str, Any]  # {"actor": ..., "critic": ...} or {"shared": ...}, and "log_std" for a Box
Memory = Any  # a PyTree of arrays [..., H], without leaves where nothing is remembered


class Prediction(NamedTuple):
    """What a network says of a batch of observations.

    Attributes:
        policy: Distribution over actions [...].
        value: V, [...].
        memory: After the observations.
    """

    policy: Any
    value: jax.Array
    memory: Memory


class Network(NamedTuple):
    """Policy and value function as pure functions of their parameters.

    Attributes:
        init: `init(key) -> params`.
        init_memory: `init_memory(num_envs) -> memory` before the first step of an episode.
        apply: `apply(params, memory, observation [...], start [...]) -> Prediction`, one step; where
            `start` is True an episode begins, and the memory is forgotten first.
        unroll: `unroll(params, memory, observation, start) -> Prediction` of a minibatch: samples [M]
            without memory; with it sequences [n, T], from the memory before their first step.
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


class Tower(NamedTuple):
    """Features to outputs, as pure functions of parameters.

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
    """Puts a network together from an actor and a critic that share nothing.

    Args:
        actor: With outputs [..., num_outputs(action_space)].
        critic: With outputs [..., 1].
        action_space: Of the environment.
    """
    towers = {"actor": actor, "critic": critic}
    return _assemble(towers, partial(_outputs_of_two, actor, critic), action_space)


def shared(tower: Tower, action_space: Space) -> Network:
    """Puts a network together from one tower for both the policy and the value.

    Args:
        tower: With outputs [..., num_outputs(action_space) + 1], the value last.
        action_space: Of the environment.
    """
    return _assemble({"shared": tower}, partial(_outputs_of_one, tower), action_space)


def memoryless(
    init: Callable[[jax.Array], Params],
    policy: Callable[[Params, Any], Distribution],
    value: Callable[[Params, Any], jax.Array],
) -> Network:
    """Makes a network of three pure functions, for those who need no Flax.

    Args:
        init: `init(key) -> params`.
        policy: `policy(params, observation [...]) -> distribution` over actions [...].
        value: `value(params, observation [...]) -> V [...]`.
    """
    apply = partial(_apply_memoryless, policy, value)
    return Network(init=init, init_memory=lambda num_envs: (), apply=apply, unroll=apply, remembers=False)


def _assemble(towers: dict[str, Tower], outputs_of: Callable, action_space: Space) -> Network:
    apply = partial(_apply, outputs_of, action_space)
    remembers = any(tower.remembers for tower in towers.values())
    return Network(
        init=partial(_init, towers, action_space),
        init_memory=partial(_init_memory, towers),
        apply=apply,
        unroll=partial(_unroll, apply) if remembers else apply,
        remembers=remembers,
    )


def _init(towers: dict[str, Tower], action_space: Space, key: jax.Array) -> Params:
    keys = jax.random.split(key)
    params = {name: tower.init(key) for (name, tower), key in zip(towers.items(), keys, strict=False)}
    if isinstance(action_space, Box):
        params["log_std"] = jnp.zeros(num_outputs(action_space))
    return params


def _init_memory(towers: dict[str, Tower], num_envs: int) -> Memory:
    return {name: tower.init_memory(num_envs) for name, tower in towers.items()}


def _apply(
    outputs_of: Callable, action_space: Space, params: Params, memory: Memory, observation: Any, start: Any
) -> Prediction:
    memory = jax.tree.map(partial(_forget, start), memory)
    outputs, value, memory = outputs_of(params, memory, observation)
    policy = make_distribution(action_space, outputs, params.get("log_std"), legal_actions(observation))
    return Prediction(policy=policy, value=value, memory=memory)


def _outputs_of_two(
    actor: Tower, critic: Tower, params: Params, memory: Memory, observation: Any
) -> tuple[jax.Array, jax.Array, Memory]:
    outputs, actor_memory = actor.apply(params["actor"], memory["actor"], actor_features(observation))
    value, critic_memory = critic.apply(params["critic"], memory["critic"], critic_features(observation))
    return outputs, value[..., 0], {"actor": actor_memory, "critic": critic_memory}


def _outputs_of_one(
    tower: Tower, params: Params, memory: Memory, observation: Any
) -> tuple[jax.Array, jax.Array, Memory]:
    outputs, after = tower.apply(params["shared"], memory["shared"], actor_features(observation))
    return outputs[..., :-1], outputs[..., -1], {"shared": after}


def _forget(start: jax.Array, memory: jax.Array) -> jax.Array:
    return jnp.where(start[..., None], 0.0, memory)


def _unroll(
    apply: Callable, params: Params, memory: Memory, observation: Any, start: jax.Array
) -> Prediction:
    """Steps through sequences [n, T]; of the memories [n, T, H] before each step only the first is used.

    The later ones are computed again, so that gradients pass through them.
    """
    first = jax.tree.map(lambda x: x[:, 0], memory)
    steps = jax.tree.map(_swap, (observation, start))  # [T, n, ...]
    _, predictions = jax.lax.scan(partial(_unroll_one, apply, params), first, steps)
    return jax.tree.map(_swap, predictions)  # [n, T, ...]


def _unroll_one(
    apply: Callable, params: Params, memory: Memory, step: tuple[Any, jax.Array]
) -> tuple[Memory, Prediction]:
    prediction = apply(params, memory, *step)
    return prediction.memory, prediction


def _swap(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, 0, 1)


def _apply_memoryless(
    policy: Callable, value: Callable, params: Params, memory: Memory, observation: Any, start: Any
) -> Prediction:
    return Prediction(policy=policy(params, observation), value=value(params, observation), memory=())
