"""Training from 20 seeds on environments whose answers are known; every seed has to find them."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import Config, Hyperparams
from ppo_jax.networks import make_network
from ppo_jax.train import train
from tests import probes

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
KEYS = 20


def learned(environment, shown):
    """Trains 20 seeds; returns values and probabilities of action 1, each [20, len(shown)]."""
    run = jax.vmap(partial(train, CONFIG, HYPER, environment=environment))
    state, _ = jax.jit(run)(jax.random.split(jax.random.key(0), KEYS))
    network = make_network(CONFIG, environment.observation_space, environment.action_space)
    observation = jnp.asarray(shown, jnp.float32)[:, None]
    value = jax.vmap(network.value, (0, None))(state.learner.params, observation)
    policy = jax.vmap(network.policy, (0, None))(state.learner.params, observation)
    return np.asarray(value), np.exp(policy.log_probs[..., 1])


@pytest.mark.parametrize(
    ("environment", "values"),
    [
        pytest.param(probes.constant_reward(), {0: 1.0}, id="constant reward"),
        pytest.param(probes.value_from_observation(), {-1: -1.0, 1: 1.0}, id="value from observation"),
        pytest.param(probes.discounting(), {0: GAMMA, 1: 1.0}, id="discounting"),
        pytest.param(probes.endless_reward(), {0: 1 / (1 - GAMMA)}, id="endless reward"),
        pytest.param(probes.endless_reward(time_limit=4), {0: 1 / (1 - GAMMA)}, id="time limit"),
    ],
)
def test_the_value_function_finds_the_known_values_from_every_seed(environment, values):
    value, _ = learned(environment, list(values))
    expected = np.broadcast_to(list(values.values()), value.shape)
    np.testing.assert_allclose(value, expected, rtol=0.05, atol=0.05)


def test_the_policy_finds_the_rewarded_action_from_every_seed():
    _, probability = learned(probes.action_chooses_reward(), [0])
    assert probability.min() > 0.95


def test_policy_and_value_are_learned_together_from_every_seed():
    value, probability = learned(probes.policy_and_value(), [-1, 1])
    assert probability[:, 0].max() < 0.05
    assert probability[:, 1].min() > 0.95
    np.testing.assert_allclose(value, np.broadcast_to([1.0, 2.0], value.shape), atol=0.1)
