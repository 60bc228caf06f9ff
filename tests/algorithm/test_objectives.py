"""The paper's three objectives and their gradients against float64, for every kind of action."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.estimate import estimate
from ppo_jax.algorithm.loss import Samples, kl_penalized_surrogate, ppo_loss, unclipped_surrogate
from ppo_jax.algorithm.rollout import collect, init_collector
from ppo_jax.config import Config, Hyperparams
from ppo_jax.networks.distributions import Categorical, DiagonalGaussian
from ppo_jax.networks.network import Network, memoryless
from tests.support import oracles, oracles_continuous, probes
from tests.support.linear import make_linear_network

OBJECTIVES = ("clipped", "unclipped", "fixed_kl", "adaptive_kl")
CASES, M, FEATURES, ACTIONS = 200, 16, 3, 4
NUMBERS = {"clip_epsilon": 0.25, "kl_coefficient": 0.8, "entropy_coefficient": 0.05}
HYPER = Hyperparams(**NUMBERS, value_coefficient=0.0)


def test_the_unclipped_surrogate_is_ratio_times_advantage():
    ratio, advantage = jnp.array([0.1, 1.0, 30.0, 30.0]), jnp.array([2.0, -3.0, 2.0, -2.0])
    np.testing.assert_allclose(unclipped_surrogate(ratio, advantage), [0.2, -3, 60, -60], rtol=1e-6)


def test_the_penalized_surrogate_is_lower_by_beta_times_the_kl():
    ratio, advantage, kl = jnp.array([0.5, 2.0]), jnp.array([2.0, -3.0]), jnp.array([0.25, 4.0])
    np.testing.assert_allclose(kl_penalized_surrogate(ratio, advantage, kl, 0.5), [0.875, -8.0], rtol=1e-6)
    np.testing.assert_array_equal(kl_penalized_surrogate(ratio, advantage, kl, 0.0), ratio * advantage)


# Policies that are linear in the observation, in both precisions


class Kind(NamedTuple):
    """A kind of action: a network of this package, and what the oracle needs to follow it."""

    network: Network
    params: Callable  # params(rng) -> first parameters
    action: Callable  # action(rng, old policy) -> [M, ...]
    parts: Callable  # parts(params, old_params, observation, action) -> log_prob, entropy, kl
    gradient: Callable  # gradient(observation, slope) -> like the parameters


def _value(params, observation):
    return observation @ params["critic"]


def _categorical(params, observation):
    return Categorical(observation @ params["actor"])


def _gaussian(params, observation):
    mean = observation @ params["actor"]
    log_std = jnp.broadcast_to(jnp.expand_dims(params["log_std"], range(mean.ndim - 1)), mean.shape)
    return DiagonalGaussian(mean, log_std)


def _categorical_params(rng):
    return {"actor": rng.normal(size=(FEATURES, ACTIONS)), "critic": np.ones(FEATURES)}


def _gaussian_params(rng):
    return {**_categorical_params(rng), "log_std": rng.uniform(-0.5, 0.5, size=ACTIONS)}


def _categorical_parts(params, old_params, observation, action):
    logits, old_logits = observation @ params["actor"], observation @ old_params["actor"]
    return oracles_continuous.categorical_parts(logits, old_logits, action)


def _gaussian_parts(params, old_params, observation, action):
    mean, old_mean = observation @ params["actor"], observation @ old_params["actor"]
    log_std, old_log_std = (np.tile(x["log_std"], (M, 1)) for x in (params, old_params))
    return oracles_continuous.gaussian_parts(mean, log_std, old_mean, old_log_std, action)


def _categorical_gradient(observation, slope):
    return {"actor": observation.T @ slope["logits"], "critic": np.zeros(FEATURES)}


def _gaussian_gradient(observation, slope):
    return {
        "actor": observation.T @ slope["mean"],
        "critic": np.zeros(FEATURES),
        "log_std": slope["log_std"].sum(axis=0),
    }


KINDS = {
    "categorical": Kind(
        network=memoryless(None, _categorical, _value),
        params=_categorical_params,
        action=lambda rng, policy: rng.integers(ACTIONS, size=M, dtype=np.int32),
        parts=_categorical_parts,
        gradient=_categorical_gradient,
    ),
    "gaussian": Kind(
        network=memoryless(None, _gaussian, _value),
        params=_gaussian_params,
        action=lambda rng, policy: policy.mean + rng.normal(size=(M, ACTIONS)).astype(np.float32),
        parts=_gaussian_parts,
        gradient=_gaussian_gradient,
    ),
}


def single(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float32), tree)


def double(tree):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), tree)


def random_case(kind, rng):
    """Parameters, older ones, and samples of those; in float32, from which both precisions start."""
    old_params = single(kind.params(rng))
    params = single(jax.tree.map(lambda x: x + 0.15 * rng.normal(size=x.shape), old_params))
    observation = single(rng.normal(size=(M, FEATURES)))
    policy = kind.network.policy(old_params, observation)
    action = kind.action(rng, policy)
    samples = Samples(
        observation=observation,
        action=action,
        log_prob=policy.log_prob(action),
        value=np.zeros(M, np.float32),
        advantage=single(rng.normal(size=M)),
        target=np.zeros(M, np.float32),
        policy=policy,
    )
    return params, old_params, samples


def expected_case(kind, objective, params, old_params, samples):
    """The oracle's loss and gradient for normalized advantages."""
    observation, advantage = double(samples.observation), oracles.normalize(double(samples.advantage))
    parts = kind.parts(double(params), double(old_params), observation, samples.action)
    objective = oracles_continuous.Objective(objective, **NUMBERS)
    loss, slope = oracles_continuous.policy_loss(objective, advantage, double(samples.log_prob), parts)
    return loss, kind.gradient(observation, slope)


