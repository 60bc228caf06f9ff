"""One iteration of PPO (Algorithm 1), and the loop over iterations."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer

from ppo_jax.actor_critic import Network
from ppo_jax.config import Config, Hyperparams, division_problems, validate
from ppo_jax.distributions import dead_ends
from ppo_jax.envs.environment import Environment, legal_actions
from ppo_jax.envs.episodes import EpisodeSummary
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.estimate import estimate, explained_variance
from ppo_jax.networks import MakeNetwork, make_network
from ppo_jax.rollout import Collector, Trajectory, init_collector, rollout
from ppo_jax.schedules import at_update
from ppo_jax.update import Learner, UpdateInfo, init_learner, update


class TrainState(NamedTuple):
    """Everything the next iteration depends on; saved and restored, a run goes on to the same bits.

    Attributes:
        learner: Parameters and optimizer.
        collector: Environments, last observations, episode statistics.
        key: Source of all further randomness.
        num_updates: Iterations done, [] int32.
        horizon: Iterations of the whole run, which schedules are stretched over, [] int32. A value
            rather than a constant: runs of any length share one compilation.
    """

    learner: Learner
    collector: Collector
    key: jax.Array
    num_updates: jax.Array
    horizon: jax.Array


class Metrics(NamedTuple):
    """What one update reports: scalars, float32 unless a line says otherwise.

    Losses and step sizes are means over all gradient steps of the update.

    Attributes:
        env_steps: int32, environment steps since training began.
        episodes: int32, episodes that ended in this update.
        episode_return: Mean undiscounted return of those episodes; NaN if there were none.
        episode_length: Mean length of those episodes in steps; NaN if there were none.
        return_window: Mean return of the last 100 finished episodes; NaN before there are 100.
        dead_ends: int32, states in which the environment allowed no action; 0 unless it has an error.
        nonfinite_observations: int32, numbers in observations that are NaN or infinite, and in successors.
        nonfinite_rewards: int32, rewards that are NaN or infinite.
        policy_loss: -L^CLIP, or the negative of whichever objective is configured.
        value_loss: L^VF, the mean squared value error.
        entropy: Of the policy, in nats.
        approx_kl: KL(pi_old || pi) in nats, estimator k3 (see `loss.approximate_kl`).
        clip_fraction: Share of samples with the ratio outside the clip range; 0.05 to 0.3 is healthy.
        clamp_fraction: Share of samples whose log-ratio was held within +-20; 0 is healthy.
        explained_variance: 1 - Var(target - V) / Var(target) before the update; 1 is perfect, 0 or
            less is no better than a constant, NaN if the targets do not vary.
        grad_norm: Global norm of the gradient before it was scaled down.
        num_epochs: int32, epochs that were done: K, or fewer if the KL exceeded `target_kl`.
        learning_rate: Of this update.
        clip_epsilon: Of this update.
        entropy_coefficient: Of this update.
        kl_coefficient: beta of this update; without meaning unless the objective has a KL penalty.
    """

    env_steps: jax.Array
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


ALARMS = ("dead_ends", "nonfinite_observations", "nonfinite_rewards")  # 0 in health
COUNTS = ("env_steps", "episodes", "num_epochs", *ALARMS)  # the metrics that are int32


class PPO(NamedTuple):
    """The algorithm as two pure functions.

    Attributes:
        init: `init(hyper, key) -> TrainState`.
        step: `step(hyper, state) -> (TrainState, Metrics)`, one iteration.
    """

    init: Callable[[Hyperparams, jax.Array], TrainState]
    step: Callable[[Hyperparams, TrainState], tuple[TrainState, Metrics]]


def make_ppo(
    config: Config, environment: Environment | None = None, make_network: MakeNetwork = make_network
) -> PPO:
    """Makes the algorithm for a configuration.

    Args:
        config: The static part of the run.
        environment: The caller's own environment; by default the one that `config.env` names.
        make_network: The caller's own function in place of `networks.make_network`.

    Returns:
        Pure functions to jit, vmap and scan.

    Raises:
        UsageError: With every mistake in the configuration.
    """
    validate(config, environment=environment)
    environment = environment or make_environment(config.env)
    network = make_network(
        config, environment.observation_space, environment.action_space, environment.privileged_space
    )
    problems = division_problems(config, network.remembers)
    if problems:
        raise UsageError(problems)
    return PPO(
        init=partial(_init, config, environment, network),
        step=partial(_step, config, environment, network),
    )


def train(
    config: Config,
    hyper: Hyperparams,
    key: jax.Array,
    environment: Environment | None = None,
    make_network: MakeNetwork = make_network,
) -> tuple[TrainState, Metrics]:
    """Trains from scratch for all of `config.num_updates` iterations.

    Args:
        config: The static part of the run (`static_argnums=0` under `jax.jit`).
        hyper: The traced part.
        key: Of `jax.random.key`; the run is a function of its arguments alone.
        environment: The caller's own environment; by default the one that `config.env` names.
        make_network: The caller's own function in place of `networks.make_network`.

    Returns:
        The final state, and the metrics stacked over updates, each [U].

    Raises:
        UsageError: With every mistake in the configuration. Hyperparameters that are being traced
            have no values to check: under `jax.jit`, call `validate(config, hyper)` before.
    """
    known = {name: x for name, x in hyper._asdict().items() if not isinstance(x, Tracer)}
    validate(config, Hyperparams(**known), environment)
    ppo = make_ppo(config, environment, make_network)
    return advance(ppo, config.num_updates, hyper, ppo.init(hyper, key))


def advance(
    ppo: PPO,
    capacity: int,
    hyper: Hyperparams,
    state: TrainState,
    num_updates: jax.Array | int | None = None,
) -> tuple[TrainState, Metrics]:
    """Runs several iterations in one compiled loop, the only such loop there is.

    Args:
        ppo: The algorithm.
        capacity: Static room for metrics, the most updates that can be asked for.
        hyper: The traced part of the run.
        state: Where to go on from.
        num_updates: How many updates, up to `capacity` (the default). May be traced: any number of
            updates then shares one compilation.

    Returns:
        The state after them, and metrics [capacity], zero beyond `num_updates`.
    """
    num_updates = capacity if num_updates is None else num_updates
    body = partial(_advance_one, ppo, hyper)
    return jax.lax.fori_loop(0, num_updates, body, (state, _room(capacity)))


def _room(capacity: int) -> Metrics:
    """Makes room for metrics, [capacity], without tracing a step to learn their types."""
    return Metrics(
        **{
            name: jnp.zeros(capacity, jnp.int32 if name in COUNTS else jnp.float32)
            for name in Metrics._fields
        }
    )


def _advance_one(
    ppo: PPO, hyper: Hyperparams, index: jax.Array, carry: tuple[TrainState, Metrics]
) -> tuple[TrainState, Metrics]:
    state, history = carry
    state, metrics = ppo.step(hyper, state)
    return state, jax.tree.map(lambda rows, row: rows.at[index].set(row), history, metrics)


def _init(
    config: Config, environment: Environment, network: Network, hyper: Hyperparams, key: jax.Array
) -> TrainState:
    network_key, environment_key, key = jax.random.split(key, 3)
    return TrainState(
        learner=init_learner(network, hyper, network_key),
        collector=init_collector(config, environment, network, environment_key),
        key=key,
        num_updates=jnp.zeros((), jnp.int32),
        horizon=jnp.asarray(config.num_updates, jnp.int32),
    )


def _step(
    config: Config,
    environment: Environment,
    network: Network,
    hyper: Hyperparams,
    state: TrainState,
) -> tuple[TrainState, Metrics]:
    """One iteration of Algorithm 1: collect, estimate, improve."""
    key, rollout_key, update_key = jax.random.split(state.key, 3)
    learner, collector = state.learner, state.collector
    # Behind the barrier XLA does not know the horizon even where it is a constant, so that it cannot divide
    # in a way of its own there, and any program of this training gives the same bits.
    progress = state.num_updates / jax.lax.optimization_barrier(state.horizon)
    hyper = at_update(config, hyper, learner.steering, progress)

    collector, trajectory, episodes = rollout(
        config, environment, network, hyper, rollout_key, learner.params, collector
    )
    batch = estimate(config, network, hyper, learner.params, trajectory)
    learner, info = update(config, network, hyper, update_key, learner, batch)

    num_updates = state.num_updates + 1
    state = state._replace(learner=learner, collector=collector, key=key, num_updates=num_updates)
    env_steps = num_updates * config.batch_size
    alarms = (
        _count_dead_ends(environment, trajectory),
        _count_nonfinite((trajectory.observation, trajectory.final_observation)),
        _count_nonfinite(trajectory.reward),
    )
    return state, _metrics(env_steps, hyper, episodes, info, alarms, explained_variance(batch))


def _count_nonfinite(tree: Any) -> jax.Array:
    """Counts the numbers of a tree that are NaN or infinite, [] int32."""
    counts = [(~jnp.isfinite(x)).sum(dtype=jnp.int32) for x in jax.tree.leaves(tree)]
    return jnp.stack(counts).sum(dtype=jnp.int32)


def _count_dead_ends(environment: Environment, trajectory: Trajectory) -> jax.Array:
    legal = legal_actions(trajectory.observation)
    if legal is None:
        return jnp.zeros((), jnp.int32)
    return dead_ends(environment.action_space, legal).sum(dtype=jnp.int32)


def _metrics(
    env_steps: jax.Array,
    hyper: Hyperparams,
    episodes: EpisodeSummary,
    info: UpdateInfo,
    alarms: tuple[jax.Array, ...],
    explained: jax.Array,
) -> Metrics:
    return Metrics(
        env_steps=env_steps,
        episodes=episodes.num_ended,
        episode_return=episodes.mean_return,
        episode_length=episodes.mean_length,
        return_window=episodes.window_return,
        explained_variance=explained,
        grad_norm=info.grad_norm,
        num_epochs=info.num_epochs,
        learning_rate=jnp.asarray(hyper.learning_rate),
        clip_epsilon=jnp.asarray(hyper.clip_epsilon),
        entropy_coefficient=jnp.asarray(hyper.entropy_coefficient),
        kl_coefficient=jnp.asarray(hyper.kl_coefficient),
        **info.loss._asdict(),
        **dict(zip(ALARMS, alarms, strict=True)),
    )
