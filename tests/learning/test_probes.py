"""Training from 20 seeds on environments whose answers are known; every seed has to find them."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Box, Discrete
from tests.support import probes

GAMMA = 0.9
CONFIG = Config(
    env="probe",
    num_envs=4,
    num_steps=8,
    total_timesteps=150 * 32,
    num_epochs=4,
    num_minibatches=2,
    hidden_sizes=(16,),
)
HYPER = Hyperparams(
    learning_rate=2e-2, gamma=GAMMA, gae_lambda=0.9, entropy_coefficient=0.0, max_grad_norm=math.inf
)
SEEDS = 20

PROBES = {
    "constant reward": probes.constant_reward(),
    "value from observation": probes.value_from_observation(),
    "discounting": probes.discounting(),
    "action chooses reward": probes.action_chooses_reward(),
    "policy and value": probes.policy_and_value(),
    "endless reward": probes.endless_reward(),
    "endless reward behind a time limit": probes.endless_reward(time_limit=4),
}


@pytest.fixture(scope="module")
def learned():
    """`learned(probe, shown)`: values and probabilities of action 1 of all seeds, [SEEDS, len(shown)]."""
    environments = list(PROBES.values())

    def run(index, key):
        state, _ = train(CONFIG, HYPER, key, probes.one_of(environments, index))
        return state.learner.params

    every_seed_of_every_probe = jax.vmap(jax.vmap(run, (None, 0)), (0, None))
    keys = jax.random.split(jax.random.key(0), SEEDS)
    params = jax.jit(every_seed_of_every_probe)(jnp.arange(len(PROBES)), keys)
    network = make_network(CONFIG, Box((1,)), Discrete(2))

    def read(probe, shown):
        row = jax.tree.map(lambda x: x[list(PROBES).index(probe)], params)
        observation = jnp.asarray(shown, jnp.float32)[:, None]
        value = jax.vmap(network.value, (0, None))(row, observation)
        policy = jax.vmap(network.policy, (0, None))(row, observation)
        return np.asarray(value), np.exp(policy.log_probs[..., 1])

    return read


@pytest.mark.parametrize(
    ("probe", "values"),
    [
        ("constant reward", {0: 1.0}),
        ("value from observation", {-1: -1.0, 1: 1.0}),
        ("discounting", {0: GAMMA, 1: 1.0}),
        ("policy and value", {-1: 1.0, 1: 2.0}),
        ("endless reward", {0: 1 / (1 - GAMMA)}),
        ("endless reward behind a time limit", {0: 1 / (1 - GAMMA)}),
    ],
)
def test_the_value_function_finds_the_known_values_from_every_seed(learned, probe, values):
    value, _ = learned(probe, list(values))
    expected = np.broadcast_to(list(values.values()), (SEEDS, len(values)))
    np.testing.assert_allclose(value, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize(
    ("probe", "rewarded"), [("action chooses reward", {0: 1}), ("policy and value", {-1: 0, 1: 1})]
)
def test_the_policy_finds_the_rewarded_action_from_every_seed(learned, probe, rewarded):
    _, probability = learned(probe, list(rewarded))
    expected = np.broadcast_to(list(rewarded.values()), (SEEDS, len(rewarded)))
    np.testing.assert_allclose(probability, expected, atol=0.05)
