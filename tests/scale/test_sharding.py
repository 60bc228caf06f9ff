"""Sharding: the same run on one device and on eight, and what the devices say to each other."""

import re
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

from ppo_jax import shards
from ppo_jax.algorithm import episodes, normalization
from ppo_jax.algorithm.train import advance, make_ppo
from ppo_jax.algorithm.update import draw_order
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Environment, TimeStep, Transition, draw_keys, make_batched
from ppo_jax.errors import UsageError
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.scale.sharding import shard
from ppo_jax.spaces import Box, Discrete
from tests.support.marks import first_long

DEVICES, UPDATES = 8, 20
SMALL = {
    "num_envs": 16,
    "num_steps": 8,
    "num_epochs": 2,
    "num_minibatches": 2,
    "hidden_sizes": (8,),
    "total_timesteps": UPDATES * 128,
    "shuffle_groups": DEVICES,
}


def mesh_of(devices=DEVICES, name="environments", axis_type=AxisType.Auto):
    return jax.make_mesh((devices,), (name,), axis_types=(axis_type,), devices=jax.devices()[:devices])


def walk(reset_pool=None):
    """A walk to one side that ends after a random number of steps, so that episodes end often."""

    def reset(key):
        state = jax.random.uniform(key, (2,), minval=-1.0)
        return state, state

    def step(key, state, action):
        state = state + jnp.array([1.0, -1.0]) * (action - 0.5) + 0.1 * jax.random.normal(key, (2,))
        over = jax.random.uniform(key) < 0.2
        return state, Transition(state, state[0], over, jnp.zeros((), bool), {"height": state[1]})

    return make_batched(Dynamics(reset, step, Box((2,)), Discrete(2), reset_pool=reset_pool))


def train_on(devices, config, hyper, environment=None):
    ppo = make_ppo(config, environment)
    if devices > 1:
        ppo = shard(ppo, mesh_of(devices))
    state = jax.jit(ppo.init)(hyper, jax.random.key(3))
    return jax.jit(partial(advance, ppo, config.num_updates))(hyper, state)


FORMS = {
    "observation and reward normalization": {"normalize_observations": True, "normalize_rewards": True},
    "adaptive KL": {"objective": "adaptive_kl", "learning_rate_schedule": "adaptive_kl"},
    "GRU": {"memory_size": 8},
    "early stop": {},
    "pool": {},
}


@pytest.mark.parametrize("form", first_long(FORMS, 3))
def test_eight_devices_learn_what_one_learns(form):
    config = Config(**SMALL, **FORMS[form])
    hyper = Hyperparams(learning_rate=0.01, target_kl=1e-6) if form == "early stop" else Hyperparams()
    environment = walk(reset_pool=8) if form == "pool" else walk()
    alone, metrics = train_on(1, config, hyper, environment)
    together, same_metrics = train_on(DEVICES, config, hyper, environment)
    chex.assert_trees_all_close(together.learner.params, alone.learner.params, atol=1e-6)
    chex.assert_trees_all_close(together.collector.statistics, alone.collector.statistics, atol=1e-5)
    chex.assert_trees_all_equal(together.collector.start, alone.collector.start)
    chex.assert_trees_all_close(same_metrics, metrics, rtol=2e-4, atol=2e-6)
    assert float(metrics.episodes.sum()) > 100
    if form == "early stop":
        assert metrics.num_epochs.min() == 1
    if form == "pool":
        assert metrics.repeated_starts.max() > 0


def test_each_device_has_its_own_environments_and_all_have_the_same_network():
    state, _ = train_on(DEVICES, Config(**SMALL), Hyperparams(), walk())
    assert state.collector.environment.sharding.spec == PartitionSpec("environments")
    assert {shard.data.shape for shard in state.collector.environment.addressable_shards} == {(2, 2)}
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(state.learner))


