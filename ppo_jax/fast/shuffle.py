"""The order of the samples in an epoch, computed by a keyed bijection instead of a sort.

`jax.random.permutation` sorts random numbers, which for small networks takes as long as the gradients. A
Feistel network computes where an index goes from the index alone.
"""

import math

import jax
import jax.numpy as jnp

ROUNDS = 8  # with 6, not all orders of 5 samples are equally likely
MULTIPLIERS = (0x85EBCA6B, 0xC2B2AE35)  # from the finalizer of MurmurHash3, which mixes all 32 bits


def shuffle(key: jax.Array, size: int) -> jax.Array:
    """Puts 0 to size - 1 into a random order, as `jax.random.permutation(key, size)` would.

    An index is written as (left, right) on a board of `rows` x `columns`. Each round moves one part by a
    random function of the other, which can be undone whatever the function is:

        left  <- left + f(right)  mod rows
        right <- right + g(left)  mod columns

    If the board has more squares than there are indices, those that land outside move again until they
    are inside, which keeps it a bijection (cycle walking; Black and Rogaway 2002).

    Args:
        key: The source of the order.
        size: The number of indices, at least 1; static.

    Returns:
        Each of 0 to size - 1 exactly once, [size] int32. Not all `size!` orders can occur, but the places
        of any one or two indices are distributed as in a uniform order, which is what minibatches need.
    """
    rows, columns = _board(size)
    round_keys = jax.random.bits(key, (ROUNDS, 2), jnp.uint32)

    def permute(index: jax.Array) -> jax.Array:
        left, right = index // columns, index % columns  # [size] uint32
        for left_key, right_key in round_keys:
            left = (left + _hash(left_key, right) % rows) % rows
            right = (right + _hash(right_key, left) % columns) % columns

        return left * columns + right

    places = permute(jnp.arange(size, dtype=jnp.uint32))
    if rows * columns > size:
        places = jax.lax.while_loop(
            lambda places: jnp.any(places >= size),
            lambda places: jnp.where(places < size, places, permute(places)),
            places,
        )
    return places.astype(jnp.int32)


def _board(size: int) -> tuple[int, int]:
    """Returns the sides of a nearly square board of at least `size` squares; exactly `size` if possible."""
    root = math.isqrt(size - 1) + 1  # rounded up
    # A side that divides the size leaves no square outside; a board of a single column would not shuffle.
    sides = range(root, 2 * root)
    divisors = (side for side in sides if size % side == 0 and (side < size or size < 3))
    rows = next(divisors, root)
    return rows, -(-size // rows)


def _hash(key: jax.Array, x: jax.Array) -> jax.Array:
    """Maps 32 bits to 32 bits that look random, differently for each key."""
    x = x ^ key
    for multiplier, shift in zip(MULTIPLIERS, (16, 13), strict=True):
        x = (x ^ (x >> shift)) * jnp.uint32(multiplier)
    return x ^ (x >> 16)
