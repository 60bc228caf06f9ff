"""Loops with the same values as a plainer form, but faster. Each function says what it equals."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from ppo_jax import shards

CACHED_SAMPLES = 4096  # the activations of this many samples, 64 to a layer, take 1 MiB
# Bytes of inputs to take at a time. It matters for images, whose convolutions take some 16 times as much.
CPU_BYTES, DEVICE_BYTES = 2**24, 2**27
DRAWN_BYTES = 2**20  # bytes of random numbers drawn at a time, so that they stay in a cache


def vary_with(sources: Any, tree: Any) -> Any:
    """Equals `tree`, but is mapped over wherever one of the sources is.

    A loop has to begin with what it goes on with: inside `jax.shard_map`, the zero that a counter begins
    with has another type than the counts, which differ from device to device. XLA removes what is done here;
    outside, nothing is.

    Args:
        sources: A tree of arrays, numbers, and keys of any shapes.
        tree: A tree of arrays and keys.
    """
    if AxisType.Manual not in jax.sharding.get_abstract_mesh().axis_types:
        return tree
    true = jnp.array(True)
    for leaf in jax.tree.leaves(sources):
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        number = jnp.ravel(jax.random.key_data(leaf) if is_key else leaf)[0]
        true = true & ((number == number) | True)
    return jax.tree.map(lambda x: jnp.where(true, x, x), tree)


def map_where(mask: jax.Array, f: Callable[[Any], jax.Array], inputs: Any, otherwise: jax.Array) -> jax.Array:
    """Equals `jnp.where(mask, f(inputs), otherwise)`, but computes `f` only where the mask is True.

    It picks out N of those places at a time until none is left, so it pays off if they are few.

    Args:
        mask: [T, N] bool.
        f: A function of inputs [N, ...] that treats its rows independently, and returns [N].
        inputs: A tree of arrays [T, N, ...].
        otherwise: The values where the mask is False, [T, N].
    """
    batch, size = mask.shape[1], mask.size
    rows = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), inputs)  # [T * N, ...]

    def compute_some(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        left, values = carry
        # The first N places that are left. If there are fewer, the remaining indices point past the end:
        # they read the last row, and what they compute is dropped.
        (index,) = jnp.nonzero(left, size=batch, fill_value=size)
        computed = f(jax.tree.map(lambda x: jnp.take(x, index, axis=0, mode="clip"), rows))
        return left.at[index].set(False, mode="drop"), values.at[index].set(computed, mode="drop")

    start = mask.reshape(-1), otherwise.reshape(-1)
    _, values = jax.lax.while_loop(lambda carry: carry[0].any(), compute_some, start)
    return values.reshape(mask.shape)


def scan_until(
    stop: Callable[[Any], jax.Array], body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any
) -> tuple[Any, Any]:
    """Equals a `jax.lax.scan(body, carry, xs)` that ends early.

    Args:
        stop: `stop(y) -> [] bool`: whether to end after the step that returned y.
        body: `body(carry, x) -> (carry, y)`.
        carry: The carry before the first step.
        xs: A tree of arrays [K, ...].

    Returns:
        The carry after the last step taken, and all y, [K, ...], zero for the steps that were skipped.
    """

    def skip(carry: Any, x: Any) -> tuple[Any, Any]:
        _, y = jax.eval_shape(body, carry, x)
        zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), y)
        return vary_with((carry, x), (carry, zeros))

    def go(carry: Any, x: Any) -> tuple[Any, Any]:
        return vary_with((carry, x), body(carry, x))

    def step(loop: tuple[Any, jax.Array], x: Any) -> tuple[tuple[Any, jax.Array], Any]:
        carry, done = loop
        carry, y = jax.lax.cond(done, skip, go, carry, x)
        return (carry, done | stop(y)), y

    start = vary_with((carry, xs), (carry, jnp.zeros((), bool)))
    (carry, _), ys = jax.lax.scan(step, start, xs)
    return carry, ys


def scan_drawn(
    draw: Callable[[int, jax.Array], Any],
    body: Callable[[Any, Any], tuple[Any, Any]],
    carry: Any,
    key: jax.Array,
    length: int,
    unroll: int = 1,
) -> tuple[Any, Any]:
    """Equals `jax.lax.scan(body, carry, xs)` over random xs, drawn for many steps at once.

    Drawing them in bulk keeps the random numbers off the sequential path; drawing them in blocks of
    DRAWN_BYTES keeps them in a cache.

    Args:
        draw: `draw(num_steps, keys) -> xs [num_steps, ...]`, from two keys; `num_steps` is static.
        body: `body(carry, x) -> (carry, y)`.
        carry: The carry before the first step.
        key: The source of all draws.
        length: The number of steps, T; static.
        unroll: The number of steps in one iteration of the loop.

    Returns:
        The carry after the last step, and all y, [T, ...].
    """
    one = jax.eval_shape(lambda keys: draw(1, keys), jax.eval_shape(jax.random.split, key))
    # Those of all shards, so that any number of them has the same blocks.
    bytes_of_one = shards.count() * sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(one))
    divisors = [size for size in range(1, length + 1) if length % size == 0]
    block = max(size for size in divisors if size == 1 or size * bytes_of_one <= DRAWN_BYTES)

    def run_block(carry: Any, keys: jax.Array) -> tuple[Any, Any]:
        return jax.lax.scan(body, carry, draw(block, keys), unroll=unroll)

    keys = jax.random.split(key, (length // block, 2))  # two for each block
    carry, ys = jax.lax.scan(run_block, carry, keys)
    return carry, jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), ys)  # [T, ...]


def map_in_cache(f: Callable[[Any], Any], inputs: Any) -> Any:
    """Equals `f(inputs)`, but takes only as many steps at a time as `steps_at_once` says.

    Args:
        f: A function of inputs [T, N, ...] that treats its elements independently.
        inputs: A tree of arrays [T, N, ...].
    """
    num_steps = jax.tree.leaves(inputs)[0].shape[0]

    def in_pieces(on_cpu: bool) -> Callable[[Any], Any]:
        size = steps_at_once(inputs, on_cpu)
        return f if size >= num_steps else partial(jax.lax.map, f, batch_size=size)

    on_cpu, elsewhere = in_pieces(on_cpu=True), in_pieces(on_cpu=False)
    if on_cpu is elsewhere:
        return f(inputs)
    return jax.lax.platform_dependent(inputs, cpu=on_cpu, default=elsewhere)


def steps_at_once(inputs: Any, on_cpu: bool) -> int:
    """Returns how many steps to take at a time: as many as fit into a CPU's cache, and into little RAM.

    Args:
        inputs: A tree of arrays [T, N, ...], or their shapes and dtypes.
        on_cpu: Whether the device is a CPU.
    """
    leaves = jax.tree.leaves(inputs)
    num_steps, num_envs = leaves[0].shape[:2]
    bytes_of_step = sum(x.size * x.dtype.itemsize for x in leaves) // num_steps
    most = (CPU_BYTES if on_cpu else DEVICE_BYTES) // bytes_of_step
    return max(1, min(most, CACHED_SAMPLES // num_envs) if on_cpu else most)
