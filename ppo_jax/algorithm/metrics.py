"""The metrics that each update reports: the diagnostics that tell whether training is healthy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import shards
from ppo_jax.algorithm.episodes import EpisodeSummary
from ppo_jax.algorithm.own_metrics import REPEATED, Own, extend
from ppo_jax.algorithm.rollout import Collector, Trajectory
from ppo_jax.algorithm.task import PREFIX
from ppo_jax.algorithm.teacher import FIELDS
from ppo_jax.algorithm.update import UpdateInfo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count
from ppo_jax.envs.environment import legal_actions
from ppo_jax.envs.ramps import ramps_of
from ppo_jax.networks.distributions import dead_ends
from ppo_jax.spaces import Space


class Metrics(NamedTuple):
    """The report of one update: scalars, float32 unless a line says otherwise.

    Losses, entropy, KL, fractions and the gradient norm are means over all gradient steps of the update. If
    the environment has metrics of its own (see `environment.Transition`), each is a further field: its sum
    over an episode, as a mean over the episodes that ended; NaN if there were none. With a teacher there are
    `teacher_kl`, KL(teacher || policy) in nats, and `teacher_coefficient`, its weight in this update; with
    arguments of the environment that change, the value of each in this update, such as `env_args_length`.
    With a pool of first states there is a last field, `repeated_starts`, int32: the episodes that began in a
    used state of it.

    Attributes:
        env_steps: Environment steps since training began, a `Count`: `numpy.asarray` of it is int64.
        episodes: int32, episodes that ended in this update.
        episode_return: Mean undiscounted return of those episodes; NaN if there were none.
        episode_length: Mean length of those episodes in steps; NaN if there were none.
        return_window: Mean return of the last 100 finished episodes; NaN before there are 100.
        dead_ends: int32, states in which the environment allowed no action; 0 unless it has a bug.
        nonfinite_observations: int32, numbers that are NaN or infinite, in observations and in successors.
        nonfinite_rewards: int32, rewards that are NaN or infinite.
        policy_loss: -L^CLIP, or the negative of whichever objective is configured.
        value_loss: L^VF, the mean squared value error.
        entropy: Mean entropy of the policy in nats.
        approx_kl: KL(pi_old || pi) in nats, estimator k3 (see `loss.approximate_kl`).
        clip_fraction: Share of samples with the ratio outside the clip range; 0.05 to 0.3 is healthy.
        clamp_fraction: Share of samples whose log-ratio was clamped to +-20; 0 is healthy.
        explained_variance: 1 - Var(target - V) / Var(target) before the update; 1 is perfect, 0 or
            less is no better than a constant, NaN if the targets do not vary.
        grad_norm: Global norm of the gradient before it was scaled down.
        num_epochs: int32, the number of epochs: K, or fewer if the KL exceeded `target_kl`.
        learning_rate: The learning rate of this update.
        clip_epsilon: The clip range of this update.
        entropy_coefficient: The entropy coefficient of this update.
        kl_coefficient: beta of this update; meaningless unless the objective has a KL penalty.
    """

    env_steps: Count
    episodes: jax.Array
    episode_return: jax.Array
    episode_length: jax.Array
    return_window: jax.Array
    dead_ends: jax.Array
    nonfinite_observations: jax.Array
    nonfinite_rewards: jax.Array
    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    clamp_fraction: jax.Array
    explained_variance: jax.Array
    grad_norm: jax.Array
    num_epochs: jax.Array
    learning_rate: jax.Array
    clip_epsilon: jax.Array
    entropy_coefficient: jax.Array
    kl_coefficient: jax.Array


ALARMS = ("dead_ends", "nonfinite_observations", "nonfinite_rewards")  # 0 in a healthy run
COUNTS = ("episodes", "num_epochs", REPEATED, *ALARMS)  # the metrics that are int32


def make_metrics(
    action_space: Space,
    hyper: Hyperparams,
    env_steps: Count,
    trajectory: Trajectory,
    episodes: EpisodeSummary,
    info: UpdateInfo,
    explained_variance: jax.Array,
    further: Own,
) -> Metrics:
    """Assembles the metrics of one update.

    Args:
        action_space: The space of the actions, to recognize states without a legal one.
        hyper: The hyperparameters of this update.
        env_steps: Environment steps since training began, [].
        trajectory: The experience of this update, [T, N, ...].
        episodes: The episodes that ended.
        info: Means over the gradient steps.
        explained_variance: The share of the targets' variance that the old values explain, [].
        further: The metrics that only some runs have, [] by name (see `further_metrics`).
    """
    own = {**episodes.metrics, **further}
    observations = (trajectory.observation, trajectory.final_observation)
    legal = legal_actions(trajectory.observation)
    no_dead_ends = jnp.zeros((), jnp.int32)
    alarms = {
        "dead_ends": no_dead_ends if legal is None else dead_ends(action_space, legal).sum(dtype=jnp.int32),
        "nonfinite_observations": _count_nonfinite(observations),
        "nonfinite_rewards": _count_nonfinite(trajectory.reward),
    }
    values = dict(
        episodes=episodes.num_ended,
        episode_return=episodes.mean_return,
        episode_length=episodes.mean_length,
        return_window=episodes.window_return,
        **shards.total(alarms),
        policy_loss=info.loss.policy_loss,
        value_loss=info.loss.value_loss,
        entropy=info.loss.entropy,
        approx_kl=info.loss.approx_kl,
        clip_fraction=info.loss.clip_fraction,
        clamp_fraction=info.loss.clamp_fraction,
        explained_variance=explained_variance,
        grad_norm=info.grad_norm,
        num_epochs=info.num_epochs,
        learning_rate=hyper.learning_rate,
        clip_epsilon=hyper.clip_epsilon,
        entropy_coefficient=hyper.entropy_coefficient,
        kl_coefficient=hyper.kl_coefficient,
        **own,
    )
    record = extend(Metrics, tuple(own))
    numbers = {name: jnp.asarray(value, _type_of(name)) for name, value in values.items()}
    return record(env_steps=env_steps, **numbers)


def further_metrics(config: Config) -> tuple[str, ...]:
    """Returns the names of the metrics that a configuration reports beside those of its environment."""
    changing = [PREFIX + name for name in ramps_of(dict(config.env_args))]
    return (*changing, *(() if config.teacher is None else FIELDS))


def make_room(capacity: int, collector: Collector, further: tuple[str, ...] = ()) -> Metrics:
    """Makes room for the metrics of several updates: [capacity] zeros each, or [capacity, L] for L members.

    Args:
        capacity: The number of updates.
        collector: The collector, which knows the names of the environment's own metrics.
        further: The names that `further_metrics` returns.

    Raises:
        UsageError: If the name of one of them is taken.
    """
    repeated = () if collector.repeated_starts is None else (REPEATED,)
    record = extend(Metrics, (*collector.episodes.running_metrics, *further, *repeated))
    shape = capacity, *collector.start.shape[:-1]
    # The types are known in advance, so no step has to be traced to find them out.
    numbers = {name: jnp.zeros(shape, _type_of(name)) for name in record._fields if name != "env_steps"}
    return record(env_steps=Count.of(0, shape), **numbers)


def _type_of(name: str) -> Any:
    return jnp.int32 if name in COUNTS else jnp.float32


def _count_nonfinite(tree: Any) -> jax.Array:
    counts = [(~jnp.isfinite(x)).sum(dtype=jnp.int32) for x in jax.tree.leaves(tree)]
    return jnp.stack(counts).sum(dtype=jnp.int32)
