"""A run that starts from a trained agent acts as it did, and its actor keeps its bits in the warm-up."""

import dataclasses
import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import registered
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.algorithm.known import register_policy
from ppo_jax.algorithm.train import advance, agent_of, make_ppo, train
from ppo_jax.algorithm.update import make_optimizer
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.scale.sharding import shard
from ppo_jax.scale.warm_start import warm_start
from ppo_jax.validation import validate
from tests.support.linear import make_linear_network

U = 2  # updates of the warm-up
CONFIG = Config(
    "Pendulum-v1",
    num_envs=4,
    num_steps=8,
    total_timesteps=4 * 32,
    num_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
    normalize_observations=True,
    normalize_rewards=True,
    learning_rate_schedule="adaptive_kl",
)
HYPER = Hyperparams(learning_rate=1e-3, entropy_coefficient=0.1, max_grad_norm=0.1)
WARMING = dataclasses.replace(CONFIG, critic_warmup_updates=U)


@pytest.fixture(scope="module")
def source():
    """The final state of a run."""
    return jax.jit(train, static_argnums=0)(CONFIG, HYPER, jax.random.key(0))[0]


@pytest.fixture(autouse=True)
def known(source):
    """The same, as a policy that configurations may name."""
    register_policy("source", CONFIG, agent_of(source))
    yield
    del registered.POLICIES["source"]


def start(source, parts="both", config=CONFIG, key=1):
    rewards = source.collector.reward_scaler.statistics
    ppo = warm_start(make_ppo(config), agent_of(source), parts, rewards)
    return jax.jit(ppo.init)(HYPER, jax.random.key(key))


def test_an_agent_that_starts_from_another_acts_as_it_did(source):
    state = start(source)
    chex.assert_trees_all_equal(agent_of(state), agent_of(source))
    network = network_for(CONFIG, make_environment(CONFIG.env), make_network)
    observation, first = jnp.array([[0.3, -0.9, 2.0]] * 4), jnp.ones(4, bool)
    actions = [
        act(network, agent_of(one), network.init_memory(4), observation, first)[1].policy.mode()
        for one in (state, source)
    ]
    chex.assert_trees_all_equal(*actions)


@pytest.mark.parametrize("parts", ["actor", "critic"])
def test_one_part_comes_with_the_statistics_and_the_other_is_drawn(source, parts):
    state, fresh = start(source, parts), jax.jit(make_ppo(CONFIG).init)(HYPER, jax.random.key(1))
    other = "critic" if parts == "actor" else "actor"
    params = state.learner.params
    chex.assert_trees_all_equal(params[parts], source.learner.params[parts])
    chex.assert_trees_all_equal(params[other], fresh.learner.params[other])
    trained = source if parts == "actor" else fresh
    chex.assert_trees_all_equal(params["log_std"], trained.learner.params["log_std"])
    chex.assert_trees_all_equal(state.collector.statistics, source.collector.statistics)


def test_rewards_are_scaled_as_before_where_the_critic_is_taken_and_anew_where_it_is_not(source):
    taken = start(source).collector.reward_scaler
    chex.assert_trees_all_equal(taken.statistics, source.collector.reward_scaler.statistics)
    assert not taken.discounted.any()  # no episode is running
    assert start(source, "actor").collector.reward_scaler.statistics.num_samples == 0


def test_everything_that_belongs_to_the_run_begins_anew(source):
    state, fresh = start(source), jax.jit(make_ppo(CONFIG).init)(HYPER, jax.random.key(1))
    for one in (state, fresh):
        assert source.learner.steering.rate_factor != one.learner.steering.rate_factor == 1
    chex.assert_trees_all_equal(state.learner.optimizer, fresh.learner.optimizer)
    chex.assert_trees_all_equal(state.collector.environment, fresh.collector.environment)
    assert int(state.num_updates) == 0


def test_a_policy_that_a_configuration_names_is_the_start_of_all_members_of_a_map(source):
    config = dataclasses.replace(CONFIG, initial_policy="source", total_timesteps=32)
    state, _ = jax.vmap(train, (None, None, 0))(
        config, HYPER._replace(learning_rate=1e-30), jax.random.split(jax.random.key(0), 2)
    )
    for member in range(2):
        params = jax.tree.map(lambda x, member=member: x[member], state.learner.params)
        chex.assert_trees_all_close(params, source.learner.params, atol=1e-6)


# The warm-up of the critic


def states_of(config, num_updates, hyper=HYPER):
    """The states before the first update and after each, and their metrics."""
    ppo = make_ppo(config)
    step = jax.jit(ppo.step)
    states, metrics = [jax.jit(ppo.init)(hyper, jax.random.key(1))], []
    for _ in range(num_updates):
        state, one = step(hyper, states[-1])
        states, metrics = [*states, state], [*metrics, one]
    return states, metrics


@pytest.fixture(scope="module")
def warmed():
    return states_of(WARMING, U + 1)


def bits_differ(one, other):
    return any(
        not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )


def test_the_actor_keeps_its_bits_while_the_critic_warms_up_and_learns_afterwards(warmed):
    states, _ = warmed
    for number, (before, after) in enumerate(itertools.pairwise(states)):
        was, now = before.learner.params, after.learner.params
        assert bits_differ(was["critic"], now["critic"])
        for part in ("actor", "log_std"):
            assert bits_differ(was[part], now[part]) == (number >= U)


