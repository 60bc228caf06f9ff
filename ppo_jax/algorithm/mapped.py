"""Lets the algorithm be mapped over devices: by `jax.shard_map`, and by `jax.vmap` over keys of a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec


def vary_with(sources: Any, tree: Any) -> Any:
    """Returns the same values, but mapped over wherever one of the sources is.

    A loop has to begin with what it goes on with: inside `jax.shard_map`, the zero that a counter begins
    with has another type than the counts, which differ from device to device. XLA removes what is done here.

    Args:
        sources: A tree of arrays, numbers, and keys of any shapes.
        tree: A tree of arrays and keys.
    """
    true = jnp.array(True)
    for leaf in jax.tree.leaves(sources):
        is_key = jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key)
        number = jnp.ravel(jax.random.key_data(leaf) if is_key else leaf)[0]
        true = true & ((number == number) | True)
    return jax.tree.map(lambda x: jnp.where(true, x, x), tree)


def on_auto_axes(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns `function(*arguments)`, computed with axes of type Auto if the arguments lie on explicit ones.

    On an explicit axis, the type of an array says how it is sharded, and each operation has to say so of its
    result. `jax.make_mesh` makes such axes, but environments and networks are written without them.

    Args:
        function: A function of arrays that returns arrays.
        arguments: Trees of arrays, numbers, and keys.
    """
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(arguments)]
    explicit = [mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types]
    if not explicit:
        return function(*arguments)
    with jax.sharding.use_abstract_mesh(explicit[0]):
        return jax.sharding.auto_axes(function, out_sharding=PartitionSpec())(*arguments)
