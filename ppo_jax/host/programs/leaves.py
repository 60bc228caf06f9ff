"""The leaves of a PyTree by name. A `Count` is one leaf."""

from typing import Any

import jax

from ppo_jax.count import Count


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the leaves by their paths, such as "learner/params/log_std", in the order of the tree."""
    leaves = jax.tree.leaves_with_path(tree, is_leaf=lambda node: isinstance(node, Count))
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
