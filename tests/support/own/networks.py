"""A user's own networks: one of Flax modules, and one in plain JAX."""

import jax.numpy as jnp
from flax import linen

import ppo_jax
from ppo_jax.networks.distributions import make_distribution, num_outputs
from ppo_jax.networks.flax import plain
from ppo_jax.networks.network import memoryless, separate


class Net(linen.Module):
    outputs: int

    @linen.compact
    def __call__(self, x):
        x = linen.silu(linen.LayerNorm()(linen.Dense(8)(x)))
        return linen.Dense(self.outputs, kernel_init=linen.initializers.orthogonal(0.01))(x)


@ppo_jax.network
def of_flax(config, observation_space, action_space, privileged_space=None):
    actor = plain(Net(num_outputs(action_space)), observation_space)
    return separate(actor, plain(Net(1), privileged_space or observation_space), action_space)


@ppo_jax.network
def of_plain_jax(config, observation_space, action_space, privileged_space=None):
    """A linear policy and a linear value function."""
    size, outputs = observation_space.shape[0], num_outputs(action_space)

    def init(key):
        return {"policy": jnp.zeros((size, outputs)), "value": jnp.zeros(size), "log_std": jnp.zeros(outputs)}

    def policy(params, observation):
        return make_distribution(action_space, observation @ params["policy"], params["log_std"], None)

    def value(params, observation):
        return observation @ params["value"]

    return memoryless(init, policy, value)
