"""Exact statistics of finished episodes, with fixed shapes: masked sums instead of boolean indexing."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import shards
from ppo_jax.algorithm import own_metrics
from ppo_jax.algorithm.own_metrics import Own
from ppo_jax.count import add_up_to_limit
from ppo_jax.envs.environment import NO_METRICS

WINDOW = 100  # episodes; classic control defines "solved" over as many


class EpisodeState(NamedTuple):
    """The state of the episode statistics between steps.

    Attributes:
        running_return: [N] float32, the undiscounted return so far of the episode that each copy is in.
        running_length: [N] int32, the steps so far of that episode; 2^31 - 1 if there were more.
        running_metrics: [N] float32 by name, the sums so far of the environment's own metrics.
        ended_metrics: [] float32 by name, these sums over the episodes that have ended in this update.
        window: [WINDOW] float32, a ring buffer of the returns of the last finished episodes.
        finished: [] int32, episodes finished since training began, or a smaller number that leaves the same
            remainder: only the next slot of the window matters, and whether there are WINDOW.
    """

    running_return: jax.Array
    running_length: jax.Array
    running_metrics: Own
    ended_metrics: Own
    window: jax.Array
    finished: jax.Array


class EndedEpisodes(NamedTuple):
    """The episodes as of one step, or of T steps, stacked; meaningful only where `done`.

    Attributes:
        episode_return: [..., N] float32.
        episode_length: [..., N] int32.
        done: [..., N] bool, the episode ended at this step.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    done: jax.Array


class EpisodeSummary(NamedTuple):
    """The episodes that ended in one update, summed up in scalars.

    Attributes:
        num_ended: [] int32, episodes that ended in this update.
        mean_return: [] float32, their mean return; NaN if none ended.
        mean_length: [] float32, their mean length in steps; NaN if none ended.
        window_return: [] float32, mean of the last WINDOW returns; NaN before there are as many.
        metrics: [] float32 by name, the means of the environment's own metrics; NaN if none ended.
    """

    num_ended: jax.Array
    mean_return: jax.Array
    mean_length: jax.Array
    window_return: jax.Array
    metrics: Own


def init_episodes(num_envs: int, names: tuple[str, ...] = ()) -> EpisodeState:
    """Returns the state before the first step of N copies.

    Args:
        num_envs: The number of copies, N.
        names: The names of the environment's own metrics.
    """
    return EpisodeState(
        running_return=jnp.zeros(num_envs, jnp.float32),
        running_length=jnp.zeros(num_envs, jnp.int32),
        running_metrics=own_metrics.zeros(names, num_envs),
        ended_metrics={name: jnp.zeros((), jnp.float32) for name in names},
        window=jnp.zeros(WINDOW, jnp.float32),
        finished=jnp.zeros((), jnp.int32),
    )


def record_step(
    state: EpisodeState, reward: jax.Array, done: jax.Array, metrics: dict[str, Any] = NO_METRICS
) -> tuple[EpisodeState, EndedEpisodes]:
    """Adds one step to the running episodes, and starts a new one where an episode ended.

    Args:
        state: The statistics before the step.
        reward: [N] float32.
        done: [N] bool.
        metrics: The environment's own metrics of the step, [N] by name.

    Returns:
        The state after the step, and the episodes as of this step.

    Raises:
        UsageError: If the step has other metrics than the one before.
    """
    totals = own_metrics.add(state.running_metrics, metrics)
    ended = EndedEpisodes(
        episode_return=state.running_return + reward,
        episode_length=add_up_to_limit(state.running_length, 1),
        done=done,
    )
    state = state._replace(
        running_return=jnp.where(done, 0.0, ended.episode_return),
        running_length=jnp.where(done, 0, ended.episode_length),
        running_metrics={name: jnp.where(done, 0.0, total) for name, total in totals.items()},
        # Summed up at once, so that nothing is kept for each step.
        ended_metrics={
            name: state.ended_metrics[name] + jnp.where(done, total, 0.0).sum()
            for name, total in totals.items()
        },
    )
    return state, ended


def summarize(state: EpisodeState, ended: EndedEpisodes) -> tuple[EpisodeState, EpisodeSummary]:
    """Adds the finished episodes of an update to the window, and averages them.

    Args:
        state: The statistics after the last step of the update.
        ended: The episodes as of each step, [T, N].

    Returns:
        The state, whose window holds the newest returns (in the order of steps, then of copies), and the
        summary.
    """
    num_ended = shards.total(ended.done.sum(dtype=jnp.int32))
    # The number of before is lowered, so that no sum exceeds int32.
    before = jnp.where(state.finished < WINDOW, state.finished, WINDOW + state.finished % WINDOW)
    window = _push(state.window, before, ended)
    finished = before + num_ended
    summary = EpisodeSummary(
        num_ended=num_ended,
        mean_return=_masked_mean(ended.episode_return, ended.done),
        mean_length=_masked_mean(ended.episode_length, ended.done),
        window_return=jnp.where(finished >= WINDOW, window.mean(), jnp.nan),
        metrics={  # 0 / 0 is NaN
            name: total / num_ended for name, total in shards.total(state.ended_metrics).items()
        },
    )
    nothing = jax.tree.map(jnp.zeros_like, state.ended_metrics)
    return state._replace(window=window, finished=finished, ended_metrics=nothing), summary


def _push(window: jax.Array, finished: jax.Array, ended: EndedEpisodes) -> jax.Array:
    """Writes the newest WINDOW of the ended episodes into the ring; slot = rank modulo WINDOW."""
    rank, num_ended = shards.rank(ended.done)  # of the ended episodes, by step, then by copy
    newest = ended.done & (rank > num_ended - WINDOW)
    # Everything else goes to slot WINDOW, which is out of range and therefore dropped.
    slot = jnp.where(newest, (finished + rank - 1) % WINDOW, WINDOW)
    return shards.written(window, slot.reshape(-1), ended.episode_return.reshape(-1))


def _masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    sums = jnp.where(mask, values, 0).sum(dtype=jnp.float32), mask.sum(dtype=jnp.float32)
    total, number = shards.total(sums)
    return total / number  # 0 / 0 is NaN: no episodes, no mean
