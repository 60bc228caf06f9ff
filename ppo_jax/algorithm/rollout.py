"""Collects experience: T steps of N environments under the current policy."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import shards, spaces
from ppo_jax.algorithm import own_metrics
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.algorithm.episodes import (
    EndedEpisodes,
    EpisodeState,
    EpisodeSummary,
    init_episodes,
    record_step,
    summarize,
)
from ppo_jax.algorithm.given import check_compilable
from ppo_jax.algorithm.normalization import (
    RewardScaler,
    init_observation_statistics,
    init_reward_scaler,
    merge_observation,
    normalize_observation,
    scale_rewards,
)
from ppo_jax.algorithm.teacher import Teacher, teach
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment, Observation, TimeStep, actor_features, critic_features
from ppo_jax.errors import UsageError
from ppo_jax.fast.loops import scan_drawn
from ppo_jax.networks.distributions import Distribution, draw_noise
from ppo_jax.networks.network import Memory, Network, Params

FEW_ENVS = 64  # up to this many, a step costs little more than launching and copying


class Collector(NamedTuple):
    """The state of the environments, and of what is measured in them, between two rollouts.

    Attributes:
        environment: The state of the N environments.
        observation: The observations to act on next, as the environment gave them, [N, ...].
        start: [N] bool, an episode begins with these observations.
        memory: The memory of the network before these observations.
        episodes: Statistics of the running and the finished episodes.
        statistics: Statistics of all observations acted on; None if they are not normalized.
        reward_scaler: The state of reward scaling; None if rewards are not scaled.
        repeated_starts: [] int32, episodes of the last rollout that began in a used state of the pool (see
            `environment.Pool`); None if the environment has no pool.
    """

    environment: Any
    observation: Any
    start: jax.Array
    memory: Memory
    episodes: EpisodeState
    statistics: Any
    reward_scaler: RewardScaler | None
    repeated_starts: jax.Array | None = None


class Trajectory(NamedTuple):
    """The experience of a rollout, time-major; observations and rewards are as the learner sees them.

    Attributes:
        observation: s_t, [T, N, ...].
        action: a_t as it was sampled, before it was clipped to any bounds, [T, N, ...].
        policy: pi_old(. | s_t), distributions [T, N].
        final_observation: The true successor of s_t, before auto-reset, [T, N, ...].
        reward: r_t, [T, N].
        terminated: [T, N] bool, the task ended: there is no future to value.
        done: [T, N] bool, the episode ended, terminated or truncated.
        start: [T, N] bool, an episode began with s_t.
        memory: The memory of the network before s_t, [T, N, H]; without leaves if it has none.
        teacher: The policy of the teacher in s_t, distributions [T, N]; None without a teacher.
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
    teacher: Distribution | None = None

    @property
    def log_prob(self) -> jax.Array:
        """Log pi_old(a_t | s_t), [T, N]; computed for all steps at once."""
        return self.policy.log_prob(self.action)


def collect(
    config: Config,
    environment: Environment,
    network: Network,
    hyper: Hyperparams,
    key: jax.Array,
    params: Params,
    collector: Collector,
    teacher: Teacher | None = None,
) -> tuple[Collector, Trajectory, EpisodeSummary]:
    """Runs the policy for T steps (Algorithm 1, the inner loop over actors).

    Args:
        config: The static part of the run; N and T are used here.
        environment: The environment.
        network: The network whose policy acts; its critic is needed only for its memory.
        hyper: The hyperparameters; gamma is used to scale rewards.
        key: The source of actions, transitions and resets.
        params: The parameters of the acting policy.
        collector: The state of the environments before the first step.
        teacher: The teacher of the policy, if it has one.

    Returns:
        Their state after the last step, the trajectory [T, N, ...], and the episodes that ended in it.
    """
    check_compilable(environment)

    def draw(num_steps: int, keys: jax.Array) -> tuple[jax.Array, Any]:
        action_key, environment_key = keys
        noise = noise_of_steps(config, environment.action_space, action_key, num_steps)
        drawn = noise, environment.draw(num_steps, config.num_envs, environment_key)
        noise, of_environment = shards.own_drawn(drawn, config.num_envs)  # [num_steps, N, ...] of this device
        return noise, environment.prepare(of_environment)

    def step(
        collector: Collector, drawn: tuple[jax.Array, Any]
    ) -> tuple[Collector, tuple[Trajectory, EndedEpisodes]]:
        noise, of_environment = drawn
        decision = decide(network, params, collector, noise, teacher)
        clipped = spaces.clip(environment.action_space, decision.action)
        state, time_step = environment.step(of_environment, collector.environment, clipped)
        return follow(collector, decision, state, time_step)

    key, collector = _refill_pool(environment, key, collector)
    collector, (trajectory, ended) = scan_drawn(
        draw, step, collector, key, config.num_steps, unroll=steps_per_turn(config)
    )
    repeated = environment.pool and environment.pool.repeated(collector.environment)
    return finish(hyper, collector._replace(repeated_starts=repeated), trajectory, ended)


def noise_of_steps(config: Config, action_space: spaces.Space, key: jax.Array, num_steps: int) -> jax.Array:
    """Draws the noise from which the actions of some steps are sampled, [num_steps, N, ...]."""
    noise = draw_noise(action_space, key, num_steps * config.num_envs)
    return noise.reshape(num_steps, config.num_envs, *noise.shape[1:])


