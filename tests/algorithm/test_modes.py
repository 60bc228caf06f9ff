"""Training in the modes of JAX and inside its transformations: the same values, or an error that says why."""

import dataclasses
from functools import partial

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.envs.gymnax import wrap
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete
from tests.support.counted import Counted
from tests.support.marks import first_long

CONFIG = Config("a walk", num_envs=4, num_steps=8, total_timesteps=96, num_minibatches=2, hidden_sizes=(8,))
STEERED = dataclasses.replace(
    CONFIG,
    normalize_observations=True,
    normalize_rewards=True,
    objective="adaptive_kl",
    learning_rate_schedule="adaptive_kl",
)
REMEMBERING = dataclasses.replace(CONFIG, memory_size=4)
STOPPING = Hyperparams(target_kl=1e-4)
KINDS = {  # few, because each compiles for long
    "normalized and steered": (STEERED, Hyperparams()),
    "with a memory, stopping early": (REMEMBERING, STOPPING),
}
RUNS = {**KINDS, "plain": (CONFIG, Hyperparams())}
DEVICES = 2


def walk() -> Environment:
    """Steps left and right, whose rewards are as wide as the mode of JAX."""

    def reset(key):
        x = jax.random.uniform(key, (2,), jnp.float32)
        return x, x

    def step(key, state, action):
        moved = (
            state
            + 0.1 * (2.0 * action.astype(jnp.float32) - 1)
            + 0.1 * jax.random.normal(key, (2,), jnp.float32)
        )
        ended = jnp.abs(moved[0]) > 1
        reward = jnp.ones(()) - jnp.abs(moved[0])
        return moved, Transition(moved, jnp.asarray(reward, jnp.ones(()).dtype), ended, jnp.array(False))

    return make_batched(Dynamics(reset, step, Box((2,)), Discrete(2)))


def trained(kind, key=0):
    config, hyper = RUNS[kind]
    return jax.jit(train, static_argnums=3)(config, hyper, jax.random.key(key), walk())


