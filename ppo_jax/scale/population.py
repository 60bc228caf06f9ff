"""Population-based training: the worst members copy the best, and then explore other hyperparameters.

Source: Jaderberg et al. 2017, "Population Based Training of Neural Networks", Algorithm 1, where `exploit`
selects by truncation, and `explore` perturbs or resamples (Section 4). The functions are pure, so that a
whole search can be jitted and mapped: train the members for some updates (`jax.vmap` over their
hyperparameters and states), score them, then `evolve` and `inherit`.
"""

import math
import zlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.train import TrainState

SHARE = 0.25  # of the members is the best, and as many are the worst
FACTOR = 1.25  # by which a value of a logarithmic range grows, or shrinks
STEP = 0.1  # by which a value of another range moves, in widths of the range
RESAMPLED = 0.25  # of the values is drawn anew

Values = dict[str, jax.Array]  # the hyperparameters that are searched, [L] each, by their names
Ranges = Mapping[str, tuple[float, float, bool]]  # their lowest and highest values; whether on a log scale


def evolve(key: jax.Array, scores: jax.Array, values: Values, ranges: Ranges) -> tuple[jax.Array, Values]:
    """Selects the members that copy others, and explores from the hyperparameters that they copy.

    Args:
        key: The source of all draws. Each member and each hyperparameter has a key of its own, derived from
            the member's number and the hyperparameter's name: one more of either changes no other draw.
        scores: The score of each member, [L]; the largest is best, and one that is not finite is worst.
        values: The hyperparameters, [L] each.
        ranges: The range of each of them.

    Returns:
        The parent of each member, [L] int32, for `inherit`; a member that does not copy is its own. And the
        hyperparameters after exploring, [L] each.
    """
    parents = exploit(key, scores)
    is_copy = parents != jnp.arange(len(parents))
    copied = {name: jnp.asarray(of_members)[parents] for name, of_members in values.items()}
    explored = explore(key, copied, ranges)
    return parents, {name: jnp.where(is_copy, explored[name], copied[name]) for name in values}


def exploit(key: jax.Array, scores: jax.Array) -> jax.Array:
    """Selects the parent of each member by truncation.

    A member among the worst quarter, rounded up, copies one of the best quarter, drawn at random; so does a
    member whose score is not finite. It stays as it is if the one that was drawn is no better.

    Returns:
        The parents, [L] int32.
    """
    size = len(scores)
    count = math.ceil(SHARE * size)
    members = jnp.arange(size, dtype=jnp.int32)
    known = jnp.where(jnp.isfinite(scores), scores, -jnp.inf)
    order = jnp.argsort(-known).astype(jnp.int32)  # the best first; of equals, the first
    is_worst = jnp.zeros(size, bool).at[order[size - count :]].set(True) | ~jnp.isfinite(scores)
    places = jax.vmap(lambda member_key: jax.random.randint(member_key, (), 0, count))
    donors = order[places(_keys(key, "parent", size))]
    return jnp.where(is_worst & (known[donors] > known), donors, members)


def explore(key: jax.Array, values: Values, ranges: Ranges) -> Values:
    """Moves each value a step up or down within its range, or draws it anew.

    Departure from the source, which multiplies all values by 0.8 or 1.2: only those of a logarithmic range
    are multiplied, by 0.8 or 1.25. Others move by a tenth of the width of their range: for a discount of
    0.99, times 0.8 would be no small step.

    Args:
        key: The source of all draws.
        values: The hyperparameters, [L] each.
        ranges: The range of each of them.

    Returns:
        Other values within their ranges, [L] float32 each.
    """
    explored = {}
    for name, old in values.items():
        low, high, is_log = ranges[name]
        ends = jnp.log(jnp.array([low, high])) if is_log else jnp.array([low, high])
        keys = jax.vmap(lambda member_key: jax.random.split(member_key, 3))(_keys(key, name, len(old)))
        turn, up, place = jax.vmap(jax.vmap(jax.random.uniform))(keys).T  # [3, L], each from 0 to 1
        drawn = ends[0] + place * (ends[1] - ends[0])
        if is_log:
            drawn, moved = jnp.exp(drawn), old * jnp.where(up < 0.5, 1 / FACTOR, FACTOR)
        else:
            moved = old + jnp.where(up < 0.5, -STEP, STEP) * (high - low)
        explored[name] = jnp.clip(jnp.where(turn < RESAMPLED, drawn, moved), low, high)
    return explored


def inherit(state: TrainState, parents: jax.Array) -> TrainState:
    """Gives each member the state of its parent.

    The environments come along with the parameters, the optimizer and the statistics: the memory of a
    network and the running episodes belong to the policy that made them, and those of a member that failed
    may not be finite. Only the key remains the member's own, so that it goes another way than its parent from
    the first action.

    Args:
        state: The states of all members, [L, ...].
        parents: The parent of each member, [L].
    """
    return jax.tree.map(lambda x: x[parents], state)._replace(key=state.key)


def _keys(key: jax.Array, name: str, size: int) -> jax.Array:
    """Returns the key of each member for the draws of a name, [L]."""
    named = jax.random.fold_in(key, zlib.crc32(name.encode()))
    return jax.vmap(lambda member: jax.random.fold_in(named, member))(jnp.arange(size))