def test_adam_starts_anew_when_the_actor_begins_to_learn(warmed):
    """Otherwise the first steps of the actor would be several times the learning rate."""
    (*_, before, after), _ = warmed
    vector, _ = jax.flatten_util.ravel_pytree(before.learner.params)
    chex.assert_trees_all_equal(before.learner.optimizer, make_optimizer(HYPER).init(vector))
    changes = jax.tree.map(lambda a, b: abs(a - b).max(), after.learner.params, before.learner.params)
    num_steps = CONFIG.num_epochs * CONFIG.num_minibatches
    assert max(map(float, jax.tree.leaves(changes["actor"]))) <= 1.001 * num_steps * HYPER.learning_rate


def test_the_bound_on_the_gradient_is_that_of_the_critic_alone(warmed):
    """So what else is in the loss of the actor changes no bit of the critic."""
    states, metrics = warmed
    others, other_metrics = states_of(WARMING, U, HYPER._replace(entropy_coefficient=10.0))
    assert metrics[0].grad_norm == other_metrics[0].grad_norm > HYPER.max_grad_norm
    chex.assert_trees_all_equal(others[U].learner.params, states[U].learner.params)


def test_a_kl_of_zero_steers_nothing_before_the_actor_learns(warmed):
    states, metrics = warmed
    assert [float(one.learning_rate) for one in metrics] == pytest.approx([1e-3] * (U + 1))
    assert [float(one.learner.steering.rate_factor) for one in states[: U + 1]] == [1] * (U + 1)
    assert max(float(one.approx_kl) for one in metrics[:U]) < 1e-6 < float(metrics[U].approx_kl)


@pytest.mark.long
def test_an_actor_with_a_memory_is_held_as_well():
    config = dataclasses.replace(WARMING, memory_size=4)
    states, _ = states_of(config, U + 1)
    actors = [state.learner.params["actor"] for state in states]
    assert [bits_differ(actors[0], one) for one in actors] == [False] * (U + 1) + [True]


@pytest.mark.long
def test_eight_devices_learn_what_one_learns_from_a_start_and_a_teacher():
    config = dataclasses.replace(WARMING, num_envs=16, shuffle_groups=8, total_timesteps=4 * 128)
    config = dataclasses.replace(config, initial_policy="source", teacher="source")
    mesh = jax.make_mesh((8,), ("environments",), axis_types=(jax.sharding.AxisType.Auto,))
    results = []
    for ppo in (make_ppo(config), shard(make_ppo(config), mesh)):
        state = jax.jit(ppo.init)(HYPER, jax.random.key(3))
        results.append(jax.jit(partial(advance, ppo, 4))(HYPER, state))
    (alone, metrics), (together, same_metrics) = results
    chex.assert_trees_all_close(together.learner.params, alone.learner.params, atol=1e-6)
    chex.assert_trees_all_close(same_metrics, metrics, rtol=2e-4, atol=2e-6)
    assert metrics.teacher_kl[-1] > 0


# What is refused


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"hidden_sizes": (8, 8)}, r"it has hidden_sizes = \(8,\), and this run \(8, 8\)"),
        ({"activation": "relu"}, r"it has activation = 'tanh', and this run 'relu'"),
        ({"normalize_observations": False}, r"normalize_observations = True, and this run False"),
        ({"normalize_rewards": False}, r"it has normalize_rewards = True, and this run False"),
        ({"env": "CartPole-v1"}, r"params/actor/params/Dense_0/kernel is \[3, 8\], not \[4, 8\]"),
        ({"initial_policy": "nowhere"}, r"initial_policy = 'nowhere' is a policy that has not been loaded"),
    ],
)
def test_a_policy_of_another_kind_is_refused_with_what_differs(changes, problem):
    config = dataclasses.replace(CONFIG, **{"initial_policy": "source", **changes})
    with pytest.raises(UsageError, match=problem):
        jax.eval_shape(make_ppo(config).init, HYPER, jax.random.key(0))


def test_an_actor_fits_a_run_whose_rewards_are_not_scaled():
    config = dataclasses.replace(
        CONFIG, initial_policy="source", initial_parts="actor", normalize_rewards=False
    )
    jax.eval_shape(make_ppo(config).init, HYPER, jax.random.key(0))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"initial_parts": "actor"}, "initial_parts = 'actor' has no effect with initial_policy = None"),
        ({"critic_warmup_updates": 3, "shared_torso": True}, "the layers that the actor shares with it"),
        ({"initial_policy": "x", "initial_parts": "critic", "shared_torso": True}, "share their layers"),
        ({"critic_warmup_updates": -1}, "critic_warmup_updates = -1 is not an int of at least 0"),
        ({"initial_policy": ""}, "initial_policy = '' is not the path of a run"),
        ({"initial_policy": "x", "initial_parts": "torso"}, "initial_parts = 'torso' is unknown"),
    ],
)
def test_settings_without_a_meaning_are_refused(changes, problem):
    with pytest.raises(UsageError, match=problem):
        validate(dataclasses.replace(CONFIG, **changes))


def test_parts_of_a_network_that_keeps_none_cannot_be_named():
    def make_undivided(*given):
        network = make_linear_network(*given)
        return network._replace(init=lambda key: {"all": network.init(key)})

    config = Config("CartPole-v1", critic_warmup_updates=1)
    with pytest.raises(UsageError, match="does not keep the parameters of its critic apart"):
        make_ppo(config, make_network=make_undivided)
    ppo = make_ppo(Config("CartPole-v1"), make_network=make_undivided)
    params = jax.eval_shape(ppo.init, Hyperparams(), jax.random.key(0)).learner.params
    agent = Agent(jax.tree.map(lambda x: jnp.zeros(x.shape), params))
    jax.eval_shape(warm_start(ppo, agent).init, Hyperparams(), jax.random.key(0))
    with pytest.raises(UsageError, match="initial_parts = 'actor' is not possible"):
        jax.eval_shape(warm_start(ppo, agent, "actor").init, Hyperparams(), jax.random.key(0))
