"""The probes in other forms: numbers as actions, a shared torso, a memory; again from 20 seeds each."""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Discrete
from tests.support import probes
from tests.support.marks import first_long

GAMMA = 0.9
SEEDS = 20
TARGET = 0.25  # far enough from the bound, beyond which a clipped action earns the same and teaches nothing

DISCRETE = Config(
    env="probe",
    num_envs=4,
    num_steps=8,
    total_timesteps=150 * 32,
    num_epochs=4,
    num_minibatches=2,
    hidden_sizes=(16,),
)
CONTINUOUS = dataclasses.replace(DISCRETE, num_envs=8, total_timesteps=150 * 64)
HYPER = Hyperparams(gamma=GAMMA, gae_lambda=0.9, entropy_coefficient=0.0, max_grad_norm=math.inf)

PROBES = {
    "constant reward": probes.constant_reward(),
    "value from observation": probes.value_from_observation(),
    "discounting": probes.discounting(),
    "action chooses reward": probes.action_chooses_reward(),
    "policy and value": probes.policy_and_value(),
    "endless reward": probes.endless_reward(),
    "endless reward behind a time limit": probes.endless_reward(time_limit=4),
    "recall": probes.recall(),
}
NEAREST = {"nearest": probes.nearest(TARGET)}

# What is shown from the first step of an episode on, and the value and the better action at the last one.
VALUES = [
    ("constant reward", (0,), 1.0),
    ("value from observation", (-1,), -1.0),
    ("value from observation", (1,), 1.0),
    ("discounting", (0,), GAMMA),
    ("discounting", (0, 1), 1.0),
    ("policy and value", (-1,), 1.0),
    ("policy and value", (1,), 2.0),
    ("endless reward", (0,) * 16, 1 / (1 - GAMMA)),  # its only first step is that of the training
    ("endless reward behind a time limit", (0,), 1 / (1 - GAMMA)),
    ("endless reward behind a time limit", (0,) * 4, 1 / (1 - GAMMA)),
    ("nearest", (0,), 0.0),
]
ACTIONS = [
    ("action chooses reward", (0,), 1),
    ("policy and value", (-1,), 0),
    ("policy and value", (1,), 1),
]
REMEMBERED_VALUES = [
    ("recall", (-1,), GAMMA),
    ("recall", (1,), GAMMA),
    ("recall", (-1, 0), 1.0),
    ("recall", (1, 0), 1.0),
]
REMEMBERED_ACTIONS = [("recall", (-1, 0), 0), ("recall", (1, 0), 1)]


class Learned(NamedTuple):
    """All seeds of all probes of one form after training."""

    config: Config
    environments: dict[str, Environment]
    params: dict  # [P, S, ...]

    def of(self, probe):
        """The parameters that one probe led to, [S, ...]."""
        return jax.tree.map(lambda x: x[list(self.environments).index(probe)], self.params)

    def predict(self, probe, shown):
        """Policies and values [S, 1] at the last of the observations shown in an episode."""
        environment = self.environments[probe]
        network = make_network(self.config, environment.observation_space, environment.action_space)
        predictions = jax.jit(jax.vmap(partial(_follow, network), (0, None)))
        return predictions(self.of(probe), jnp.asarray(shown, jnp.float32))

    def play(self, probe):
        """Mean greedy return of 64 episodes from each seed, [S]."""
        run = partial(evaluate, self.config, num_episodes=64, environment=self.environments[probe])
        keys = jax.random.split(jax.random.key(1), SEEDS)
        return jax.jit(jax.vmap(run))(keys, self.of(probe)).episode_return.mean(axis=1)


def _follow(network, params, shown):
    """Predictions at the last step of an episode that shows all this; where it begins, nothing is known."""
    stale = jax.tree.map(jnp.ones_like, network.init_memory(1))
    start = jnp.arange(len(shown)) == 0
    step = lambda memory, x: _predict(network, params, memory, *x)  # noqa: E731
    _, (policy, value) = jax.lax.scan(step, stale, (shown[:, None, None], start[:, None]))
    return jax.tree.map(lambda x: x[-1], policy), value[-1]


