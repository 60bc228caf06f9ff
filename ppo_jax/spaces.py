"""The spaces of observations and actions: static, hashable descriptions without arrays.

The bounds of a Box may be traced, if they depend on a parameter of the environment that is.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer


class Discrete(NamedTuple):
    """The whole numbers 0, 1, ..., n - 1.

    Attributes:
        n: The number of values (A, if they are actions).
    """

    n: int


class MultiDiscrete(NamedTuple):
    """Tuples of whole numbers, such as one for each of several joysticks.

    Attributes:
        nums: The number of values of each component; component i is one of 0, ..., nums[i] - 1.
    """

    nums: tuple[int, ...]


class Box(NamedTuple):
    """Arrays of real numbers of one shape.

    Attributes:
        shape: The shape of one array, without batch axes.
        low: The least value: one number for all elements, or one for each in row-major order.
        high: The largest value, likewise.
    """

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf


Space = Discrete | MultiDiscrete | Box


def clip(space: Space, action: jax.Array) -> jax.Array:
    """Clips actions [..., *shape] to the bounds of a Box; returns actions of other spaces unchanged."""
    return jnp.clip(action, *bounds(space, action.ndim)) if isinstance(space, Box) else action


def zeros(space: Space) -> jax.Array:
    """Returns an action of zeros, as long as it is only traced: 0 need not be within the bounds of a Box."""
    match space:
        case Discrete():
            return jnp.zeros((), jnp.int32)
        case MultiDiscrete(nums):
            return jnp.zeros(len(nums), jnp.int32)
        case Box(shape):
            return jnp.zeros(shape, jnp.float32)


def known_bounds(space: Box) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the lower and the upper bounds of a Box, [*shape] float64; None if they are being traced.

    Raises:
        ValueError: If there are neither one nor as many as elements.
    """
    if any(isinstance(bound, Tracer) for bound in jax.tree.leaves((space.low, space.high))):
        return None
    size = math.prod(space.shape)
    flat = (np.broadcast_to(np.asarray(bound, float).ravel(), size) for bound in (space.low, space.high))
    low, high = (bound.reshape(space.shape) for bound in flat)
    return low, high


def bounds(space: Box, ndim: int) -> tuple[jax.Array, jax.Array]:
    """Returns the lower and the upper bounds of a Box, [1, ..., *shape] with `ndim` axes."""
    size, batch_axes = math.prod(space.shape), (1,) * (ndim - len(space.shape))
    flat = (
        jnp.broadcast_to(jnp.asarray(bound, jnp.float32).ravel(), size) for bound in (space.low, space.high)
    )
    low, high = (bound.reshape(batch_axes + space.shape) for bound in flat)
    return low, high
