"""Agents that have learned nothing."""

from functools import partial

import jax
import numpy as np

import ppo_jax
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.envs.make import make_environment
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import network_for

Config = partial(ppo_jax.Config, hidden_sizes=(8,))


def init_agent(config):
    """An agent that has learned nothing, with statistics that are not those of its observations."""
    environment = make_environment(config.env)
    network = network_for(config, environment, make_network)
    size = environment.observation_space.shape
    statistics = Statistics(np.uint32(9), np.full(size, 0.02, np.float32), np.full(size, 0.1, np.float32))
    params = jax.device_get(jax.jit(network.init)(jax.random.key(1)))
    return Agent(params=params, statistics=statistics if config.normalize_observations else None)
