"""Agents that have learned nothing."""

from functools import partial

import jax
import numpy as np

import ppo_jax
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.host.programs.evaluation import Agent
from ppo_jax.networks.flax import make_network

Config = partial(ppo_jax.Config, hidden_sizes=(8,))


def init_agent(config):
    """An agent that has learned nothing, and statistics that are not those of its observations."""
    environment = make_environment(config.env)
    network = make_network(config, environment.observation_space, environment.action_space)
    size = environment.observation_space.shape
    statistics = Statistics(np.uint32(9), np.full(size, 0.02, np.float32), np.full(size, 0.1, np.float32))
    params = jax.device_get(jax.jit(network.init)(jax.random.key(1)))
    return Agent(params, statistics if config.normalize_observations else None)
