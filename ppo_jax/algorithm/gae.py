"""Generalized advantage estimation (Schulman et al. 2016; Eqs. 11 and 12 of the PPO paper)."""

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.given import as_flags, check_arrays, check_number, check_shapes


def gae(
    rewards: jax.Array,
    values: jax.Array,
    next_values: jax.Array,
    terminated: jax.Array,
    done: jax.Array,
    gamma: jax.Array | float,
    gae_lambda: jax.Array | float,
) -> jax.Array:
    """Estimates the advantage of every action of a rollout.

        delta_t = r_t + gamma * (1 - terminated_t) * V(s_{t+1}) - V(s_t)
        A_t     = delta_t + gamma * lambda * (1 - done_t) * A_{t+1},    A_T = 0

    Departure from the paper, which does not mention time limits: only termination zeroes the bootstrap,
    while the end of an episode for either reason cuts the trace. A truncated episode therefore still
    counts the value of the state it would have continued from.

    Args:
        rewards: r_t, [T, ...].
        values: V(s_t), [T, ...].
        next_values: V of the true successor of s_t, before any reset, [T, ...].
        terminated: The task ended at t, [T, ...] bool.
        done: The episode ended at t, terminated or truncated, [T, ...] bool.
        gamma: The discount, in [0, 1].
        gae_lambda: Lambda, in [0, 1]: 0 gives delta_t (least variance), 1 gives the discounted sum of
            rewards minus V(s_t) (least bias).

    Returns:
        A_t, [T, ...]. The value target of the PPO loss is `A_t + V(s_t)`.

    Raises:
        UsageError: If the shapes differ, or a number is out of its range.
    """
    check_arrays(rewards=rewards, values=values, next_values=next_values)
    terminated, done = as_flags(terminated=terminated, done=done)
    check_shapes(1, rewards=rewards, values=values, next_values=next_values, terminated=terminated, done=done)
    check_number("gamma", gamma, 0, 1)
    check_number("gae_lambda", gae_lambda, 0, 1)
    delta = rewards + gamma * jnp.where(terminated, 0.0, next_values) - values
    decay = gamma * gae_lambda * (~done).astype(delta.dtype)

    def accumulate(
        next_advantage: jax.Array, step: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array]:
        delta, decay = step
        advantage = delta + decay * next_advantage
        return advantage, advantage

    _, advantages = jax.lax.scan(accumulate, jnp.zeros_like(delta[0]), (delta, decay), reverse=True)
    return advantages
