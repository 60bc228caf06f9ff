"""The table of environments against gymnax and Gymnasium themselves."""

from functools import partial

import chex
import gymnasium
import gymnax
import jax
import jax.numpy as jnp
import pytest

from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs import registry
from ppo_jax.envs.make import make_environment
from ppo_jax.envs.registry import ENVIRONMENTS
from ppo_jax.networks.distributions import make_distribution, num_outputs
from ppo_jax.spaces import Box, Discrete
from tests.support.stepping import step

# The others need more than this package: they are not made here.
COMPLETE = [name for name, info in ENVIRONMENTS.items() if not info.needs]


@pytest.fixture
def probe_name():
    """A name registered with gymnax for the time of one test."""
    name = "MyCartPole-v7"
    gymnax.register(name, type(gymnax.make("CartPole-v1")[0]))
    yield name
    del gymnax.registration._registry[name]
    gymnax.registered_envs.remove(name)


def test_the_table_has_exactly_the_environments_that_gymnax_registers():
    assert sorted(ENVIRONMENTS) == sorted(gymnax.registered_envs)


AT_ONCE = {"CartPole-v1", "Pendulum-v1", "Breakout-MinAtar", "FrozenLake-misc"}  # one of each kind


def unless_at_once(mark):
    return [x if x in AT_ONCE else pytest.param(x, marks=mark) for x in COMPLETE]


@pytest.mark.parametrize("name", unless_at_once(pytest.mark.slow))  # test_conformance does more
def test_an_environment_can_be_made_and_stepped(name):
    environment = make_environment(name)
    assert isinstance(environment.observation_space, Box)

    @jax.jit
    def play(key):
        state, observation = environment.reset(2, key)
        zeros = jnp.zeros((2, num_outputs(environment.action_space)))
        action = make_distribution(environment.action_space, zeros, zeros[0], None).mode()
        return observation, step(environment, key, state, action)

    observation, (_, time_step) = play(jax.random.key(0))
    shape = (2, *environment.observation_space.shape)
    chex.assert_shape([observation, time_step.observation, time_step.final_observation], shape)
    chex.assert_type([observation, time_step.observation, time_step.final_observation], jnp.float32)
    chex.assert_tree_all_finite(time_step)


@pytest.mark.parametrize("name", unless_at_once(pytest.mark.long))
def test_an_environment_fits_into_the_training_loop(name):
    config = Config(env=name, num_envs=2, num_steps=4, total_timesteps=16, hidden_sizes=(4,))
    _, metrics = jax.eval_shape(partial(train, config), Hyperparams(), jax.random.key(0))
    chex.assert_shape(metrics.return_window, (2,))


def test_only_mnist_needs_more_than_this_package():
    assert {*ENVIRONMENTS} - {*COMPLETE} == {"MNISTBandit-bsuite"}
    assert "downloads" in ENVIRONMENTS["MNISTBandit-bsuite"].needs


@pytest.mark.parametrize("name", sorted({*ENVIRONMENTS} & {*gymnasium.registry}))
def test_a_solved_return_is_the_threshold_of_gymnasium(name):
    solved = registry.solved_return(name)
    threshold = gymnasium.spec(name).reward_threshold
    assert solved == threshold


@pytest.mark.parametrize("name", ["Breakout-MinAtar", "no such environment"])
def test_an_environment_without_an_agreed_mark_has_no_solved_return(name):
    assert registry.solved_return(name) is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [("CartPole", "CartPole-v1"), ("breakout", "Breakout-MinAtar"), ("Mountain Car", "MountainCar-v0")],
)
def test_a_mistyped_name_gets_the_closest_ones(given, meant):
    (problem,) = registry.problems(given)
    assert repr(given) in problem
    assert f"'{meant}'" in problem.split("did you mean")[1]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_there_is_no_problem_with_a_name_of_the_table(name):
    assert registry.problems(name) == []


def test_a_name_that_the_user_registered_with_gymnax_is_accepted_and_can_be_made(probe_name):
    assert registry.problems(probe_name) == []
    assert make_environment(probe_name).action_space == Discrete(2)


def test_a_mistyped_name_is_compared_with_registered_ones_too(probe_name):
    (problem,) = registry.problems("MyCartPole-v8")
    assert repr(probe_name) in problem