@pytest.mark.parametrize("kind", first_long(KINDS, 1))
def test_the_mode_with_64_bits_changes_no_value(kind):
    state, metrics = trained(kind)
    with jax.enable_x64(True):
        assert jnp.ones(()).dtype == jnp.float64
        wide_state, wide_metrics = trained(kind)
        types = {leaf.dtype for leaf in jax.tree.leaves((wide_state._replace(key=()), wide_metrics))}
    assert {str(x) for x in types} <= {"float32", "int32", "uint32", "bool"}
    chex.assert_trees_all_equal_dtypes(metrics, wide_metrics)
    chex.assert_trees_all_close(metrics, wide_metrics, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(state.learner.params, wide_state.learner.params, rtol=1e-4, atol=1e-5)


@pytest.mark.long
def test_gymnax_trains_in_the_mode_with_64_bits_or_says_that_it_cannot():
    with jax.enable_x64(True):
        state, metrics = train(
            dataclasses.replace(CONFIG, env="CartPole-v1"), Hyperparams(), jax.random.key(0)
        )
        assert state.collector.environment.x.dtype == jnp.float64, "gymnax computes as it likes"
        assert metrics.value_loss.dtype == jnp.float32
        config = dataclasses.replace(CONFIG, env="GaussianBandit-misc")
        with pytest.raises(UsageError, match=r"mixes 32 and 64 bits, .*leave out JAX_ENABLE_X64"):
            train(config, Hyperparams(), jax.random.key(0))


def a_mesh(kind: AxisType) -> Mesh:
    return jax.make_mesh((DEVICES,), ("seeds",), (kind,), devices=jax.devices()[:DEVICES])


def one_by_one(kind, keys):
    config, hyper = RUNS[kind]
    over_seeds = jax.vmap(lambda key: train(config, hyper, key, walk())[1])
    return jax.jit(over_seeds)(keys)


@pytest.mark.parametrize("axes", first_long([AxisType.Explicit, AxisType.Auto], 1))
def test_keys_that_lie_on_a_mesh_are_trained_on_all_of_its_devices(axes):
    keys = jax.random.split(jax.random.key(0), 2 * DEVICES)
    sharded = jax.device_put(keys, NamedSharding(a_mesh(axes), PartitionSpec("seeds")))
    chex.assert_trees_all_close(one_by_one("plain", sharded), one_by_one("plain", keys), rtol=1e-5)


@pytest.mark.parametrize("axes", first_long([AxisType.Explicit, AxisType.Auto], 1))
def test_train_and_config_are_arguments_of_vmap_and_jit_on_a_mesh(axes):
    keys = jax.random.split(jax.random.key(0), 2 * DEVICES)
    sharded = jax.device_put(keys, NamedSharding(a_mesh(axes), PartitionSpec("seeds")))
    config = dataclasses.replace(CONFIG, env="CartPole-v1")
    over_seeds = jax.jit(jax.vmap(train, in_axes=(None, None, 0)))
    _, metrics = over_seeds(config, Hyperparams(), sharded)
    assert metrics.value_loss.shape == (2 * DEVICES, 3)


@pytest.mark.parametrize("axes", first_long([AxisType.Explicit, AxisType.Auto], 1))
def test_vmap_and_shard_map_train_while_a_mesh_is_set(axes):
    """gymnax makes arrays when it makes an environment, in the midst of what is traced."""
    config, seeds = dataclasses.replace(CONFIG, env="CartPole-v1"), PartitionSpec("seeds")
    keys, mesh = jax.random.split(jax.random.key(0), 2 * DEVICES), a_mesh(axes)
    sharded = jax.device_put(keys, NamedSharding(mesh, seeds))
    members = jax.vmap(partial(train, config, Hyperparams()))
    _, expected = jax.jit(members)(keys)
    with jax.set_mesh(mesh):
        _, mapped = jax.jit(members)(sharded)
        _, divided = jax.jit(jax.shard_map(members, in_specs=seeds, out_specs=seeds))(sharded)
    chex.assert_trees_all_close(mapped, expected, rtol=1e-4, atol=1e-5)
    chex.assert_trees_all_close(divided, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", first_long(KINDS, 1))
def test_shard_map_trains_without_turning_its_check_off(kind):
    config, hyper = RUNS[kind]
    keys = jax.random.split(jax.random.key(0), DEVICES)

    def train_one(keys):
        state, metrics = train(config, hyper, keys[0], walk())
        episodes = evaluate(
            config, keys[0], state.learner.params, 3, False, walk(), statistics=state.collector.statistics
        )
        return jax.tree.map(lambda x: x[None], (metrics, episodes))

    seeds = PartitionSpec("seeds")
    mapped = jax.shard_map(train_one, mesh=a_mesh(AxisType.Auto), in_specs=seeds, out_specs=seeds)
    metrics, episodes = jax.jit(mapped)(keys)
    chex.assert_trees_all_close(metrics, one_by_one(kind, keys), rtol=1e-4, atol=1e-5)
    assert episodes.finished.all()
    assert episodes.episode_return.shape == (DEVICES, 3)


@pytest.mark.long
def test_an_agent_on_an_explicit_mesh_can_be_evaluated():
    state, _ = trained("plain")
    mesh = a_mesh(AxisType.Explicit)
    params = jax.device_put(state.learner.params, NamedSharding(mesh, PartitionSpec()))
    play = jax.jit(partial(evaluate, CONFIG, num_episodes=4, environment=walk()))
    on_mesh, plain = play(jax.random.key(1), params), play(jax.random.key(1), state.learner.params)
    chex.assert_trees_all_close(on_mesh, plain, rtol=1e-5)


OTHER_TYPES = {
    "int": Hyperparams(gamma=1, gae_lambda=1, entropy_coefficient=0),
    "NumPy": Hyperparams()._replace(learning_rate=np.float32(2.5e-4), gamma=np.float64(0.99)),
    "NumPy, of rank 0": Hyperparams(gamma=np.array(0.99)),
    "JAX": Hyperparams(
        gamma=jnp.float32(0.99), gae_lambda=jnp.asarray(0.95), entropy_coefficient=jnp.asarray(0.01)
    ),
    "JAX throughout": jax.tree.map(jnp.asarray, Hyperparams()),
}


def test_numbers_of_all_types_share_one_compilation():
    counted = Counted(lambda hyper, key: train(CONFIG, hyper, key, walk())[1])
    expected = counted.run(Hyperparams(), jax.random.key(0))
    for name, hyper in OTHER_TYPES.items():
        metrics = counted.run(hyper, jax.random.key(0))
        assert counted.traces == 1, f"compiled again for {name}"
        if name != "int":
            chex.assert_trees_all_equal(metrics, expected)


def test_a_tree_of_axes_or_of_anything_else_is_left_as_it_is():
    axes = Hyperparams(**dict.fromkeys(Hyperparams._fields))._replace(gamma=0)
    hyper = Hyperparams(gamma=jnp.arange(3.0))
    products = jax.vmap(lambda hyper: hyper.gamma * hyper.learning_rate, in_axes=(axes,))(hyper)
    chex.assert_trees_all_close(products, jnp.arange(3) * 2.5e-4)
    assert jax.tree.map(lambda x: x, Hyperparams()) == Hyperparams()
    zeros = Hyperparams(**dict.fromkeys(Hyperparams._fields, 0))._replace(target_kl=None)
    assert jax.tree.map(lambda x: 0, Hyperparams()) == zeros
    paths = [path for path, _ in jax.tree.leaves_with_path(Hyperparams())]
    assert jax.tree_util.keystr(paths[0]) == ".learning_rate"


@pytest.mark.long
def test_parameters_of_an_environment_that_are_traced_may_be_bounds():
    env, params = gymnax.make("Pendulum-v1")
    torques = jnp.array([1.0, 2.0])

    def train_with(torque):
        environment = wrap(env, params.replace(max_torque=torque))
        return train(CONFIG, Hyperparams(), jax.random.key(0), environment)[1]

    together = jax.jit(jax.vmap(train_with))(torques)
    for index, torque in enumerate(torques.tolist()):
        alone = jax.jit(partial(train_with, torque))()
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[index], together), alone, rtol=1e-3, atol=1e-4)  # noqa: B023


@pytest.mark.long
def test_it_has_no_derivative_as_it_says():
    def value_loss(rate):
        hyper = Hyperparams(learning_rate=rate)
        return train(CONFIG, hyper, jax.random.key(0), walk())[1].value_loss[-1]

    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jax.grad(value_loss)(1e-3)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(value_loss, (1e-3,), (1.0,))
    assert "It has no derivative" in (train.__doc__ or "")
