"""One environment of a library: the contract, its limit, its first states, its value, and a whole run."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import ks_2samp

import ppo_jax
from ppo_jax.algorithm.agent import act
from ppo_jax.conformance import check
from ppo_jax.envs import make, registry
from ppo_jax.envs.environment import actor_features, legal_actions, make_batched
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from ppo_jax.networks.distributions import make_distribution, num_outputs
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from tests.libraries.cases import CASES

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries
GAMMA = 0.8


@pytest.fixture(scope="module")
def name(library, case):
    return f"{library}:{case.name}"


def made(name, case, limit, **arguments):
    """One copy whose episodes have so many steps at most."""
    return make.make_dynamics(name, {case.limit: limit, **arguments})


def play(environment, num_envs, num_steps, key):
    """The time steps of a uniformly random policy, [T, N, ...]."""
    space = environment.action_space
    outputs = jnp.zeros((num_envs, num_outputs(space)))

    def step(carry, key):
        state, observation = carry
        policy = make_distribution(space, outputs, outputs[0], legal_actions(observation))
        state, time_step = environment.step(environment.draw_one(num_envs, key), state, policy.sample(key))
        return (state, time_step.observation), time_step

    begin = environment.reset(num_envs, key)
    return jax.lax.scan(step, begin, jax.random.split(key, num_steps))[1]


def test_the_library_is_in_the_table_and_names_its_environments(library, case):
    assert library in registry.LIBRARIES
    known = make.names(library)
    assert known[case.name] == ""
    assert known[registry.LIBRARIES[library].example] == ""


def test_spaces_and_the_limit_are_those_of_the_library(name, case):
    dynamics = make.make_dynamics(name)
    assert dynamics.observation_space.shape == case.observation
    assert dynamics.action_space == case.action
    assert make.parameters(name)[case.limit].default == case.default_limit


def test_an_environment_keeps_to_the_contract(name, case):
    check(make.make_environment(name, {case.limit: 7}))


def test_the_limit_cuts_an_episode_off_and_does_not_terminate_it(name, case):
    limit, num_envs, num_steps = 5, 16, 20
    environment = make_batched(made(name, case, limit))
    time_steps = jax.device_get(
        jax.jit(lambda key: play(environment, num_envs, num_steps, key))(jax.random.key(1))
    )
    elapsed = np.zeros(num_envs, int)
    for terminated, truncated in zip(time_steps.terminated, time_steps.truncated, strict=True):
        elapsed += 1
        np.testing.assert_array_equal(terminated | truncated, terminated | (elapsed == limit))
        assert not (truncated & (elapsed < limit)).any()
        elapsed[terminated | truncated] = 0
    assert time_steps.truncated.any()


def test_a_reward_without_end_behind_a_limit_is_worth_one_over_one_minus_gamma(name, case):
    dynamics = made(name, case, limit=5)

    def step(key, state, action):
        state, transition = dynamics.step(key, state, action)
        endless = transition._replace(reward=jnp.float32(1), terminated=jnp.array(False), metrics={})
        return state, endless

    environment = make_batched(dynamics._replace(step=step))
    config = ppo_jax.Config(
        *("endless", 16, 16, 16 * 16 * 200),
        num_epochs=4,
        num_minibatches=4,
        hidden_sizes=(32,),
        normalize_observations=True,
    )
    hyper = ppo_jax.Hyperparams(
        learning_rate=1e-2, gamma=GAMMA, gae_lambda=0.9, entropy_coefficient=0.0, max_grad_norm=math.inf
    )
    state, _ = jax.jit(lambda key: ppo_jax.train(config, hyper, key, environment))(jax.random.key(0))
    network = network_for(config, environment, make_network)
    _, observation = environment.reset(64, jax.random.key(2))
    agent, begins = ppo_jax.agent_of(state), jnp.ones(64, bool)
    _, prediction = act(network, agent, network.init_memory(64), observation, begins)
    assert prediction.value.mean() == pytest.approx(1 / (1 - GAMMA), rel=0.02)


def test_first_states_are_distributed_as_those_of_the_library(name, case):
    size = make.parameters(name)["reset_pool"].default  # each first state of a pool begins one episode
    num_envs = min(size, 64)
    num_steps, num_rollouts = size // num_envs, math.ceil(10_000 / size)
    environment = make_batched(made(name, case, limit=1))
    weights = np.random.default_rng(3).normal(size=math.prod(case.observation))

    def summary(observations):
        """A number for each; rounded, so that equal ones stay equal in two programs."""
        return (np.reshape(observations, (-1, len(weights))).astype(np.float64) @ weights).round(6)

    def rollout(state, key):
        state = environment.pool.refill(key, state)

        def step(state, key):
            drawn = environment.draw_one(num_envs, key)
            action = jnp.zeros((num_envs, *getattr(case.action, "shape", ())), jnp.int32)
            state, time_step = environment.step(drawn, state, action)
            return state, actor_features(time_step.observation)

        return jax.lax.scan(step, state, jax.random.split(key, num_steps))

    @jax.jit
    def ours(key):
        state, _ = environment.reset(num_envs, key)
        return jax.lax.scan(rollout, state, jax.random.split(key, num_rollouts))[1]

    first = case.first()
    with jax.numpy_rank_promotion("allow"):
        keys = jax.random.split(jax.random.key(4), 10_000)
        theirs = summary(jax.jit(jax.vmap(first))(keys))
    found = summary(ours(jax.random.key(5)))
    assert np.unique(theirs).size > 1
    assert found.size >= 10_000
    assert ks_2samp(found, theirs).pvalue > 1e-3


def test_it_can_be_made_while_a_function_is_being_traced(name):
    @jax.jit
    def reset(key):
        return make.make_environment(name).reset(2, key)[1]

    assert actor_features(reset(jax.random.key(0))).shape[0] == 2


def test_what_does_not_fit_is_refused_by_name_with_the_fix(library, name, case):
    for argument, value, reason in case.wrong:
        with pytest.raises(UsageError) as caught:
            make.make_dynamics(name, {argument: value})
        assert argument in str(caught.value)
        assert reason in str(caught.value)
    for other, reason in case.refused:
        with pytest.raises(UsageError) as caught:
            make.make_dynamics(f"{library}:{other}")
        assert f"env = '{library}:{other}'" in str(caught.value)
        assert reason in str(caught.value)


def test_a_whole_run_trains_evaluates_and_can_be_opened_again(name, case, tmp_path):
    config = ppo_jax.Config(
        *(name, 4, 8, 64), num_minibatches=2, num_epochs=1, hidden_sizes=(4,), env_args={case.limit: 6}
    )
    assert start.run(Request(None, config, ppo_jax.Hyperparams(), seed=0), tmp_path / "run", quiet=True) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env"] == name
    assert np.isfinite(summary["evaluation"]["mean"])


def test_every_library_of_the_table_has_a_case():
    assert set(CASES) == {name for name, row in registry.LIBRARIES.items() if row.extra}