@pytest.fixture(scope="module", params=KINDS)
def cases(request):
    """A kind of action, and many random cases of it."""
    kind, rng = KINDS[request.param], np.random.default_rng(0)
    return kind, [random_case(kind, rng) for _ in range(CASES)]


def stack(trees):
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)


def needs_old_policy(objective):
    return objective in ("fixed_kl", "adaptive_kl")


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_loss_and_gradient_match_the_hand_written_oracle(cases, objective):
    kind, inputs = cases
    params, _, samples = map(stack, zip(*inputs, strict=True))
    samples = samples._replace(policy=samples.policy if needs_old_policy(objective) else None)
    loss = partial(ppo_loss, Config(objective=objective), kind.network, HYPER)
    (actual, _), gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, has_aux=True)))(params, samples)
    expected = stack([expected_case(kind, objective, *case) for case in inputs])
    chex.assert_trees_all_equal_shapes((actual, gradient), expected)
    chex.assert_trees_all_close((actual, gradient), expected, rtol=1e-4, atol=2e-5)


def test_the_objectives_differ_in_the_cases_they_are_compared_on(cases):
    """Otherwise the comparison above could not tell them apart."""
    kind, inputs = cases
    losses = [expected_case(kind, objective, *inputs[0])[0] for objective in OBJECTIVES[:3]]
    assert np.ptp(losses) > 1e-3
    assert min(np.abs(np.diff(losses))) > 1e-4


def test_at_the_old_policy_the_penalty_neither_costs_nor_pulls(cases):
    kind, inputs = cases
    _, old_params, samples = inputs[0]
    for beta in (0.0, 1e3):
        loss = partial(ppo_loss, Config(objective="fixed_kl"), kind.network)
        hyper = HYPER._replace(kl_coefficient=beta)
        (value, _), gradient = jax.value_and_grad(partial(loss, hyper), has_aux=True)(old_params, samples)
        unclipped = expected_case(kind, "unclipped", old_params, old_params, samples)
        chex.assert_trees_all_close((value, gradient), unclipped, rtol=1e-4, atol=1e-3)


# When the old policy is kept


def estimated(config, key):
    """What a rollout and `estimate` make of fresh parameters."""
    environment = probes.policy_and_value()
    network = make_linear_network(config, environment.observation_space, environment.action_space, None)
    params = network.init(key)
    collector = init_collector(config, environment, network, key)
    _, trajectory, _ = collect(config, environment, network, HYPER, key, params, collector)
    return estimate(config, network, HYPER, params, trajectory)


@pytest.mark.parametrize("schedule", ["linear", "adaptive_kl"])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_old_policy_is_kept_only_where_the_exact_kl_is_needed(objective, schedule):
    config = Config(num_envs=2, num_steps=3, objective=objective, learning_rate_schedule=schedule)
    samples = jax.eval_shape(partial(estimated, config), jax.random.key(0))
    if needs_old_policy(objective) or schedule == "adaptive_kl":
        assert samples.policy.logits.shape == (3, 2, 2)
    else:
        assert samples.policy is None


def test_the_old_policy_that_is_kept_is_the_one_that_acted():
    config = Config(num_envs=2, num_steps=30, objective="fixed_kl")
    samples = jax.jit(partial(estimated, config))(jax.random.key(0))
    np.testing.assert_allclose(samples.policy.log_prob(samples.action), samples.log_prob, atol=1e-6)
    assert np.ptp(samples.log_prob) > 1e-3
