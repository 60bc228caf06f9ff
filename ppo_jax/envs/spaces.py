"""What an observation or an action looks like: static, hashable descriptions without any array."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Discrete(NamedTuple):
    """Whole numbers 0, 1, ..., n - 1.

    Attributes:
        n: How many there are (A, where they are actions).
    """

    n: int


class MultiDiscrete(NamedTuple):
    """Tuples of whole numbers, such as one for each joystick of several.

    Attributes:
        nums: How many values each component has; component i is one of 0, ..., nums[i] - 1.
    """

    nums: tuple[int, ...]


class Box(NamedTuple):
    """Arrays of real numbers of one shape.

    Attributes:
        shape: Shape of one of them, without batch axes.
        low: Least value: one number for all elements, or one for each in row-major order.
        high: Largest value, likewise.
    """

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf


Space = Discrete | MultiDiscrete | Box


def clip(space: Space, action: jax.Array) -> jax.Array:
    """Moves actions [..., *shape] into the bounds of a Box; others are left as they are."""
    return jnp.clip(action, *bounds(space, action.ndim)) if isinstance(space, Box) else action


def bounds(space: Box, ndim: int) -> tuple[jax.Array, jax.Array]:
    """Returns the lower and the upper bounds of a Box, [1, ..., *shape] with `ndim` axes."""
    return _bound(space.low, space, ndim), _bound(space.high, space, ndim)


def _bound(bound: float | tuple[float, ...], space: Box, ndim: int) -> jax.Array:
    full = jnp.broadcast_to(jnp.asarray(bound, jnp.float32).ravel(), math.prod(space.shape))
    return full.reshape((1,) * (ndim - len(space.shape)) + space.shape)
