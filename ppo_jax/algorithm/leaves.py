"""The leaves of a PyTree: by name, where a `Count` is one leaf; and which of them are keys."""

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.count import Count


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves by their paths, such as "learner/params/log_std", in the order of the tree."""
    leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda node: isinstance(node, Count))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def is_key(x: Any) -> bool:
    """Whether something has the type of a typed key."""
    return jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
