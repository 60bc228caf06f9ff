"""The environment's own metrics: found by name, summed over episodes, and reported as further fields."""

from collections import namedtuple
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.algorithm.task import PREFIX
from ppo_jax.algorithm.teacher import FIELDS
from ppo_jax.envs.environment import Environment
from ppo_jax.errors import UsageError

Own = dict[str, jax.Array]  # by name
REPEATED = "repeated_starts"  # reported beside them, if the environment has a pool of first states
RESERVED = ("update", "seconds", *FIELDS, REPEATED)  # names in records, beside the fields of `Metrics`


def names_of(environment: Environment) -> tuple[str, ...]:
    """Returns the names of the environment's own metrics, sorted; one step of one copy is traced to find out.

    Raises:
        UsageError: If one of them is not a number for each copy.
    """

    def step(key: jax.Array) -> dict[str, Any]:
        state, _ = environment.reset(1, key)
        action = spaces.zeros(environment.action_space)[None]
        _, time_step = environment.step(environment.draw_one(1, key), state, action)
        return time_step.metrics

    metrics = jax.eval_shape(step, jax.random.key(0))
    for name, value in metrics.items():
        is_taken = name in RESERVED or str(name).startswith(PREFIX)
        if not str(name).isidentifier() or name.startswith("_") or is_taken:
            raise UsageError(
                f"the environment has a metric {name!r}, which is taken or is not a name as Python has them; "
                "give another, such as success or reward_of_speed"
            )
        if value.shape != (1,):
            raise UsageError(
                f"the environment's metric {name!r} has the shape {list(value.shape[1:])}; give one number"
            )
    return tuple(sorted(metrics))


def zeros(names: tuple[str, ...], num_envs: int) -> Own:
    """Returns the sums before the first step, [N] float32 each."""
    return {name: jnp.zeros(num_envs, jnp.float32) for name in names}


def add(totals: Own, metrics: dict[str, Any]) -> Own:
    """Adds the metrics of one step to their sums so far, [N] float32 each.

    Raises:
        UsageError: If there are other names than before.
    """
    if totals.keys() != metrics.keys():
        dropped, added = sorted(totals.keys() - metrics.keys()), sorted(metrics.keys() - totals.keys())
        raise UsageError(
            f"the environment's metrics are not the same in every step: {', '.join(dropped) or 'none'} "
            f"dropped, {', '.join(added) or 'none'} added; give the same names in every step"
        )
    return {name: total + jnp.asarray(metrics[name], jnp.float32) for name, total in totals.items()}


@cache
def extend(record: Any, names: tuple[str, ...]) -> Any:
    """Returns a class of records with a further field for each name; the class itself if there are none.

    Args:
        record: A NamedTuple.
        names: The names of the environment's own metrics.

    Raises:
        UsageError: If a name is that of a field already.
    """
    if taken := [name for name in names if name in record._fields]:
        raise UsageError(
            f"the environment has a metric {taken[0]!r}, which is the name of another one; give another name"
        )
    if not names:
        return record
    return namedtuple(record.__name__, (*record._fields, *names))
