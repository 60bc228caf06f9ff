"""A linear policy and value function, small enough for the oracles to follow by hand."""

from functools import partial

import jax
import numpy as np

from ppo_jax.algorithm.loss import Samples
from ppo_jax.networks.distributions import Categorical
from ppo_jax.networks.network import Network, Params, memoryless
from tests.support import oracles


def _init(num_features: int, num_actions: int, key: jax.Array) -> Params:
    actor_key, critic_key = jax.random.split(key)
    return {
        "actor": jax.random.normal(actor_key, (num_features, num_actions)),
        "critic": jax.random.normal(critic_key, (num_features,)),
    }


def _policy(params: Params, observation: jax.Array) -> Categorical:
    return Categorical(logits=observation @ params["actor"])


def _value(params: Params, observation: jax.Array) -> jax.Array:
    return observation @ params["critic"]


def linear_network(num_features: int = 3, num_actions: int = 4) -> Network:
    """Logits s W and value s w."""
    return memoryless(partial(_init, num_features, num_actions), _policy, _value)


def make_linear_network(config, observation_space, action_space, privileged_space) -> Network:
    """What a caller may give for `make_network`."""
    return linear_network(observation_space.shape[0], action_space.n)


def random_params(rng: np.random.Generator, num_features: int = 3, num_actions: int = 4) -> oracles.Params:
    """Drawn as float32, so that both precisions start from the same numbers."""
    return {
        "actor": rng.normal(size=(num_features, num_actions)).astype(np.float32),
        "critic": rng.normal(size=num_features).astype(np.float32),
    }


def random_samples(rng: np.random.Generator, params: oracles.Params, shape: tuple[int, ...]) -> Samples:
    """Samples that an older policy could have left; how much older, and how large, is drawn too."""
    num_features, num_actions = params["actor"].shape
    observation = rng.normal(size=(*shape, num_features)).astype(np.float32)
    action = rng.integers(num_actions, size=shape, dtype=np.int32)
    log_probs = oracles.log_softmax(observation @ params["actor"])
    log_prob = np.take_along_axis(log_probs, action[..., None], axis=-1)[..., 0]
    value = observation @ params["critic"]
    age = rng.choice([0.03, 0.3, 1.0, 15.0], p=[0.3, 0.3, 0.3, 0.1])
    size = 10 ** rng.uniform(-1, 1)
    noise, drift, advantage, target = rng.normal(size=(4, *shape))
    floats = (log_prob - age * noise, value + drift, size * advantage, size * target)
    log_prob, value, advantage, target = (x.astype(np.float32) for x in floats)
    return Samples(observation, action, log_prob, value, advantage, target)


def as_oracle(samples: Samples) -> oracles.Samples:
    """The fields that the oracle knows; a linear network has no others."""
    return oracles.Samples(*(getattr(samples, name) for name in oracles.Samples._fields))
