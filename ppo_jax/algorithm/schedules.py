"""Hyperparameters that change during a run: by a schedule, or with the KL of the updates."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config import Config, Hyperparams

# Adaptive KL penalty, Section 4 of the paper: beyond 1.5 times the desired KL, or below it by the same
# factor, beta is doubled or halved.
TOLERANCE, PENALTY_FACTOR = 1.5, 2.0
# Adaptive learning rate: beyond twice the desired KL, or below half of it, the rate changes by 1.5.
RATE_TOLERANCE, RATE_FACTOR = 2.0, 1.5
# Both stay within these factors of their first values. Otherwise a KL of 0 (of a policy that has become
# deterministic, say) could drive them so far that they never recover.
MAX_PENALTY_FACTOR, MAX_RATE_FACTOR = 1e6, 1e2


class Steering(NamedTuple):
    """The factors that adapt to the KL of past updates.

    Attributes:
        penalty_factor: The factor by which beta of the next update is multiplied, [] float32.
        rate_factor: The factor by which the learning rate of the next update is multiplied, [] float32.
    """

    penalty_factor: jax.Array
    rate_factor: jax.Array


def init_steering() -> Steering:
    """Returns the factors of the first update, which leave beta and the learning rate as they are."""
    return Steering(penalty_factor=jnp.float32(1), rate_factor=jnp.float32(1))


def at_update(config: Config, hyper: Hyperparams, steering: Steering, progress: jax.Array) -> Hyperparams:
    """Returns the hyperparameters of one update, which all its gradient steps share.

    A schedule starts at the first update and would reach its `final_` value just after the last one,
    linearly or along half a cosine.

    Args:
        config: The static part of the run; it names the kinds of the schedules.
        hyper: The hyperparameters as they were given, both ends of each schedule.
        steering: The factors that adapt to the KL.
        progress: The share of the run's updates that are done, [] in [0, 1).
    """

    def scheduled(kind: str, start: Any, end: Any) -> jax.Array:
        if kind == "linear":
            weight = optax.linear_schedule(1.0, 0.0, transition_steps=1)(progress)
        elif kind == "cosine":
            weight = optax.cosine_decay_schedule(1.0, decay_steps=1)(progress)
        else:
            return start
        return (start - end) * weight + end

    # Whatever they were given as, they are float32 from here on.
    hyper = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), hyper)
    rate = scheduled(config.learning_rate_schedule, hyper.learning_rate, hyper.final_learning_rate)
    return hyper._replace(
        learning_rate=rate * steering.rate_factor if config.adapts_learning_rate else rate,
        clip_epsilon=scheduled(config.clip_schedule, hyper.clip_epsilon, hyper.final_clip_epsilon),
        entropy_coefficient=scheduled(
            config.entropy_schedule, hyper.entropy_coefficient, hyper.final_entropy_coefficient
        ),
        kl_coefficient=hyper.kl_coefficient * steering.penalty_factor,
    )


def at_steps(hyper: Hyperparams, progress: jax.Array, steps: jax.Array) -> Hyperparams:
    """Returns the hyperparameters of one update with the weight of the teacher, which falls linearly to 0.

        c (1 - steps / teacher_steps), and 0 from then on

    Args:
        hyper: The hyperparameters of the update, see `at_update`.
        progress: The share of the run's updates that are done, [] in [0, 1); an infinite `teacher_steps`
            stands for the whole run.
        steps: The environment steps that were done before the update, [] float32.
    """
    share = jnp.where(jnp.isinf(hyper.teacher_steps), progress, steps / hyper.teacher_steps)
    weight = jnp.maximum(1 - share, 0.0)
    return hyper._replace(teacher_coefficient=hyper.teacher_coefficient * weight)


def steer(config: Config, hyper: Hyperparams, steering: Steering, kl: jax.Array) -> Steering:
    """Adapts the KL penalty and the learning rate: smaller steps after a large KL, larger after a small one.

    Args:
        config: The static part of the run; it says what adapts.
        hyper: The hyperparameters; `desired_kl` (d_targ) is used here.
        steering: The factors of this update.
        kl: The mean KL(pi_old || pi) after the update, [].
    """
    penalty, rate = steering
    if config.objective == "adaptive_kl":
        penalty = adapt_kl_coefficient(penalty, kl, hyper.desired_kl)
        penalty = jnp.clip(penalty, 1 / MAX_PENALTY_FACTOR, MAX_PENALTY_FACTOR)
    if config.adapts_learning_rate:
        faster = jnp.where(kl < hyper.desired_kl / RATE_TOLERANCE, rate * RATE_FACTOR, rate)
        rate = jnp.where(kl > hyper.desired_kl * RATE_TOLERANCE, rate / RATE_FACTOR, faster)
        rate = jnp.clip(rate, 1 / MAX_RATE_FACTOR, MAX_RATE_FACTOR)
    return Steering(penalty_factor=penalty, rate_factor=rate)


def adapt_kl_coefficient(
    kl_coefficient: jax.Array, kl: jax.Array, desired_kl: jax.Array | float
) -> jax.Array:
    """Adapts beta of the KL penalty (Section 4): halves it if d < d_targ / 1.5, doubles it if d > 1.5 d_targ.

    Args:
        kl_coefficient: beta of the update, or a factor of it, [].
        kl: d, the mean KL(pi_old || pi) after the update, [].
        desired_kl: d_targ, positive.
    """
    halved, doubled = kl_coefficient / PENALTY_FACTOR, kl_coefficient * PENALTY_FACTOR
    is_low, is_high = kl < desired_kl / TOLERANCE, kl > desired_kl * TOLERANCE
    return jnp.where(is_high, doubled, jnp.where(is_low, halved, kl_coefficient))
