"""Hyperparameters that move during a run: by a schedule, or by how far the policy moves."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config import Config, Hyperparams

# Adaptive KL, Section 4 of the paper: beyond 1.5 times the wanted KL, or short of it by as much, the
# penalty is doubled or halved.
TOLERANCE, PENALTY_FACTOR = 1.5, 2.0
# KL-adaptive learning rate: beyond twice the wanted KL, or short of half of it, the rate moves by 1.5.
RATE_TOLERANCE, RATE_FACTOR = 2.0, 1.5
# Both stay within these factors of where they began, so that a KL of 0 (say, of a policy that has
# become deterministic) cannot drive them to where they never come back from.
MAX_PENALTY_FACTOR, MAX_RATE_FACTOR = 1e6, 1e2


class Steering(NamedTuple):
    """What was learned from the KL of past updates.

    Attributes:
        penalty_factor: By which beta of the next update is multiplied, [] float32.
        rate_factor: By which the learning rate of the next update is multiplied, [] float32.
    """

    penalty_factor: jax.Array
    rate_factor: jax.Array


def init_steering() -> Steering:
    """Returns where the steering begins: at beta and the learning rate as they were given."""
    return Steering(penalty_factor=jnp.ones(()), rate_factor=jnp.ones(()))


def at_update(config: Config, hyper: Hyperparams, steering: Steering, progress: jax.Array) -> Hyperparams:
    """Returns the hyperparameters of one update, which all its gradient steps share.

    A schedule starts at the first update, and would reach its `final_` value after the last: linearly,
    or along half a cosine.

    Args:
        config: For the kinds of the schedules.
        hyper: For both ends.
        steering: For what follows the KL.
        progress: Share of the updates of the run that are done, [] in [0, 1).
    """
    rate = _scheduled(config.learning_rate_schedule, hyper.learning_rate, hyper.final_learning_rate, progress)
    return hyper._replace(
        learning_rate=rate * steering.rate_factor if config.adapts_learning_rate else rate,
        clip_epsilon=_scheduled(config.clip_schedule, hyper.clip_epsilon, hyper.final_clip_epsilon, progress),
        entropy_coefficient=_scheduled(
            config.entropy_schedule, hyper.entropy_coefficient, hyper.final_entropy_coefficient, progress
        ),
        kl_coefficient=hyper.kl_coefficient * steering.penalty_factor,
    )


def steer(config: Config, hyper: Hyperparams, steering: Steering, kl: jax.Array) -> Steering:
    """Answers the KL of an update: too far, and the next one is held back; too near, and it is let go.

    Args:
        config: For what is to be steered.
        hyper: For `desired_kl`, d_targ.
        steering: Of the update.
        kl: Mean KL(pi_old || pi) after the update, [].
    """
    penalty, rate = steering
    if config.objective == "adaptive_kl":
        penalty = _within(adapt_kl_coefficient(penalty, kl, hyper.desired_kl), MAX_PENALTY_FACTOR)
    if config.adapts_learning_rate:
        rate = _within(_adapt_rate(rate, kl, hyper.desired_kl), MAX_RATE_FACTOR)
    return Steering(penalty_factor=penalty, rate_factor=rate)


def adapt_kl_coefficient(
    kl_coefficient: jax.Array, kl: jax.Array, desired_kl: jax.Array | float
) -> jax.Array:
    """Adapts beta of the KL penalty (Section 4): halves it if d < d_targ / 1.5, doubles it if d > 1.5 d_targ.

    Args:
        kl_coefficient: beta of the update, or a factor of it, [].
        kl: d, mean KL(pi_old || pi) after it, [].
        desired_kl: d_targ, positive.
    """
    lower = jnp.where(kl < desired_kl / TOLERANCE, kl_coefficient / PENALTY_FACTOR, kl_coefficient)
    return jnp.where(kl > desired_kl * TOLERANCE, kl_coefficient * PENALTY_FACTOR, lower)


def _adapt_rate(factor: jax.Array, kl: jax.Array, desired_kl: jax.Array | float) -> jax.Array:
    faster = jnp.where(kl < desired_kl / RATE_TOLERANCE, factor * RATE_FACTOR, factor)
    return jnp.where(kl > desired_kl * RATE_TOLERANCE, factor / RATE_FACTOR, faster)


def _within(x: jax.Array, factor: float) -> jax.Array:
    return jnp.clip(x, 1 / factor, factor)


def _scheduled(kind: str, start: jax.Array | float, end: jax.Array | float, progress: jax.Array) -> jax.Array:
    if kind == "linear":
        weight = optax.linear_schedule(1.0, 0.0, transition_steps=1)(progress)
    elif kind == "cosine":
        weight = optax.cosine_decay_schedule(1.0, decay_steps=1)(progress)
    else:
        return jnp.asarray(start, jnp.float32)
    return jnp.asarray((start - end) * weight + end, jnp.float32)
