"""Turns a trajectory into samples to learn from, with values, advantages and value targets."""

from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax import shards
from ppo_jax.algorithm.gae import gae
from ppo_jax.algorithm.loss import Samples
from ppo_jax.algorithm.normalization import RESOLUTION
from ppo_jax.algorithm.rollout import Trajectory
from ppo_jax.config import Config, Hyperparams
from ppo_jax.fast.loops import map_in_cache, map_where
from ppo_jax.networks.network import Memory, Network, Params


def estimate(
    config: Config, network: Network, hyper: Hyperparams, params: Params, trajectory: Trajectory
) -> Samples:
    """Turns a trajectory into samples to learn from.

    Args:
        config: The static part of the run; it says whether the old policy will be needed.
        network: The network, for its value function.
        hyper: The hyperparameters; gamma and lambda are used here.
        params: The parameters that collected the trajectory.
        trajectory: The experience, [T, N, ...].

    Returns:
        The batch of samples, [T, N, ...].
    """

    def predict(inputs: tuple[Memory, Any, jax.Array]) -> tuple[jax.Array, Memory]:
        prediction = network.apply(params, *inputs)
        return prediction.value, prediction.memory

    # The values of all steps at once, off the sequential path of the rollout.
    inputs = trajectory.memory, trajectory.observation, trajectory.start
    value, memory = map_in_cache(predict, inputs)  # [T, N], [T, N, H]
    advantage = gae(
        trajectory.reward,
        value,
        successor_values(network, params, trajectory, value, memory),
        trajectory.terminated,
        trajectory.done,
        hyper.gamma,
        hyper.gae_lambda,
    )
    return Samples(
        observation=trajectory.observation,
        action=trajectory.action,
        log_prob=trajectory.log_prob,
        value=value,
        advantage=advantage,
        target=advantage + value,
        policy=trajectory.policy if config.measures_kl else None,
        memory=trajectory.memory,
        start=trajectory.start if network.remembers else None,
        teacher=trajectory.teacher,
    )


def successor_values(
    network: Network, params: Params, trajectory: Trajectory, value: jax.Array, memory: Memory
) -> jax.Array:
    """Returns the values of the true successors of all states.

    Where the episode continues, the successor is the next state acted in, whose value is known. The other
    successors come after a time limit or the end of the rollout. They are few and are valued separately.

    Args:
        network: The network, for its value function.
        params: The parameters that collected the trajectory.
        trajectory: The experience, [T, N, ...].
        value: V(s_t), [T, N].
        memory: The memory of the network after s_t, [T, N, H].

    Returns:
        V(s_{t+1}), [T, N]; meaningless where the task ended, because there is no future to value.
    """

    def value_of(successor: tuple[Memory, Any]) -> jax.Array:
        memory, observation = successor
        same_episode = jnp.zeros(value.shape[1], bool)  # no episode starts with a successor
        return network.apply(params, memory, observation, same_episode).value

    cut_off = trajectory.done.at[-1].set(True) & ~trajectory.terminated
    next_value = jnp.roll(value, -1, axis=0)
    return map_where(cut_off, value_of, (memory, trajectory.final_observation), otherwise=next_value)


def explained_variance(batch: Samples) -> jax.Array:
    """Computes the share of the targets' variance that the values before the update explain.

    Args:
        batch: The batch, [T, N]; its values and targets are used.

    Returns:
        1 - Var(target - V) / Var(target): at most 1; NaN if the targets do not vary by more than
        their rounding.
    """
    error = batch.target - batch.value
    _, variance = shards.pool_moments(batch.target.mean(), batch.target.var())
    _, unexplained = shards.pool_moments(error.mean(), error.var())
    # Equal targets differ by their rounding in float32, which would otherwise pass for variance.
    rounding = RESOLUTION**2 * shards.mean((batch.target**2).mean())
    return jnp.where(variance > rounding, 1 - unexplained / variance, jnp.nan)
