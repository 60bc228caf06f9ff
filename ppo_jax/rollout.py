"""Collecting experience: T steps of N environments under the current policy."""

from functools import partial
from typing import Any, NamedTuple

import jax

from ppo_jax.config import Config
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.episodes import (
    EndedEpisodes,
    EpisodeState,
    EpisodeSummary,
    init_episodes,
    record_step,
    summarize,
)
from ppo_jax.networks import Network, Params


class Collector(NamedTuple):
    """Where the environments stand between two rollouts.

    Attributes:
        environment: State of the N environments.
        observation: [N, ...], the observations to act on next.
        episodes: Statistics of episodes, running and finished.
    """

    environment: Any
    observation: jax.Array
    episodes: EpisodeState


class Trajectory(NamedTuple):
    """What happened, time-major.

    Attributes:
        observation: s_t, [T, N, ...].
        action: a_t, [T, N].
        log_prob: log pi_old(a_t | s_t) of the action that was sampled, [T, N].
        final_observation: The true successor of s_t, before auto-reset, [T, N, ...].
        reward: r_t, [T, N].
        terminated: [T, N] bool, there is no future to value.
        done: [T, N] bool, the episode ended, terminated or truncated.
    """

    observation: jax.Array
    action: jax.Array
    log_prob: jax.Array
    final_observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array


def init_collector(config: Config, environment: Environment, key: jax.Array) -> Collector:
    """Resets N environments.

    Args:
        config: For `num_envs`.
        environment: The environment.
        key: For the first states.
    """
    state, observation = environment.reset(config.num_envs, key)
    return Collector(environment=state, observation=observation, episodes=init_episodes(config.num_envs))


def rollout(
    config: Config,
    environment: Environment,
    network: Network,
    key: jax.Array,
    params: Params,
    collector: Collector,
) -> tuple[Collector, Trajectory, EpisodeSummary]:
    """Runs the policy for T steps (Algorithm 1, the inner loop over actors).

    Args:
        config: For `num_steps`.
        environment: The environment.
        network: Whose policy acts; the critic is not needed while collecting.
        key: For actions, transitions and resets.
        params: Parameters of the acting policy.
        collector: Where the environments stand.

    Returns:
        Where they stand afterwards, the trajectory [T, N, ...], and the episodes that ended in it.
    """
    keys = jax.random.split(key, config.num_steps)
    act = partial(_step, environment, network, params)
    collector, (trajectory, ended) = jax.lax.scan(act, collector, keys)
    episodes, summary = summarize(collector.episodes, ended)
    return collector._replace(episodes=episodes), trajectory, summary


def _step(
    environment: Environment,
    network: Network,
    params: Params,
    collector: Collector,
    key: jax.Array,
) -> tuple[Collector, tuple[Trajectory, EndedEpisodes]]:
    action_key, environment_key = jax.random.split(key)
    policy = network.policy(params, collector.observation)
    action = policy.sample(action_key)
    state, time_step = environment.step(environment_key, collector.environment, action)
    episodes, ended = record_step(collector.episodes, time_step.reward, time_step.done)
    experience = Trajectory(
        observation=collector.observation,
        action=action,
        log_prob=policy.log_prob(action),
        final_observation=time_step.final_observation,
        reward=time_step.reward,
        terminated=time_step.terminated,
        done=time_step.done,
    )
    collector = Collector(environment=state, observation=time_step.observation, episodes=episodes)
    return collector, (experience, ended)
