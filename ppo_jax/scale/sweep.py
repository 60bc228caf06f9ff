"""Many runs in one compiled program: each of several hyperparameter points, from each of several seeds."""

from functools import partial

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.train import Metrics, TrainState, train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment
from ppo_jax.errors import UsageError, check_kind
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import MakeNetwork


def sweep(
    config: Config,
    hyper: Hyperparams,
    keys: jax.Array,
    environment: Environment | None = None,
    make_network: MakeNetwork = make_network,
) -> tuple[TrainState, Metrics]:
    """Trains H hyperparameter points from S seeds each, as one program.

    Points are not checked while they are traced: call `validate(config, hyper)` beforehand.

    Args:
        config: The static part, shared by all runs.
        hyper: The traced part. Each field is a float, shared by all runs, or an array [H], one value per
            point; at least one field is an array.
        keys: The keys, one per seed, [S].
        environment: The caller's own environment; by default the one that `config` names.
        make_network: The caller's own function; by default the one that `config.network` names.

    Returns:
        States [H, S, ...] and metrics [H, S, U]. Run (h, s) draws the random numbers of `train` with
        point h and key s, but XLA rounds a batched program differently: in the long run the two
        agree in distribution, not in their bits.

    Raises:
        UsageError: If no field of `hyper` is an array [H], or `keys` is not [S].
    """
    check_kind("hyper", hyper, Hyperparams, "ppo_jax.Hyperparams(...)")
    check_kind("keys", keys, jax.Array, "jax.random.split(key, num_seeds)")
    ranks = {name: jnp.ndim(value) for name, value in hyper._asdict().items() if value is not None}
    if max(ranks.values()) != 1 or keys.ndim != 1:
        raise UsageError(
            f"hyper has fields of ranks {ranks} and keys the shape {keys.shape}; give at least one field as "
            "an array [H], no field of a higher rank, and keys [S] as `jax.random.split` makes them"
        )

    train_one = partial(train, config, environment=environment, make_network=make_network)
    axes = Hyperparams(**{name: 0 if ranks.get(name) else None for name in hyper._fields})  # pyright: ignore
    over_seeds = jax.vmap(train_one, in_axes=(None, 0))
    return jax.vmap(over_seeds, in_axes=(axes, None))(hyper, keys)
