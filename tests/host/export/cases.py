"""Policies of every kind, none of which has learned anything, and the environment that they act in."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

import ppo_jax
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.normalization import init_observation_statistics
from ppo_jax.envs import registry
from ppo_jax.envs.environment import Dynamics, Observation, Transition
from ppo_jax.envs.make import make_environment
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.spaces import Box, Discrete, MultiDiscrete

ACTIONS = {
    "discrete": Discrete(3),
    "multi": MultiDiscrete((2, 1, 4)),
    "box": Box((2,), (-2.0, -np.inf), (3.0, np.inf)),
}
IMAGE = (4, 5, 2)


def toy(actions: str = "discrete", image: bool = False, masked: bool = False, privileged: bool = False):
    """Shows random numbers around 1, pays for actions as each episode likes them, and ends at random."""
    space = ACTIONS[actions]
    shape = IMAGE if image else (5,)
    width = {"discrete": 3, "multi": 7}.get(actions, 0)

    def observe(key):
        shown_key, mask_key = jax.random.split(key)
        shown = 1 + jax.random.normal(shown_key, shape)
        if not (masked or privileged):
            return shown
        legal = jax.random.bernoulli(mask_key, 0.6, (width,)) if masked else None
        return Observation(shown, legal, jnp.ones(2) if privileged else None)

    def reset(key):
        return jax.random.normal(key), observe(key)

    def step(key, liking, action):
        key, end_key = jax.random.split(key)
        reward = jnp.sin(jnp.sum(action) + liking)
        ended = jax.random.bernoulli(end_key, 0.1)
        return liking, Transition(observe(key), reward, ended, jnp.array(False))

    unseen = Box((2,)) if privileged else None
    return Dynamics(reset, step, Box(shape), space, unseen)


def register():
    """Registers the environment, under the name toy, for `Config.env_args` to choose its kind."""
    registry.register("toy", toy)


KINDS = {
    "MLP": ({}, {}),
    "CNN": ({"image": True}, {"encoder": "cnn", "activation": "relu"}),
    "GRU": ({"privileged": True}, {"memory_size": 3}),
    "shared torso": ({}, {"shared_torso": True}),
    "multi-discrete": ({"actions": "multi"}, {}),
    "masked": ({"masked": True}, {}),
    "continuous": ({"actions": "box"}, {}),
    "masked multi-discrete with a shared memory": (
        {"actions": "multi", "masked": True},
        {"shared_torso": True, "memory_size": 3, "activation": "relu"},
    ),
}


def config_of(kind, normalized):
    """The configuration of a kind of policy."""
    arguments, fields = KINDS[kind]
    return ppo_jax.Config(
        env="toy", env_args=arguments, hidden_sizes=(8, 6), normalize_observations=normalized, **fields
    )


def agent_of(config, seed=0):
    """An agent with random biases and statistics, and logits of about 1."""
    environment = make_environment(config.env, config.env_args)
    network = network_for(config, environment, make_network)
    _, observation = jax.eval_shape(lambda key: environment.reset(1, key), jax.random.key(0))
    random = np.random.default_rng(seed)

    def noisy(x):
        return np.asarray(x + 0.1 * random.normal(size=x.shape), np.float32)

    params = jax.tree.map(noisy, jax.device_get(jax.jit(network.init)(jax.random.key(seed))))
    statistics = None
    if config.normalize_observations:
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), observation)
        made = jax.device_get(init_observation_statistics(zeros))
        statistics = jax.tree.map(
            lambda x: x if x.dtype == np.uint32 else np.asarray(random.uniform(0.5, 2, x.shape), np.float32),
            made,
        )
    return Agent(params=params, statistics=statistics)


ALL = list(itertools.product(KINDS, (False, True)))
