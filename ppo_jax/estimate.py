"""What a trajectory says: values, advantages and targets to learn from."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.actor_critic import Memory, Network, Params
from ppo_jax.config import Config, Hyperparams
from ppo_jax.gae import gae
from ppo_jax.loss import Samples
from ppo_jax.rollout import Trajectory

CACHED_SAMPLES = 4096  # whose activations, 64 to a layer, take 1 MiB


def estimate(
    config: Config, network: Network, hyper: Hyperparams, params: Params, trajectory: Trajectory
) -> Samples:
    """Turns a trajectory into samples to learn from: values, advantages, value targets.

    Args:
        config: For whether the old policy will be needed.
        network: For the value function.
        hyper: gamma and lambda.
        params: Parameters that collected the trajectory.
        trajectory: [T, N, ...].

    Returns:
        The batch, [T, N, ...].
    """
    apply = partial(network.apply, params)
    value, memory = _predict(config, apply, trajectory.memory, trajectory.observation, trajectory.start)
    advantage = gae(
        trajectory.reward,
        value,
        successor_values(apply, trajectory, value, memory),
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
    )


def _predict(config: Config, apply: Callable, *inputs: Any) -> tuple[jax.Array, Memory]:
    """Returns values and memories of all steps, [T, N, ...], off the sequential path of the rollout.

    A CPU takes as many steps at a time as fit into its cache, other devices take all of them.
    """
    outputs = partial(_outputs, apply)
    if config.batch_size <= CACHED_SAMPLES:
        return outputs(inputs)
    steps_at_once = max(1, CACHED_SAMPLES // config.num_envs)
    in_chunks = partial(jax.lax.map, outputs, batch_size=steps_at_once)
    return jax.lax.platform_dependent(inputs, cpu=in_chunks, default=outputs)


def _outputs(apply: Callable, inputs: tuple) -> tuple[jax.Array, Memory]:
    _, value, memory = apply(*inputs)
    return value, memory


def successor_values(apply: Callable, trajectory: Trajectory, value: jax.Array, memory: Memory) -> jax.Array:
    """Returns the values of the true successors of all states.

    Where the episode goes on, the successor is the next state acted in, whose value is known. Left are
    the states whose episode was cut off, by a time limit or by the end of the rollout: few, so that they
    are picked out and valued N at a time until none is left.

    Args:
        apply: Of the network, with its parameters.
        trajectory: [T, N, ...].
        value: V(s_t), [T, N].
        memory: Of the network after s_t, [T, N, H].

    Returns:
        V(s_{t+1}), [T, N]; of no meaning where the task ended, which leaves nothing to value.
    """
    cut_off = trajectory.done.at[-1].set(True) & ~trajectory.terminated
    rest = _Rest(left=cut_off.reshape(-1), value=jnp.roll(value, -1, axis=0).reshape(-1))
    successors = jax.tree.map(
        partial(jax.lax.collapse, start_dimension=0, stop_dimension=2), (memory, trajectory.final_observation)
    )
    value_some = partial(_value_some, apply, value.shape[1], successors)
    return jax.lax.while_loop(_is_any_left, value_some, rest).value.reshape(value.shape)


class _Rest(NamedTuple):
    left: jax.Array  # [B] bool, still to be valued
    value: jax.Array  # [B]


def _is_any_left(rest: _Rest) -> jax.Array:
    return rest.left.any()


def _value_some(apply: Callable, num_envs: int, successors: tuple[Memory, Any], rest: _Rest) -> _Rest:
    """Values the first N of those that are left, or all if they are fewer."""
    size = rest.left.size
    (index,) = jnp.nonzero(rest.left, size=num_envs, fill_value=size)  # beyond the last: written nowhere
    memory, observation = jax.tree.map(partial(jnp.take, indices=index, axis=0, mode="clip"), successors)
    going_on = jnp.zeros(num_envs, bool)  # the successor belongs to the same episode
    value = apply(memory, observation, going_on).value
    return _Rest(
        left=rest.left.at[index].set(False, mode="drop"),
        value=rest.value.at[index].set(value, mode="drop"),
    )


def explained_variance(batch: Samples) -> jax.Array:
    """Computes the share of the targets' variance that the values before the update explain.

    Args:
        batch: For its values and targets, [T, N].

    Returns:
        1 - Var(target - V) / Var(target): at most 1; NaN if the targets do not vary by more than
        their rounding.
    """
    variance = batch.target.var()
    unexplained = (batch.target - batch.value).var()
    rounding = (4 * jnp.finfo(jnp.float32).eps) ** 2 * (batch.target**2).mean()
    return jnp.where(variance > rounding, 1 - unexplained / variance, jnp.nan)