def _predict(network, params, memory, observation, start):
    policy, value, memory = network.apply(params, memory, observation, start)
    return memory, (policy, value)


def learn(is_continuous, learning_rate, **choices):
    """Trains a form on all probes from all seeds, in one compilation."""
    config = dataclasses.replace(CONTINUOUS if is_continuous else DISCRETE, **choices)
    environments, space = PROBES, Discrete(2)
    if is_continuous:
        signed = {name: probes.continuous(probe) for name, probe in PROBES.items()}
        environments, space = signed | NEAREST, probes.SIGNED
    hyper = HYPER._replace(learning_rate=learning_rate)

    def run(index, key):
        probe = probes.one_of(list(environments.values()), index)._replace(action_space=space)
        return train(config, hyper, key, probe)[0].learner.params

    options = {"xla_backend_optimization_level": "1"}  # it trains for longer than it compiles
    every_seed_of_every_probe = jax.jit(
        jax.vmap(jax.vmap(run, (None, 0)), (0, None)), compiler_options=options
    )
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return Learned(config, environments, every_seed_of_every_probe(jnp.arange(len(environments)), keys))


FORMS = {
    "continuous MLP": partial(learn, True, 1e-2),
    "discrete shared torso": partial(learn, False, 2e-2, shared_torso=True),
    "continuous shared torso": partial(learn, True, 1e-2, shared_torso=True),
    # 7 steps, so that updates begin in the middle of episodes
    "discrete GRU": partial(learn, False, 7e-3, memory_size=8, num_steps=7, total_timesteps=200 * 28),
    "continuous GRU": partial(learn, True, 7e-3, memory_size=8, num_steps=7, total_timesteps=200 * 56),
}


def assert_values(learned, values):
    for probe, shown, value in values:
        if probe in learned.environments:
            found = learned.predict(probe, shown)[1][:, 0]
            np.testing.assert_allclose(
                found, np.full(SEEDS, value), rtol=0.05, atol=0.05, err_msg=f"{probe} {shown}"
            )


def assert_actions(learned, actions):
    for probe, shown, action in actions:
        policy, _ = learned.predict(probe, shown)
        wrong = np.asarray(probability_of(policy, 1 - action)).max()
        assert wrong < 0.05, f"{probe} {shown}: the worse action has probability {wrong} from some seed"


def probability_of(policy, action):
    """Of taking 0 or 1, which is the sign where actions are numbers; [S]."""
    if hasattr(policy, "logits"):
        return jnp.exp(policy.log_probs[:, 0, action])
    side = 1 if action == 1 else -1
    return jax.scipy.stats.norm.cdf(side * policy.mean / jnp.exp(policy.log_std))[:, 0, 0]


def assert_mean(learned, probe, mean):
    policy, _ = learned.predict(probe, (0,))
    np.testing.assert_allclose(policy.mode()[:, 0, 0], np.full(SEEDS, mean), rtol=0.1)


def assert_recall(learned):
    """Who remembers, is always right; who does not, is no better than chance."""
    returns = learned.play("recall")
    if not learned.config.memory_size:
        np.testing.assert_allclose(returns, np.full(SEEDS, 0.5), atol=0.25)
        return
    np.testing.assert_array_equal(returns, np.ones(SEEDS))
    assert_values(learned, REMEMBERED_VALUES)
    assert_actions(learned, REMEMBERED_ACTIONS)


# One test for each form, so that each is trained once, by whichever worker. Those with a memory take longest.
@pytest.mark.parametrize("form", first_long(FORMS, 3))
def test_every_form_finds_the_known_values_and_actions_from_every_seed(form):
    learned = FORMS[form]()
    assert_values(learned, VALUES)
    assert_actions(learned, ACTIONS)
    assert_recall(learned)
    if "nearest" in learned.environments:
        assert_mean(learned, "nearest", TARGET)
