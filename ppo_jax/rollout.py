"""Collecting experience: T steps of N environments under the current policy."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.actor_critic import Memory, Network, Params
from ppo_jax.config import Config, Hyperparams
from ppo_jax.distributions import Distribution, draw_noise
from ppo_jax.envs import spaces
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.episodes import (
    EndedEpisodes,
    EpisodeState,
    EpisodeSummary,
    init_episodes,
    record_step,
    summarize,
)
from ppo_jax.normalization import (
    RewardScaler,
    init_observation_statistics,
    init_reward_scaler,
    merge_observation,
    normalize_observation,
    scale_rewards,
)

DRAWN_BYTES = 2**20  # of random numbers and first states at a time, so that they stay in a cache
FEW_ENVS = 64  # up to which a step is mostly launching and copying


class Collector(NamedTuple):
    """Where the environments stand between two rollouts.

    Attributes:
        environment: State of the N environments.
        observation: [N, ...], the observations to act on next, as the environment gave them.
        start: [N] bool, an episode begins with them.
        memory: Of the network, before them.
        episodes: Statistics of episodes, running and finished.
        statistics: Of the observations acted on; None where they are not normalized.
        reward_scaler: None where rewards are not scaled.
    """

    environment: Any
    observation: Any
    start: jax.Array
    memory: Memory
    episodes: EpisodeState
    statistics: Any
    reward_scaler: RewardScaler | None


class Trajectory(NamedTuple):
    """What happened, time-major; observations and rewards as the learner sees them, normalized or not.

    Attributes:
        observation: s_t, [T, N, ...].
        action: a_t as it was sampled, before it was clipped to any bounds, [T, N, ...].
        policy: pi_old(. | s_t), distributions [T, N].
        final_observation: The true successor of s_t, before auto-reset, [T, N, ...].
        reward: r_t, [T, N].
        terminated: [T, N] bool, there is no future to value.
        done: [T, N] bool, the episode ended, terminated or truncated.
        start: [T, N] bool, an episode began with s_t.
        memory: Of the network before s_t, [T, N, H]; without leaves if it has none.
    """

    observation: Any
    action: jax.Array
    policy: Distribution
    final_observation: Any
    reward: jax.Array
    terminated: jax.Array
    done: jax.Array
    start: jax.Array
    memory: Memory

    @property
    def log_prob(self) -> jax.Array:
        """Log pi_old(a_t | s_t), [T, N]; taken for all steps at once."""
        return self.policy.log_prob(self.action)


def init_collector(config: Config, environment: Environment, network: Network, key: jax.Array) -> Collector:
    """Resets N environments.

    Args:
        config: For `num_envs`, and for what is normalized.
        environment: The environment.
        network: For its memory.
        key: For the first states.
    """
    num_envs = config.num_envs
    state, observation = environment.reset(num_envs, key)
    return Collector(
        environment=state,
        observation=observation,
        start=jnp.ones(num_envs, bool),
        memory=network.init_memory(num_envs),
        episodes=init_episodes(num_envs),
        statistics=init_observation_statistics(observation) if config.normalize_observations else None,
        reward_scaler=init_reward_scaler(num_envs) if config.normalize_rewards else None,
    )


def rollout(
    config: Config,
    environment: Environment,
    network: Network,
    hyper: Hyperparams,
    key: jax.Array,
    params: Params,
    collector: Collector,
) -> tuple[Collector, Trajectory, EpisodeSummary]:
    """Runs the policy for T steps (Algorithm 1, the inner loop over actors).

    Args:
        config: For `num_steps`.
        environment: The environment.
        network: Whose policy acts; the critic is needed only for what it remembers.
        hyper: gamma, with which rewards are scaled.
        key: For actions, transitions and resets.
        params: Parameters of the acting policy.
        collector: Where the environments stand.

    Returns:
        Where they stand afterwards, the trajectory [T, N, ...], and the episodes that ended in it.
    """
    steps_at_once = _steps_at_once(config, environment)
    keys = jax.random.split(key, (config.num_steps // steps_at_once, 2))  # of each block two
    draw = partial(_draw, environment, steps_at_once, config.num_envs)
    act = partial(_block, draw, partial(_step, environment, network, params), steps_per_turn(config))
    collector, (trajectory, ended) = jax.lax.scan(act, collector, keys)
    trajectory, ended = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), (trajectory, ended))  # [T, N, ...]
    episodes, summary = summarize(collector.episodes, ended)
    collector = collector._replace(episodes=episodes)
    if collector.reward_scaler is not None:
        scaler, reward = scale_rewards(
            collector.reward_scaler, trajectory.reward, trajectory.done, hyper.gamma
        )
        collector, trajectory = collector._replace(reward_scaler=scaler), trajectory._replace(reward=reward)
    return collector, trajectory, summary


class _Chance(NamedTuple):
    noise: jax.Array  # of the actions, [N, ...]
    environment: Any


def _steps_at_once(config: Config, environment: Environment) -> int:
    """Decides for how many steps to draw at once: as many as fit into DRAWN_BYTES and divide T."""
    keys = jax.eval_shape(jax.random.split, jax.random.key(0))
    one = jax.eval_shape(partial(_draw, environment, 1, config.num_envs), keys)
    bytes_of_one = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(one))
    most = max(1, DRAWN_BYTES // bytes_of_one)
    divisors = [size for size in range(1, config.num_steps + 1) if config.num_steps % size == 0]
    return max(size for size in divisors if size <= most)


def steps_per_turn(config: Config) -> int:
    """Decides how many steps a turn of the loop takes: 2 spare half the copies of what is carried."""
    return 2 if config.num_envs <= FEW_ENVS else 1


def _block(
    draw: Callable, step: Callable, unroll: int, collector: Collector, keys: jax.Array
) -> tuple[Collector, tuple[Trajectory, EndedEpisodes]]:
    return jax.lax.scan(step, collector, draw(keys), unroll=unroll)


def _draw(environment: Environment, num_steps: int, num_envs: int, keys: jax.Array) -> _Chance:
    """Draws all that chance decides in some steps, [num_steps, N, ...], off the sequential path."""
    action_key, environment_key = keys
    noise = draw_noise(environment.action_space, action_key, num_steps * num_envs)
    return _Chance(
        noise=noise.reshape(num_steps, num_envs, *noise.shape[1:]),
        environment=environment.draw(num_steps, num_envs, environment_key),
    )


def _step(
    environment: Environment,
    network: Network,
    params: Params,
    collector: Collector,
    chance: _Chance,
) -> tuple[Collector, tuple[Trajectory, EndedEpisodes]]:
    statistics = merge_observation(collector.statistics, collector.observation)
    observation = normalize_observation(statistics, collector.observation)
    policy, _, memory = network.apply(params, collector.memory, observation, collector.start)
    action = policy.from_noise(chance.noise)
    clipped = spaces.clip(environment.action_space, action)
    state, time_step = environment.step(chance.environment, collector.environment, clipped)
    episodes, ended = record_step(collector.episodes, time_step.reward, time_step.done)
    experience = Trajectory(
        observation=observation,
        action=action,
        policy=policy,
        final_observation=normalize_observation(statistics, time_step.final_observation),
        reward=time_step.reward,
        terminated=time_step.terminated,
        done=time_step.done,
        start=collector.start,
        memory=collector.memory,
    )
    collector = collector._replace(
        environment=state,
        observation=time_step.observation,
        start=time_step.done,
        memory=memory,
        episodes=episodes,
        statistics=statistics,
    )
    return collector, (experience, ended)
