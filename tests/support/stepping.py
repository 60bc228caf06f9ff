"""One step of an environment from a key, where what the step needs is not drawn beforehand."""

from typing import Any

import jax

from ppo_jax.envs.environment import Environment, TimeStep


def step(environment: Environment, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
    """Draws everything random in one step, and takes it."""
    return environment.step(environment.draw_one(len(action), key), state, action)