def test_for_a_gradient_step_one_vector_is_sent_and_otherwise_only_a_few_numbers():
    """What crosses between devices is counted in the compiled program, by the size of what is sent."""
    config = Config(**{**SMALL, "hidden_sizes": (64,)}, normalize_observations=True, normalize_rewards=True)
    ppo = shard(make_ppo(config, walk()), mesh_of())
    state = jax.eval_shape(ppo.init, Hyperparams(), jax.random.key(0))
    text = jax.jit(ppo.step).lower(Hyperparams(), state).compile().as_text()
    sent = [
        (name, int(np.prod([int(n) for n in shape.split(",") if n] or [1])))
        for shape, name in re.findall(
            r"\w+\[([\d,]*)\][^=]*? (all-\w+|collective-\w+|reduce-scatter)\(", text
        )
    ]
    num_params = sum(x.size for x in jax.tree.leaves(state.learner.params))
    large = [(name, size) for name, size in sent if size >= num_params]
    assert [name for name, _ in large] == ["all-reduce"]
    assert large[0][1] <= num_params + 10  # the gradient, with the parts of the loss
    assert not [name for name, _ in sent if name not in ("all-reduce", "all-gather")]
    rest = [size for _, size in sent if size < num_params]
    assert len(rest) <= 16
    assert max(rest) <= max(2 * episodes.WINDOW, DEVICES * config.num_steps)


@pytest.mark.parametrize("axis_type", first_long([AxisType.Auto, AxisType.Explicit], 1))
def test_members_on_eight_devices_have_the_bits_of_members_on_one(axis_type):
    config = Config(**{**SMALL, "total_timesteps": 256})
    hyper = Hyperparams(learning_rate=np.linspace(1e-4, 1e-3, 8, dtype=np.float32))
    keys = jax.random.split(jax.random.key(0), 8)

    def members(devices):
        ppo = shard(make_ppo(config, walk()), mesh_of(devices, "members", axis_type))
        state = jax.jit(ppo.init)(hyper, keys)
        return jax.jit(partial(advance, ppo, config.num_updates))(hyper, state)

    together = members(8)
    chex.assert_trees_all_equal(together, members(1))
    alone = jax.jit(partial(advance, make_ppo(config, walk()), 2))
    first = hyper._replace(learning_rate=hyper.learning_rate[0])
    state, _ = alone(first, jax.jit(make_ppo(config, walk()).init)(first, keys[0]))
    chex.assert_trees_all_equal(
        jax.tree.map(lambda x: x[0], together[0].learner.params), state.learner.params
    )


@pytest.mark.long
def test_members_and_environments_can_be_divided_at_once():
    config = Config(**{**SMALL, "total_timesteps": 256, "shuffle_groups": 4})
    keys = jax.random.split(jax.random.key(0), 4)
    mesh = jax.make_mesh((2, 4), ("members", "environments"), axis_types=(AxisType.Auto,) * 2)
    ppo = shard(make_ppo(config, walk()), mesh)
    state = jax.jit(ppo.init)(Hyperparams(), keys)
    state, metrics = jax.jit(partial(advance, ppo, 2))(Hyperparams(), state)
    assert metrics.entropy.shape == (2, 4)
    single = make_ppo(config, walk())
    first = jax.jit(single.init)(Hyperparams(), keys[0])
    alone, _ = jax.jit(partial(advance, single, 2))(Hyperparams(), first)
    chex.assert_trees_all_close(
        jax.tree.map(lambda x: x[0], state.learner.params), alone.learner.params, atol=1e-6
    )


def test_an_environment_that_draws_one_key_for_all_copies_gets_another_one_on_each_device():
    def reset(num_envs, key):
        return jnp.zeros((num_envs, 1)), jnp.zeros((num_envs, 1))

    def step(key, state, action):
        drawn, never = jax.random.uniform(key, state.shape), jnp.zeros(len(action), bool)
        return drawn, TimeStep(drawn, drawn, drawn[:, 0], never, never)

    environment = Environment(reset, step, Box((1,)), Discrete(2), draw=draw_keys)
    config = Config(**{**SMALL, "total_timesteps": 128})
    state, _ = train_on(DEVICES, config, Hyperparams(), environment)
    assert len(np.unique(state.collector.environment)) == 16


