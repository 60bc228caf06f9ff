"""Concrete arrays for environments that are made while a caller's function is being traced."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax
from jax.sharding import AxisType


@contextmanager
def concretely() -> Iterator[None]:
    """Computes what is in the `with` block at once, even if `jit`, `vmap` or `shard_map` is tracing.

    Constructors of environments branch on arrays, and sizes and bounds of spaces have to be known. If the
    caller has set a mesh, its axes are of type Auto in the block. In a `shard_map` they are manual, which no
    array that is computed at once can be; nor may a `shard_map` use arrays from outside on explicit axes.
    """
    mesh = jax.sharding.get_abstract_mesh()
    types = dict.fromkeys(mesh.axis_names, AxisType.Auto)
    with (
        jax.ensure_compile_time_eval(),
        jax.sharding.use_abstract_mesh(mesh.update_axis_types(types)),
    ):
        yield
