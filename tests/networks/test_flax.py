"""First weights, shapes and separation of the actor and the critic."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Box, Discrete


def make_small(shape=(4,), hidden_sizes=(8, 6), **choices):
    return make_network(Config(hidden_sizes=hidden_sizes, **choices), Box(shape), Discrete(2))


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
@pytest.mark.parametrize("shape", [(4,), (4, 3, 2), ()])
def test_outputs_have_the_shape_of_the_batch(batch, shape):
    network, params = make(shape=shape)
    observation = jnp.ones(batch + shape)
    logits, value = network.policy(params, observation).logits, network.value(params, observation)
    chex.assert_shape([logits, value], [(*batch, 2), batch])
    chex.assert_type([logits, value], jnp.float32)


def test_observations_of_rank_three_are_flattened_in_row_major_order():
    network, params = make(shape=(2, 3, 4), encoder="mlp")
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


@pytest.mark.parametrize(
    ("choices", "spaces", "message"),
    [
        ({}, (Discrete(4), Discrete(2)), r"has observations Discrete\(n=4\); give them as a Box"),
        ({}, (Box((4,)), Discrete(2), Discrete(3)), r"has observations Discrete\(n=3\); give them as a Box"),
        ({}, (Box((4,)), Box((2, 3))), "are not of rank 1 .*; flatten them"),
        ({}, (Box((4,)), Box((2,), (0.0, -1.0), (0.0, 1.0))), "with low < high; .* leave out components"),
        ({}, (Box((4,)), "Discrete(3)"), r"actions Discrete\(3\) are neither Discrete"),
        ({"encoder": "cnn"}, (Box((4,)), Discrete(2)), r"shape \(4,\); give encoder = 'mlp'"),
        ({"shared_torso": True}, (Box((4,)), Discrete(2), Box((5,))), "give shared_torso = False"),
    ],
)
def test_spaces_that_do_not_fit_are_refused(choices, spaces, message):
    with pytest.raises(UsageError, match=message):
        make_network(Config(**choices), *spaces)


def test_a_critic_may_see_numbers_where_the_actor_sees_images():
    network = make_network(Config(encoder="cnn"), Box((5, 5, 2)), Discrete(2), Box((3,)))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    assert shapes["actor"]["params"]["Dense_0"]["kernel"].shape == (9 * 2, 16)
    assert shapes["critic"]["params"]["Dense_0"]["kernel"].shape == (3, 64)


# Images, memory, a shared torso


def random_params(network):
    """Parameters of the right shapes, biases too."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


@pytest.mark.parametrize("shape", [(6, 5, 2), (3, 4, 1), (3, 3, 3)])
def test_images_go_through_a_convolution(shape):
    network = make_small(shape=shape, hidden_sizes=(), activation="relu")
    params = random_params(network)
    images = np.random.default_rng(1).normal(size=(7, *shape)).astype(np.float32)
    (kernel, bias), (output, offset) = layers(params, "critic")
    convolved = jax.lax.conv_general_dilated(
        images,
        kernel.reshape(3, 3, shape[-1], 16),
        window_strides=(1, 1),
        padding="VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    hidden = np.maximum(np.asarray(convolved) + bias, 0).reshape(7, -1)
    expected = (hidden @ output + offset)[:, 0]
    np.testing.assert_allclose(network.value(params, images), expected, rtol=1e-4, atol=1e-4)


def shapes_of(network):
    """The shapes of all kernels of each part, by name."""
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return {
        part: {name: layer["kernel"].shape for name, layer in tower["params"].items()}
        for part, tower in shapes.items()
    }


@pytest.mark.parametrize("encoder", ["auto", "cnn"])
def test_images_of_minatar_give_layers_of_the_expected_shapes(encoder):
    network = make_small(shape=(10, 10, 4), hidden_sizes=(128,), encoder=encoder)
    hidden = {"Dense_0": (9 * 4, 16), "Dense_1": (8 * 8 * 16, 128)}
    expected = {"actor": hidden | {"Dense_2": (128, 2)}, "critic": hidden | {"Dense_2": (128, 1)}}
    assert shapes_of(network) == expected


@pytest.mark.parametrize(
    ("shape", "encoder"), [((10, 10, 4), "mlp"), ((2, 20, 10), "auto"), ((20, 20), "auto")]
)
def test_other_observations_do_not_go_through_a_convolution(shape, encoder):
    network = make_small(shape=shape, hidden_sizes=(128,), encoder=encoder)
    assert shapes_of(network)["critic"] == {"Dense_0": (400, 128), "Dense_1": (128, 1)}


@pytest.mark.parametrize("shape", [(2, 3, 1), (3, 2, 1), (9,)])
def test_a_convolution_is_refused_if_observations_are_not_images(shape):
    with pytest.raises(UsageError, match="give encoder = 'mlp'"):
        make_small(shape=shape, encoder="cnn")


def test_a_shared_torso_with_memory_is_one_tower_with_both_gains():
    _, params = make(shape=(4, 4, 1), hidden_sizes=(6,), shared_torso=True, memory_size=5)
    tower = params["shared"]["params"]
    for name, gain in [("Dense_0", np.sqrt(2)), ("Dense_1", np.sqrt(2)), ("Dense_2", 0.01), ("Dense_3", 1.0)]:
        assert_orthogonal(np.asarray(tower[name]["kernel"]), gain)
        assert np.all(tower[name]["bias"] == 0)
    assert tower["Dense_2"]["kernel"].shape == (5, 2)
    assert tower["Dense_3"]["kernel"].shape == (5, 1)


def test_the_first_weights_of_a_memory_are_orthogonal_gate_by_gate():
    _, params = make(shape=(4, 4, 1), hidden_sizes=(6,), shared_torso=True, memory_size=5)
    gates = params["shared"]["params"]["GRUCell_0"]
    assert {name: gate["kernel"].shape for name, gate in gates.items()} == {
        **dict.fromkeys(("ir", "iz", "in"), (6, 5)),
        **dict.fromkeys(("hr", "hz", "hn"), (5, 5)),
    }
    for gate in gates.values():
        assert_orthogonal(np.asarray(gate["kernel"]), 1.0)
        assert np.all(gate.get("bias", 0) == 0)


@pytest.mark.parametrize("memory_size", [0, pytest.param(6, marks=pytest.mark.long)])
def test_bfloat16_rounds_the_layers_and_nothing_else(memory_size):
    space, actions = Box((4,)), Discrete(3)
    observation, start = jax.random.normal(jax.random.key(1), (50, 4)), jnp.zeros(50, bool)
    outputs = {}
    for precision in ("float32", "tensorfloat32", "bfloat16"):
        network = make_network(Config(precision=precision, memory_size=memory_size), space, actions)
        params = network.init(jax.random.key(0))
        prediction = network.apply(params, network.init_memory(50), observation, start)
        chex.assert_type(jax.tree.leaves((params, prediction)), jnp.float32)
        outputs[precision] = prediction.value
    error = jnp.abs(outputs["bfloat16"] - outputs["float32"]).max() / jnp.abs(outputs["float32"]).max()
    assert 1e-4 < error < 2e-2
    np.testing.assert_array_equal(outputs["tensorfloat32"], outputs["float32"])  # a CPU has none


def test_float32_is_requested_where_a_device_would_round_by_default():
    network = make_network(Config(), Box((4,)), Discrete(3))
    jaxpr = str(jax.make_jaxpr(network.value)(network.init(jax.random.key(0)), jnp.zeros(4)))
    assert jaxpr.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == jaxpr.count("dot_general[")
