"""Time limits for environments whose library has none, or reports its own as the end of the task."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.envs.arguments import TIME_LIMIT
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.errors import UsageError


class Timed(NamedTuple):
    """The state of an environment with a time limit.

    Attributes:
        inner: The state of the environment itself.
        elapsed: The steps of this episode so far, [] int32.
    """

    inner: Any
    elapsed: jax.Array


def limited(dynamics: Dynamics, limit: int | None) -> Dynamics:
    """Cuts episodes off after a number of steps: they are truncated, not terminated.

    A step that ends the task and reaches the limit sets both flags, as it does in Gymnasium.

    Args:
        dynamics: One copy of an environment.
        limit: The most steps of an episode; None for no limit other than that of the environment.

    Raises:
        UsageError: If the limit is less than 1.
    """
    if limit is None:
        return dynamics
    if limit < 1:
        raise UsageError(f"{TIME_LIMIT} = {limit} is not at least 1; give the most steps of an episode")

    def reset(key: jax.Array) -> tuple[Timed, Any]:
        state, observation = dynamics.reset(key)
        return Timed(inner=state, elapsed=jnp.int32(0)), observation

    def step(key: jax.Array, state: Timed, action: jax.Array) -> tuple[Timed, Transition]:
        inner, transition = dynamics.step(key, state.inner, action)
        elapsed = state.elapsed + 1
        truncated = transition.truncated | (elapsed >= limit)
        return Timed(inner=inner, elapsed=elapsed), transition._replace(truncated=truncated)

    return dynamics._replace(reset=reset, step=step)
