"""First weights, shapes and separation of the actor and the critic."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import Config
from ppo_jax.envs.spaces import Box, Discrete
from ppo_jax.errors import UsageError
from ppo_jax.networks import make_network


def make_small(shape=(4,), hidden_sizes=(8, 6), activation="tanh"):
    return make_network(Config(hidden_sizes=hidden_sizes, activation=activation), Box(shape), Discrete(2))


@functools.cache
def make(**choices):
    """A network and its first parameters, made once."""
    network = make_small(**choices)
    return network, jax.jit(network.init)(jax.random.key(0))


def layers(params, part):
    """(kernel, bias) of each layer, from first to last."""
    dense = params[part]["params"]
    return [(np.asarray(dense[name]["kernel"]), np.asarray(dense[name]["bias"])) for name in sorted(dense)]


def assert_orthogonal(kernel, gain):
    """The shorter side of the kernel is a set of orthogonal vectors of length `gain`."""
    rows = kernel if kernel.shape[0] <= kernel.shape[1] else kernel.T
    np.testing.assert_allclose(rows @ rows.T / gain**2, np.eye(len(rows)), atol=1e-5)


@pytest.mark.parametrize(("part", "output_gain"), [("actor", 0.01), ("critic", 1.0)])
def test_first_weights_are_orthogonal_with_the_gains_of_the_original_code(part, output_gain):
    _, params = make()
    *hidden, output = [kernel for kernel, _ in layers(params, part)]
    assert [kernel.shape for kernel in hidden] == [(4, 8), (8, 6)]
    for kernel in hidden:
        assert_orthogonal(kernel, np.sqrt(2))
    assert_orthogonal(output, output_gain)


@pytest.mark.parametrize("part", ["actor", "critic"])
def test_first_biases_are_zero(part):
    _, params = make()
    assert all(np.all(bias == 0) for _, bias in layers(params, part))


def test_cartpole_has_9155_parameters():
    network = make_network(Config(), Box((4,)), Discrete(2))
    params = jax.eval_shape(network.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 4610 + 4545


def test_the_first_policy_is_nearly_uniform():
    network, params = make()
    observation = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    np.testing.assert_allclose(network.policy(params, observation).entropy(), np.log(2), atol=1e-3)


@pytest.mark.parametrize("batch", [(), (3,), (5, 3)])
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), ()])
def test_outputs_have_the_shape_of_the_batch(batch, shape):
    network, params = make(shape=shape)
    observation = jnp.ones(batch + shape)
    logits, value = network.policy(params, observation).logits, network.value(params, observation)
    chex.assert_shape([logits, value], [(*batch, 2), batch])
    chex.assert_type([logits, value], jnp.float32)


def test_observations_of_rank_three_are_flattened_in_row_major_order():
    network, params = make(shape=(2, 3, 4))
    flat_network = make_small(shape=(24,))
    observation = np.random.default_rng(0).normal(size=(7, 2, 3, 4)).astype(np.float32)
    flat = observation.reshape(7, 24)
    chex.assert_trees_all_close(
        (network.policy(params, observation), network.value(params, observation)),
        (flat_network.policy(params, flat), flat_network.value(params, flat)),
    )


@pytest.mark.parametrize(
    ("activation", "function"), [("tanh", np.tanh), ("relu", lambda x: np.maximum(x, 0))]
)
def test_the_network_is_dense_layers_with_the_activation_between_them(activation, function):
    network, params = make(activation=activation)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases too
    observation = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    *hidden, (kernel, bias) = layers(params, "critic")
    x = observation
    for weights, offsets in hidden:
        x = function(x @ weights + offsets)
    np.testing.assert_allclose(network.value(params, observation), (x @ kernel + bias)[:, 0], rtol=1e-4)


def test_without_hidden_layers_the_network_is_linear():
    network, params = make(hidden_sizes=())
    assert [kernel.shape for kernel, _ in layers(params, "actor")] == [(4, 2)]
    observation = jnp.arange(4.0)
    twice = network.policy(params, 2 * observation).logits
    np.testing.assert_allclose(twice, 2 * network.policy(params, observation).logits, rtol=1e-6)


def test_actor_and_critic_share_no_parameters():
    network, params = make()
    observation = jnp.ones((3, 4))
    zeros = jax.tree.map(jnp.zeros_like, params)
    without_critic, without_actor = params | {"critic": zeros["critic"]}, params | {"actor": zeros["actor"]}
    chex.assert_trees_all_equal(
        (network.policy(without_critic, observation), network.value(without_actor, observation)),
        (network.policy(params, observation), network.value(params, observation)),
    )


def test_actor_and_critic_start_from_different_weights():
    _, params = make()
    (actor, _), (critic, _) = layers(params, "actor")[0], layers(params, "critic")[0]
    assert np.abs(actor - critic).max() > 0.1


def test_another_key_draws_other_weights():
    network, params = make()
    same, other = (jax.jit(network.init)(jax.random.key(seed)) for seed in (0, 1))
    chex.assert_trees_all_equal(params, same)
    assert np.abs(layers(params, "actor")[0][0] - layers(other, "actor")[0][0]).max() > 0.1


@pytest.mark.parametrize("spaces", [(Discrete(4), Discrete(2)), (Box((4,)), Box((2,)))])
def test_spaces_that_are_not_implemented_are_refused(spaces):
    with pytest.raises(UsageError, match="Box observations and Discrete actions"):
        make_network(Config(), *spaces)
