"""The policy and the value function. The only module that knows flax."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen, traverse_util

from ppo_jax.config import Config
from ppo_jax.distributions import Categorical
from ppo_jax.envs.spaces import Box, Discrete, Space
from ppo_jax.errors import UsageError

Params = dict[str, Any]  # {"actor": ..., "critic": ...}

_ACTIVATIONS = {"tanh": linen.tanh, "relu": linen.relu}


class Network(NamedTuple):
    """Policy and value function as pure functions of their parameters.

    Attributes:
        init: `init(key) -> params`.
        policy: `policy(params, observation [..., *D]) -> distribution` over actions [...].
        value: `value(params, observation [..., *D]) -> V [...]`.
    """

    init: Callable[[jax.Array], Params]
    policy: Callable[[Params, jax.Array], Categorical]
    value: Callable[[Params, jax.Array], jax.Array]


class MLP(linen.Module):
    """Dense layers with orthogonal weights and zero biases.

    The gains are those of the original PPO code: sqrt(2) inside, 0.01 for the policy's output (so that
    the first policy is nearly uniform), 1 for the value's.

    Attributes:
        hidden_sizes: Widths of the hidden layers.
        output_size: Width of the output.
        output_gain: Gain of the output layer's weights.
        activation: Between the layers.
    """

    hidden_sizes: tuple[int, ...]
    output_size: int
    output_gain: float
    activation: Callable[[jax.Array], jax.Array]

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Maps features [..., D] to outputs [..., output_size]."""
        for size in self.hidden_sizes:
            x = self.activation(_dense(size, math.sqrt(2))(x))
        return _dense(self.output_size, self.output_gain)(x)


def make_network(config: Config, observation_space: Space, action_space: Space) -> Network:
    """Makes separate actor and critic MLPs that fit the spaces.

    Args:
        config: For the hidden sizes and the activation.
        observation_space: Box of any rank; an observation is flattened in row-major order.
        action_space: Discrete.

    Returns:
        The network.

    Raises:
        UsageError: If a space is of another kind.
    """
    if not isinstance(observation_space, Box) or not isinstance(action_space, Discrete):
        raise UsageError(
            f"env = {config.env!r} has observations {observation_space} and actions {action_space}; "
            "Box observations and Discrete actions are implemented"
        )
    mlp = partial(MLP, config.hidden_sizes, activation=_ACTIVATIONS[config.activation])
    actor = mlp(output_size=action_space.n, output_gain=0.01)
    critic = mlp(output_size=1, output_gain=1.0)
    rank = len(observation_space.shape)
    return Network(
        init=partial(_init, actor, critic, math.prod(observation_space.shape)),
        policy=partial(_policy, actor, rank),
        value=partial(_value, critic, rank),
    )


def flatten(params: Params) -> dict[str, Any]:
    """Names every array of the parameters by its path, such as "actor/params/Dense_0/kernel"."""
    return dict(traverse_util.flatten_dict(params, sep="/"))


def unflatten(tensors: Mapping[str, jax.Array]) -> Params:
    """Undoes `flatten`."""
    return traverse_util.unflatten_dict(tensors, sep="/")


def _init(actor: MLP, critic: MLP, num_features: int, key: jax.Array) -> Params:
    actor_key, critic_key = jax.random.split(key)
    features = jnp.zeros(num_features)
    return {"actor": actor.init(actor_key, features), "critic": critic.init(critic_key, features)}


def _policy(actor: MLP, rank: int, params: Params, observation: jax.Array) -> Categorical:
    return Categorical(logits=_apply(actor, params["actor"], rank, observation))


def _value(critic: MLP, rank: int, params: Params, observation: jax.Array) -> jax.Array:
    return _apply(critic, params["critic"], rank, observation)[..., 0]


def _apply(module: MLP, params: Any, rank: int, observation: jax.Array) -> jax.Array:
    batch_shape = observation.shape[: observation.ndim - rank]
    return jnp.asarray(module.apply(params, observation.reshape(*batch_shape, -1)))


def _dense(size: int, gain: float) -> linen.Dense:
    return linen.Dense(size, kernel_init=linen.initializers.orthogonal(gain))
