"""Environments and networks of the user's own, by their names."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax import registered
from ppo_jax.algorithm.train import agent_of
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.envs.make import make_dynamics, make_environment
from ppo_jax.networks import flax
from ppo_jax.networks.make import make_network
from ppo_jax.spaces import Box, Discrete
from tests.support.own import networks
from tests.support.own.reach import Reach


def paying(reward):
    """Episodes of one step, which pay the same reward."""

    def reset(key):
        return jnp.int32(0), jnp.zeros(1)

    def step(key, state, action):
        return state, Transition(jnp.zeros(1), jnp.float32(reward), jnp.array(True), jnp.array(False))

    return Dynamics(reset, step, Box((1,)), Discrete(2))


CONFIG = ppo_jax.Config("mine", 2, 4, 8, num_minibatches=1, num_epochs=1, hidden_sizes=(4,))


@pytest.mark.parametrize(
    "thing", [paying(1), make_batched(paying(1)), lambda: paying(1), lambda: make_batched(paying(1))]
)
def test_an_environment_is_made_from_whatever_was_registered(thing):
    ppo_jax.register("mine", thing)
    assert make_environment("mine").action_space == Discrete(2)


@pytest.mark.parametrize("thing", [Reach, Reach(), Reach(speed=0.5), lambda: Reach()])
def test_so_is_one_of_gymnax(thing):
    ppo_jax.register("mine", thing)
    assert make_environment("mine").action_space.shape == (1,)
    assert make_dynamics("mine").observation_space.shape == (2,)


class Sized(Reach):
    """A class that cannot be made without an argument."""

    def __init__(self, size: int):
        super().__init__(speed=0.1 * size)


def test_a_class_that_needs_an_argument_says_so():
    ppo_jax.register("mine", Sized)
    with pytest.raises(ppo_jax.UsageError, match=r"^env = 'mine' needs size; give env_args size=VALUE$"):
        make_environment("mine")
    assert make_environment("mine", {"size": 2}).action_space.shape == (1,)


@pytest.mark.parametrize(
    ("thing", "problem"),
    [
        (lambda: None, "returned a NoneType; return a Dynamics, an Environment or an instance of a gymnax"),
        (lambda: Reach, r"returned a \w+; return a Dynamics, an Environment or an instance of a gymnax"),
        (lambda: Dynamics, "returned a type; return a Dynamics"),
    ],
)
def test_what_is_no_environment_is_said_to_be_none(thing, problem):
    ppo_jax.register("mine", thing)
    with pytest.raises(ppo_jax.UsageError, match=f"^env = 'mine' {problem}") as caught:
        make_environment("mine")
    assert len(caught.value.problems) == 1


@pytest.mark.parametrize("thing", [3, None, "CartPole-v1"])
def test_what_cannot_be_an_environment_is_not_registered(thing):
    with pytest.raises(ppo_jax.UsageError, match=r"^environment is a \w+; give a Dynamics, an Environment"):
        ppo_jax.register("mine", thing)


@pytest.mark.parametrize("mark", ["475", True, [475.0]])
def test_a_mark_that_is_no_number_is_refused(mark):
    with pytest.raises(ppo_jax.UsageError, match=r"^solved_return = .* is not a number"):
        ppo_jax.register("mine", paying(1), solved_return=mark)


def test_a_batch_has_no_single_copy():
    ppo_jax.register("mine", make_batched(paying(1)))
    with pytest.raises(ppo_jax.UsageError, match=r"is an Environment, a batch of copies.*give a Dynamics"):
        make_dynamics("mine")


@pytest.mark.parametrize("name", ["CartPole-v1", "a:b", "", 3])
def test_names_that_mean_something_else_are_refused(name):
    with pytest.raises(ppo_jax.UsageError, match="cannot be registered"):
        ppo_jax.register(name, paying(1))


@pytest.mark.long
def test_a_name_that_is_registered_again_means_the_new_one_also_to_compiled_programs():
    train = jax.jit(ppo_jax.train, static_argnums=0)
    returns = []
    for reward in (1, 7):
        ppo_jax.register("mine", paying(reward))
        _, metrics = train(CONFIG, ppo_jax.Hyperparams(), jax.random.key(0))
        returns.append(float(metrics.episode_return[0]))
    assert returns == [1, 7]


@pytest.mark.long
def test_its_mark_decides_when_it_is_solved(tmp_path):
    ppo_jax.register("mine", paying(1), solved_return=0.5)
    config = ppo_jax.Config("mine", 4, 50, 400, num_minibatches=1, num_epochs=1, hidden_sizes=(4,))
    run = ppo_jax.run(config, run_dir=tmp_path / "run", quiet=True)
    assert run.summary["solved"]["return_window"] == 1


def test_a_network_is_used_by_its_name():
    ppo_jax.register_network("linear", networks.of_plain_jax)
    config = ppo_jax.Config(network="linear")
    network = make_network(config, Box((3,)), Discrete(2))
    assert network.init(jax.random.key(0))["policy"].shape == (3, 2)


@pytest.mark.long
def test_a_network_that_is_registered_again_means_the_new_one_also_to_compiled_programs():
    ppo_jax.register("mine", paying(1))
    train = jax.jit(ppo_jax.train, static_argnums=0)
    config = dataclasses.replace(CONFIG, network="mine too")
    names = []
    for make in (networks.of_plain_jax, flax.make_network):
        ppo_jax.register_network("mine too", make)
        state, _ = train(config, ppo_jax.Hyperparams(), jax.random.key(0))
        names.append(sorted(agent_of(state).params))
    assert names == [["log_std", "policy", "value"], ["actor", "critic"]]


@pytest.mark.parametrize("name", ["a.py:b", "", 3])
def test_names_of_networks_that_mean_something_else_are_refused(name, monkeypatch):
    monkeypatch.setattr(registered, "NETWORKS", dict(registered.NETWORKS))
    with pytest.raises(ppo_jax.UsageError, match="cannot be registered"):
        ppo_jax.register_network(name, networks.of_plain_jax)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("unheard of", "network = 'unheard of' is unknown"),
        ("nets.py:make", "network = 'nets.py:make' is code that has not been loaded"),
        ("three", "network = 'three' returned a int; return a Network"),
        ("broken", "network = 'broken' failed: ZeroDivisionError"),
    ],
)
def test_a_network_that_cannot_be_made_is_explained(name, problem):
    ppo_jax.register_network("three", lambda *_: 3)
    ppo_jax.register_network("broken", lambda *_: 1 / 0)
    with pytest.raises(ppo_jax.UsageError, match=problem):
        make_network(ppo_jax.Config(network=name), Box((3,)), Discrete(2))


def test_what_cannot_be_called_is_no_network():
    with pytest.raises(ppo_jax.UsageError, match="make_network = 3 cannot be called"):
        ppo_jax.register_network("three", 3)


def test_code_that_was_not_loaded_is_not_loaded_by_the_core():
    with pytest.raises(ppo_jax.UsageError, match=r"env = 'mine\.py:make' is code that has not been loaded"):
        make_environment("mine.py:make")


def test_marks_leave_functions_as_they_are():
    def make():
        return 1

    assert ppo_jax.environment(make) is make
    assert registered.is_marked(make, "environment")
    assert not registered.is_marked(make, "network")
    assert not registered.is_marked(len, "environment")
    assert registered.is_marked(networks.of_flax, "network")


def test_a_library_may_be_named_before_the_name():
    assert make_environment("gymnax:CartPole-v1").observation_space.shape == (4,)
    with pytest.raises(ppo_jax.UsageError, match="is not one of gymnax's; did you mean 'CartPole-v1'"):
        make_environment("gymnax:CartPole")
