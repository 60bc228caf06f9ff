"""The surroundings in which libraries of environments are called, whatever a caller has set or traces."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.sharding import AxisType


@contextmanager
def usual_modes() -> Iterator[None]:
    """Sets the modes of JAX that libraries rely on, whatever the user has set."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


@contextmanager
def concretely() -> Iterator[None]:
    """Computes what is in the `with` block at once, even if `jit`, `vmap` or `shard_map` is tracing.

    Constructors of environments branch on arrays, and sizes and bounds of spaces have to be known. If the
    caller has set a mesh, its axes are of type Auto in the block. In a `shard_map` they are manual, which no
    array that is computed at once can be; nor may a `shard_map` use arrays from outside on explicit axes.
    The modes of JAX are the usual ones.
    """
    mesh = jax.sharding.get_abstract_mesh()
    types = dict.fromkeys(mesh.axis_names, AxisType.Auto)
    with (
        usual_modes(),
        jax.ensure_compile_time_eval(),
        jax.sharding.use_abstract_mesh(mesh.update_axis_types(types)),
    ):
        yield
