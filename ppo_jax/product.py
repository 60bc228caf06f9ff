"""The matrix product of a dense layer, with a gradient that suits narrow layers on a CPU."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

NARROW = 8  # features or outputs of a layer, up to which a transposed copy costs next to nothing


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def product(precision: str, x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies features by the kernel of a layer; derivatives are in reverse mode only.

    On a CPU, where one side of a layer is narrow, the gradient of its kernel is taken in a form that is
    several times as fast, see `docs/performance.md`. Its sum runs over the same terms.

    Args:
        precision: Of `jax.lax.Precision`, by name; of the gradients too.
        x: [..., I].
        kernel: [I, O].

    Returns:
        [..., O].
    """
    return jnp.matmul(x, kernel, precision=precision)


def _forward(precision: str, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    return product(precision, x, kernel), (x, kernel)


def _backward(
    precision: str, operands: tuple[jax.Array, jax.Array], slope: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, kernel = operands
    num_features, num_outputs = kernel.shape
    of_x = jnp.matmul(slope, kernel.T, precision=precision)
    plain, narrow = partial(kernel_gradient, precision), partial(narrow_kernel_gradient, precision)
    on_cpu = narrow if min(num_features, num_outputs) <= NARROW else plain
    rows = x.reshape(-1, num_features), slope.reshape(-1, num_outputs)
    return of_x, jax.lax.platform_dependent(*rows, cpu=on_cpu, default=plain)


def kernel_gradient(precision: str, x: jax.Array, slope: jax.Array) -> jax.Array:
    """Returns the gradient with respect to a kernel, [I, O], from x, [M, I], and slope, [M, O]."""
    return jnp.matmul(x.T, slope, precision=precision)


def narrow_kernel_gradient(precision: str, x: jax.Array, slope: jax.Array) -> jax.Array:
    """Returns the same by way of a transposed copy of the narrower side.

    Now the left operand lies row by row, which XLA hands to a faster library; as it stands, a product with
    two columns takes half as long as one with 64. Without the barriers XLA would put it back.
    """
    multiply = partial(jnp.matmul, precision=precision)
    fix = jax.lax.optimization_barrier
    if x.shape[1] < slope.shape[1]:
        return multiply(fix(x.T), slope)
    return fix(multiply(fix(slope.T), x)).T


product.defvjp(_forward, _backward)