def test_a_group_is_shuffled_within_itself_whatever_the_number_of_devices():
    config = Config(**SMALL)
    network = network_for(config, walk(), make_network)
    order = draw_order(config, network, jax.random.key(1))
    assert order.shape == (2, 64)
    np.testing.assert_array_equal(np.sort(order.ravel()), np.arange(128))
    groups = order % 16 // 2  # of the environments
    assert [np.bincount(row, minlength=8).tolist() for row in groups] == [[8] * 8] * 2


@pytest.mark.parametrize(
    ("changes", "axis", "message"),
    [
        (
            {"num_envs": 12, "shuffle_groups": 1},
            "environments",
            "num_envs = 12 cannot be divided among 8 devices; give 6 devices, or num_envs = 16",
        ),
        (
            {"shuffle_groups": 4},
            "environments",
            "shuffle_groups = 4 cannot be divided among 8 devices; give a multiple, such as 8",
        ),
        ({}, "batch", "mesh has the axis 'batch'; name its axes 'environments' or 'members'"),
        ({}, "members", "members = 6 cannot be divided among 8 devices; give 6 devices, or members = 8"),
    ],
)
def test_what_cannot_be_divided_is_refused_with_what_can(changes, axis, message):
    keys = jax.random.split(jax.random.key(0), 6) if axis == "members" else jax.random.key(0)
    ppo = make_ppo(Config(**SMALL | changes), walk())

    def first_step():
        sharded = shard(ppo, mesh_of(name=axis))
        state = jax.eval_shape(sharded.init, Hyperparams(), keys)
        jax.eval_shape(sharded.step, Hyperparams(), state)

    with pytest.raises(UsageError, match=message):
        first_step()


# Sums, means and places over shards, against the same of the whole array


def on_shards(function, *arrays, axis=0):
    spec = PartitionSpec(*[None] * axis, "environments")
    mapped = jax.shard_map(
        function, mesh=mesh_of(), in_specs=(spec,) * len(arrays), out_specs=PartitionSpec(), check_vma=False
    )
    return jax.jit(mapped)(*arrays)


def test_moments_of_all_shards_are_those_of_all_samples():
    samples = 1e3 + np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    before = normalization.merge(normalization.init_statistics((3,)), jnp.asarray(samples[:5]))
    found = on_shards(lambda x: normalization.merge(before, x), samples)
    expected = normalization.merge(before, jnp.asarray(samples))
    chex.assert_trees_all_close(found, expected, rtol=1e-5)
    constant = np.full((16, 3), 0.1, np.float32)
    chex.assert_trees_all_equal(
        on_shards(lambda x: normalization.merge(before, x).mean, constant),
        normalization.merge(before, jnp.asarray(constant)).mean,
    )


def test_a_minibatch_is_standardized_by_the_statistics_of_all_its_samples():
    advantage = np.random.default_rng(1).normal(3.0, 2.0, 64).astype(np.float32)
    mapped = jax.shard_map(
        normalization.standardize,
        mesh=mesh_of(),
        in_specs=PartitionSpec("environments"),
        out_specs=PartitionSpec("environments"),
        check_vma=False,
    )
    np.testing.assert_allclose(
        mapped(advantage), normalization.standardize(jnp.asarray(advantage)), atol=1e-6
    )
    np.testing.assert_array_equal(mapped(np.full(64, 0.1, np.float32)), np.zeros(64))


def test_entries_are_numbered_by_step_and_then_by_environment():
    mask = np.random.default_rng(2).random((7, 16)) < 0.3
    expected = np.cumsum(mask.ravel()).reshape(mask.shape)
    spec = PartitionSpec(None, "environments")
    ranks, number = jax.shard_map(
        shards.rank, mesh=mesh_of(), in_specs=spec, out_specs=(spec, PartitionSpec()), check_vma=False
    )(mask)
    np.testing.assert_array_equal(np.where(mask, ranks, 0), np.where(mask, expected, 0))
    assert number == mask.sum()