class Decision(NamedTuple):
    """The actions for the observations of one step, and what they were chosen from.

    Attributes:
        statistics: The statistics of all observations so far, with those of this step; None if observations
            are not normalized.
        observation: The observations as the network sees them, [N, ...].
        policy: The distributions over actions, [N].
        action: The actions that were sampled, before they are clipped to any bounds, [N, ...].
        memory: The memory of the network after these observations.
        teacher: The policy of the teacher, distributions [N]; None without a teacher.
    """

    statistics: Any
    observation: Any
    policy: Distribution
    action: jax.Array
    memory: Memory
    teacher: Distribution | None = None


def decide(
    network: Network, params: Params, collector: Collector, noise: jax.Array, teacher: Teacher | None = None
) -> Decision:
    """Samples the actions of one step.

    Args:
        network: The network whose policy acts.
        params: Its parameters.
        collector: The state before the step.
        noise: The noise from which the actions are sampled (see `noise_of_steps`), [N, ...].
        teacher: The teacher of the policy, if it has one.
    """
    # An observation is normalized by statistics that include it.
    statistics = merge_observation(collector.statistics, collector.observation)
    seen = collector.memory, collector.observation, collector.start
    observation, prediction = act(network, Agent(params=params, statistics=statistics), *seen)
    return Decision(
        statistics=statistics,
        observation=observation,
        policy=prediction.policy,
        action=prediction.policy.from_noise(noise),
        memory=prediction.memory,
        teacher=teach(teacher, collector.observation),
    )


def follow(
    collector: Collector, decision: Decision, state: Any, time_step: TimeStep
) -> tuple[Collector, tuple[Trajectory, EndedEpisodes]]:
    """Takes note of what one step has led to.

    Args:
        collector: The state before the step.
        decision: The actions of the step.
        state: The state of the environments after it.
        time_step: The result of the step, [N, ...].

    Returns:
        The state after the step, its experience [N, ...], and the episodes as of this step.
    """
    episodes, ended = record_step(collector.episodes, time_step.reward, time_step.done, time_step.metrics)
    experience = Trajectory(
        observation=decision.observation,
        action=decision.action,
        policy=decision.policy,
        final_observation=normalize_observation(decision.statistics, time_step.final_observation),
        reward=time_step.reward,
        terminated=time_step.terminated,
        done=time_step.done,
        start=collector.start,
        memory=collector.memory,
        teacher=decision.teacher,
    )
    collector = collector._replace(
        environment=state,
        observation=time_step.observation,
        start=time_step.done,
        memory=decision.memory,
        episodes=episodes,
        statistics=decision.statistics,
    )
    return collector, (experience, ended)


def finish(
    hyper: Hyperparams, collector: Collector, trajectory: Trajectory, ended: EndedEpisodes
) -> tuple[Collector, Trajectory, EpisodeSummary]:
    """Sums up the episodes of a rollout, and scales its rewards.

    Args:
        hyper: The hyperparameters; gamma is used.
        collector: The state after the last step.
        trajectory: The experience, [T, N, ...], with the rewards as the environment gave them.
        ended: The episodes as of each step, [T, N].
    """
    episodes, summary = summarize(collector.episodes, ended)
    scaler, reward = scale_rewards(collector.reward_scaler, trajectory.reward, trajectory.done, hyper.gamma)
    collector = collector._replace(episodes=episodes, reward_scaler=scaler)
    return collector, trajectory._replace(reward=reward), summary


def _refill_pool(
    environment: Environment, key: jax.Array, collector: Collector
) -> tuple[jax.Array, Collector]:
    """Draws a new pool of first states if the environment has one; returns the key for everything else."""
    if environment.pool is None:
        return key, collector
    pool_key, key = jax.random.split(key)
    return key, collector._replace(environment=environment.pool.refill(pool_key, collector.environment))


def steps_per_turn(config: Config) -> int:
    """Returns the number of steps in one turn of the loop: 2 halve the copying between turns."""
    return 2 if config.num_envs <= FEW_ENVS else 1


def init_collector(config: Config, environment: Environment, network: Network, key: jax.Array) -> Collector:
    """Resets N environments, and returns the collector before the first rollout.

    Args:
        config: The static part of the run; it says how many environments there are and what is normalized.
        environment: The environment.
        network: The network, for its memory.
        key: The source of the first states.
    """
    num_envs = config.num_envs
    state, observation = environment.reset(num_envs, key)
    _check_shapes(environment, num_envs, observation)
    return Collector(
        environment=state,
        observation=observation,
        start=jnp.ones(num_envs, bool),
        memory=network.init_memory(num_envs),
        episodes=init_episodes(num_envs, own_metrics.names_of(environment)),
        statistics=init_observation_statistics(observation) if config.normalize_observations else None,
        reward_scaler=init_reward_scaler(num_envs) if config.normalize_rewards else None,
        repeated_starts=None if environment.pool is None else jnp.zeros((), jnp.int32),
    )


def _check_shapes(environment: Environment, num_envs: int, observation: Any) -> None:
    """Makes sure that observations have the shapes that the spaces of the environment promise.

    Raises:
        UsageError: If they have others.
    """
    spaces_seen: dict[str, Any] = {
        "observation_space": (environment.observation_space, actor_features(observation))
    }
    if isinstance(observation, Observation) and observation.privileged is not None:
        spaces_seen["privileged_space"] = environment.privileged_space, critic_features(observation)
    for name, (space, array) in spaces_seen.items():
        if isinstance(space, spaces.Box) and array.shape != (num_envs, *space.shape):
            raise UsageError(
                f"the environment's observations have the shape {list(array.shape[1:])}, but its {name} is "
                f"{space}; make them agree"
            )
