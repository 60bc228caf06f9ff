"""Sums, means and places over all environments, also those on other devices.

`scale.shard` divides the environments of a run among devices, along the axis AXIS. There, the same code runs
on every device with its own environments, a shard, and what has to hold for all of them goes through these
functions. Where nothing is divided, each of them is the same function of one array and costs nothing.
"""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

AXIS = "environments"
T = TypeVar("T")


def count() -> int:
    """Returns the number of shards that the environments are divided into; 1 if they are not."""
    try:
        return jax.lax.axis_size(AXIS)
    except NameError:  # nothing is divided
        return 1


def own(x: jax.Array, axis: int = 0) -> jax.Array:
    """Returns the part of an array that belongs to this shard: its places along an axis of all of them."""
    if count() == 1:
        return x
    size = x.shape[axis] // count()
    return jax.lax.dynamic_slice_in_dim(x, jax.lax.axis_index(AXIS) * size, size, axis)


def own_drawn(drawn: T, num_envs: int) -> T:
    """Returns the random numbers of this shard, out of those of all environments.

    Numbers without an axis of environments are shared. Keys without one become other keys in each shard.

    Args:
        drawn: A tree of arrays and typed keys, [T, N, ...] or [T].
        num_envs: The number of all environments, N.
    """

    def own_leaf(x: jax.Array) -> jax.Array:
        if x.ndim > 1 and x.shape[1] == num_envs:
            return own(x, axis=1)
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            folded = jax.vmap(jax.random.fold_in, in_axes=(0, None))(x.ravel(), jax.lax.axis_index(AXIS))
            return folded.reshape(x.shape)
        return x

    return drawn if count() == 1 else jax.tree.map(own_leaf, drawn)


def total(tree: T) -> T:
    """Returns the sums of arrays over all shards."""
    return tree if count() == 1 else jax.lax.psum(tree, AXIS)


def mean(tree: T) -> T:
    """Returns the means of float32 arrays over all shards, of which one vector is sent."""
    if count() == 1:
        return tree
    vector, unravel = ravel_pytree(tree)
    return unravel(jax.lax.pmean(vector, AXIS))


def extremes(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the least and the largest number of all shards, [] each."""
    least, most = x.min(), x.max()
    if count() == 1:
        return least, most
    negative, most = jax.lax.pmax(jnp.stack((-least, most)), AXIS)
    return -negative, most


def pool_moments(mean: jax.Array, variance: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the mean and the population variance over the samples of all shards, which have equally many.

    Args:
        mean: The mean of the samples of this shard, [...].
        variance: Their population variance, [...].
    """
    if count() == 1:
        return mean, variance
    means, variances = jax.lax.all_gather(jnp.stack((mean, variance)), AXIS, axis=1)  # [D, ...] each
    shifted = means - means[:1]  # so that equal means stay exact
    return means[0] + shifted.mean(axis=0), variances.mean(axis=0) + shifted.var(axis=0)


def rank(mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Numbers the True entries of all shards in the order of their rows, then of their environments.

    Args:
        mask: The entries of this shard, [T, N] bool.

    Returns:
        The number of each entry, counted from 1, [T, N] int32, and the number of entries of all shards, [].
    """
    if count() == 1:
        ranks = jnp.cumsum(mask.reshape(-1), dtype=jnp.int32)
        return ranks.reshape(mask.shape), ranks[-1]
    sums = jax.lax.all_gather(mask.sum(axis=1, dtype=jnp.int32), AXIS, axis=1)  # [T, D]
    through = jnp.cumsum(sums.reshape(-1)).reshape(sums.shape)
    before = (through - sums)[:, jax.lax.axis_index(AXIS)]  # [T], in earlier rows and shards
    return before[:, None] + jnp.cumsum(mask, axis=1, dtype=jnp.int32), through[-1, -1]


def written(before: jax.Array, index: jax.Array, values: jax.Array) -> jax.Array:
    """Equals `before.at[index].set(values, mode="drop")` for what all shards write.

    Args:
        before: The array, the same on all shards, [S].
        index: The places where this shard writes; no other shard writes there.
        values: The values that it writes.
    """
    after = before.at[index].set(values, mode="drop")
    if count() == 1:
        return after
    is_own = jnp.zeros(before.shape, bool).at[index].set(True, mode="drop")
    sums, writers = jax.lax.psum((jnp.where(is_own, after, 0), is_own.astype(jnp.int32)), AXIS)
    return jnp.asarray(jnp.where(writers > 0, sums, before))
