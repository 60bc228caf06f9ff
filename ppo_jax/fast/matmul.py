"""The matrix product of a dense layer, with a gradient that is faster for narrow layers on a CPU."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

NARROW = 8  # up to this many features or outputs of a layer, a transposed copy costs next to nothing


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def matmul(precision: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Equals `jnp.matmul(x, kernel)`; derivatives are in reverse mode only.

    On a CPU, the gradient of a kernel with a narrow side is computed in a form that is several times as
    fast, see `docs/performance.md`. It sums over the same terms.

    Args:
        precision: The name of a `jax.lax.Precision`; it holds for the gradients too.
        x: The features, [..., I].
        kernel: The weights, [I, O].

    Returns:
        The product, [..., O].
    """
    return jnp.matmul(x, kernel, precision=precision)


def _forward(precision: str, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    return matmul(precision, x, kernel), (x, kernel)


def _backward(
    precision: str, operands: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = operands
    num_features, num_outputs = kernel.shape

    plain, narrow = partial(kernel_gradient, precision), partial(narrow_kernel_gradient, precision)
    of_x = jnp.matmul(slope, kernel.T, precision=precision)
    rows = x.reshape(-1, num_features), slope.reshape(-1, num_outputs)  # [M, I], [M, O]
    on_cpu = narrow if min(num_features, num_outputs) <= NARROW else plain
    return of_x, jax.lax.platform_dependent(*rows, cpu=on_cpu, default=plain)


def kernel_gradient(precision: str, x: jax.Array, slope: jax.Array) -> jax.Array:
    """Returns the gradient with respect to a kernel, [I, O], from x, [M, I], and slope, [M, O]."""
    return jnp.matmul(x.T, slope, precision=precision)


def narrow_kernel_gradient(precision: str, x: jax.Array, slope: jax.Array) -> jax.Array:
    """Equals `kernel_gradient`, by way of a transposed copy of the narrower side.

    The left operand then lies row by row, so XLA hands the product to a faster library. Without the copy, a
    product with two columns takes half as long as one with 64. The barriers keep XLA from undoing the copy.
    """
    fix = jax.lax.optimization_barrier
    if x.shape[1] < slope.shape[1]:
        rows = fix(x.T)  # [I, M]
        return jnp.matmul(rows, slope, precision=precision)
    rows = fix(slope.T)  # [O, M]
    return fix(jnp.matmul(rows, x, precision=precision)).T


matmul.defvjp(_forward, _backward)
