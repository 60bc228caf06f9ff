"""Lets the algorithm be transformed by `jax.jit`, `jax.vmap` and `jax.shard_map`, also on a mesh."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.core import Tracer
from jax.sharding import AxisType, PartitionSpec
from jax.tree_util import GetAttrKey

from ppo_jax.config import Config, Hyperparams


def in_usual_modes(function: Callable[..., Any], *arguments: Any) -> Any:
    """Returns `function(*arguments)`, computed in the usual modes of JAX, whatever those of the caller are.

    Axes of a mesh are of type Auto. On an explicit axis, the type of an array says how it is sharded, and
    each operation has to say so of its result. `jax.make_mesh` makes such axes, but environments and networks
    are written without them. Types are promoted, as Optax and gymnax need it.

    Args:
        function: A function of arrays that returns arrays.
        arguments: Trees of arrays, numbers, and keys.
    """
    meshes = [jax.typeof(leaf).sharding.mesh for leaf in jax.tree.leaves(arguments)]
    explicit = [mesh for mesh in meshes if AxisType.Explicit in mesh.axis_types]
    with jax.numpy_dtype_promotion("standard"):
        if not explicit:
            return function(*arguments)
        with jax.sharding.use_abstract_mesh(explicit[0]):
            return jax.sharding.auto_axes(function, out_sharding=PartitionSpec())(*arguments)


def _with_names(hyper: Hyperparams) -> tuple[list[tuple[Any, Any]], None]:
    """Returns the children of a node of a tree, with their keys: the values as `jax.jit` sees them.

    `jax.jit` compiles again for another type, such as an int instead of a float, even if the number is the
    same. So single numbers of all types become floats here.
    """

    def as_float(value: Any) -> Any:
        """Returns a number as a float, unless it is being traced; anything else as it is."""
        is_number = isinstance(value, int | float | np.number | np.ndarray | jax.Array)
        if isinstance(value, Tracer | bool) or not is_number:
            return value
        return float(value) if np.ndim(value) == 0 and np.isrealobj(value) else value

    # With an int or None, it says which axes to map over, as in `in_axes`; no learning rate is that large.
    is_axes = isinstance(hyper.learning_rate, int | None)
    values = hyper if is_axes else map(as_float, hyper)
    return [(GetAttrKey(name), value) for name, value in zip(hyper._fields, values, strict=True)], None


jax.tree_util.register_static(Config)  # it decides the program, as an argument of functions that are traced
jax.tree_util.register_pytree_with_keys(Hyperparams, _with_names, lambda _, values: Hyperparams._make(values))
