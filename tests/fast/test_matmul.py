"""The matrix product of a dense layer, and the fast form of its gradient."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.fast.matmul import NARROW, kernel_gradient, matmul, narrow_kernel_gradient

RANDOM = np.random.default_rng(0)
SIDES = [(4, 64), (64, 2), (64, 1), (2, 3), (NARROW, NARROW + 1), (NARROW + 1, NARROW), (16, 24)]
every_size = pytest.mark.parametrize(("num_features", "num_outputs"), SIDES)


def normal(*shape):
    return jnp.asarray(RANDOM.normal(size=shape), jnp.float32)


def square_sum(multiply, x, kernel):
    return (multiply(x, kernel) ** 2).sum()


@every_size
@pytest.mark.parametrize("leading", [(), (7,), (3, 5), (2, 3, 4)], ids=str)
def test_product_and_gradients_are_those_of_the_plain_product(leading, num_features, num_outputs):
    x, kernel = normal(*leading, num_features), normal(num_features, num_outputs)
    multiply = partial(matmul, "float32")
    np.testing.assert_allclose(multiply(x, kernel), np.asarray(x) @ np.asarray(kernel), rtol=1e-5, atol=1e-5)
    ours, plain = (
        jax.jit(jax.grad(partial(square_sum, how), argnums=(0, 1)))(x, kernel)
        for how in (multiply, jnp.matmul)
    )
    chex.assert_trees_all_close(ours, plain, rtol=1e-4, atol=1e-4)


@every_size
def test_gradients_of_many_agents_are_those_of_each(num_features, num_outputs):
    x, kernel = normal(3, 10, num_features), normal(3, num_features, num_outputs)
    gradient = jax.grad(partial(square_sum, partial(matmul, "float32")), argnums=(0, 1))
    each = [gradient(*pair) for pair in zip(x, kernel, strict=True)]
    stacked = jax.tree.map(lambda *rows: jnp.stack(rows), *each)
    chex.assert_trees_all_close(jax.jit(jax.vmap(gradient))(x, kernel), stacked, rtol=1e-4, atol=1e-4)


@every_size
def test_the_fast_form_of_the_gradient_is_exact(num_features, num_outputs):
    """Small whole numbers leave nothing to round, in whatever order they are summed."""
    x = jnp.asarray(RANDOM.integers(-8, 9, (50, num_features)), jnp.float32)
    slope = jnp.asarray(RANDOM.integers(-8, 9, (50, num_outputs)), jnp.float32)
    fast = jax.jit(partial(narrow_kernel_gradient, "float32"))(x, slope)
    np.testing.assert_array_equal(fast, kernel_gradient("float32", x, slope))
    np.testing.assert_array_equal(fast, np.asarray(x).T @ np.asarray(slope))


@pytest.mark.parametrize(("platform", "expected"), [("cpu", True), ("cuda", False), ("tpu", False)])
def test_only_a_cpu_gets_the_fast_form(platform, expected):
    gradient = jax.jit(jax.grad(partial(square_sum, partial(matmul, "float32")), argnums=1))
    lowered = gradient.trace(normal(16, 64), normal(64, 2)).lower(lowering_platforms=(platform,))
    assert ("optimization_barrier" in lowered.as_text()) == expected


@pytest.mark.parametrize("side", [2, 64])
@pytest.mark.parametrize("precision", ["float32", "tensorfloat32"])
def test_the_gradients_have_the_precision_of_the_product(precision, side):
    gradient = jax.jit(jax.grad(partial(square_sum, partial(matmul, precision)), argnums=(0, 1)))
    text = gradient.lower(normal(16, 64), normal(64, side)).as_text()
    name = {"float32": "HIGHEST", "tensorfloat32": "HIGH"}[precision]
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) == 3
    assert all(f"precision = [{name}, {name}]" in line for line in products)
