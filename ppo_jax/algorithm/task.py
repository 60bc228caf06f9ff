"""A task that changes during a run: arguments of the environment that follow ramps."""

import jax
import jax.numpy as jnp

from ppo_jax.config import Config
from ppo_jax.count import Count
from ppo_jax.envs.ramps import ramps_of

PREFIX = "env_args_"  # what the names of their metrics begin with


def arguments_at(config: Config, num_updates: Count) -> dict[str, jax.Array]:
    """Returns the arguments that change, by name, as they are in one update, [] float32 each.

        start + (end - start) min(1, t / steps)

    where t is the number of environment steps before the update, so that all its steps are of one task.

    Args:
        config: The static part of the run.
        num_updates: The updates that are done.
    """
    done = num_updates.as_float() * jnp.float32(config.batch_size)

    def at(start: float, end: float, steps: int) -> jax.Array:
        share = jnp.minimum(done / jnp.float32(steps), 1.0)
        # Exact at both ends, where start + (end - start) would be rounded.
        return jnp.where(share < 1, start + jnp.float32(end - start) * share, jnp.float32(end))

    return {name: at(*ramp) for name, ramp in ramps_of(dict(config.env_args)).items()}
