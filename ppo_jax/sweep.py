"""Many runs in one compilation: every point of a grid of hyperparameters from every seed."""

from functools import partial

import jax

from ppo_jax.config import Config, Hyperparams
from ppo_jax.train import Metrics, TrainState, train


def sweep(config: Config, hyper: Hyperparams, keys: jax.Array) -> tuple[TrainState, Metrics]:
    """Trains H hyperparameter points from S seeds each, as one program.

    Args:
        config: The static part, shared by all runs (`static_argnums=0` under `jax.jit`).
        hyper: Each field a float, shared by all runs, or an array [H], one value per point; at least
            one field is an array.
        keys: One per seed, [S].

    Returns:
        States [H, S, ...] and metrics [H, S, U]. Run (h, s) is that of `train` with point h and key s.
    """
    axes = jax.tree.map(_axis, hyper)
    over_seeds = jax.vmap(partial(train, config), in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(axes, None))(hyper, keys)


def _axis(value: jax.Array | float) -> int | None:
    return 0 if jax.numpy.ndim(value) == 1 else None
