"""Episodes of a fixed policy, to completion."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.actor_critic import Memory, Network, Params
from ppo_jax.config import Config, validate
from ppo_jax.envs import spaces
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.networks import MakeNetwork, make_network
from ppo_jax.normalization import normalize_observation

MAX_STEPS = 100_000  # bounds the loop for an environment that never ends an episode


class Episodes(NamedTuple):
    """E evaluated episodes.

    Attributes:
        episode_return: Undiscounted, [E] float32.
        episode_length: In steps, [E] int32.
        finished: [E] bool; False where MAX_STEPS came before the end of the episode.
    """

    episode_return: jax.Array
    episode_length: jax.Array
    finished: jax.Array


def evaluate(
    config: Config,
    key: jax.Array,
    params: Params,
    num_episodes: int = 100,
    greedy: bool = True,
    environment: Environment | None = None,
    make_network: MakeNetwork = make_network,
    statistics: Any = None,
) -> Episodes:
    """Runs exactly E episodes of a policy, one in each of E fresh environments.

    One whole episode per environment keeps the sample unbiased: taking the first E that finish would
    favour short ones. Under `jax.jit`: `static_argnums=(0, 3, 4)`.

    Args:
        config: Of the run the policy comes from.
        key: For first states, transitions and sampled actions.
        params: The policy's, `state.learner.params` of a training.
        num_episodes: E, static.
        greedy: Take the most probable action rather than sample one; static.
        environment: The caller's own environment; by default the one that `config.env` names.
        make_network: The caller's own function in place of `networks.make_network`.
        statistics: Of the observations, `state.collector.statistics` of the training; required if the
            configuration normalizes them. They are not changed.

    Returns:
        The E episodes, in the order of the environments.

    Raises:
        UsageError: With every mistake in the configuration, if there are no episodes, or if the
            statistics are missing.
    """
    validate(config, environment=environment)
    if num_episodes < 1:
        raise UsageError(f"num_episodes = {num_episodes} is not at least 1; give one such as 100")
    if config.normalize_observations and statistics is None:
        raise UsageError(
            "normalize_observations = True needs the statistics of the training; "
            "give statistics=state.collector.statistics"
        )
    environment = environment or make_environment(config.env)
    network = make_network(
        config, environment.observation_space, environment.action_space, environment.privileged_space
    )
    reset_key, key = jax.random.split(key)
    state, observation = environment.reset(num_episodes, reset_key)
    episodes = Episodes(
        episode_return=jnp.zeros(num_episodes, jnp.float32),
        episode_length=jnp.zeros(num_episodes, jnp.int32),
        finished=jnp.zeros(num_episodes, bool),
    )
    step = partial(_step, environment, network, params, statistics, greedy)
    progress = _Progress(
        key=key,
        state=state,
        observation=observation,
        start=jnp.ones(num_episodes, bool),
        memory=network.init_memory(num_episodes),
        episodes=episodes,
    )
    return jax.lax.while_loop(_unfinished, step, progress).episodes


class _Progress(NamedTuple):
    key: jax.Array
    state: Any
    observation: Any  # [E, ...]
    start: jax.Array  # [E] bool
    memory: Memory
    episodes: Episodes


def _unfinished(progress: _Progress) -> jax.Array:
    running = ~progress.episodes.finished
    return jnp.any(running & (progress.episodes.episode_length < MAX_STEPS))


def _step(
    environment: Environment,
    network: Network,
    params: Params,
    statistics: Any,
    greedy: bool,
    progress: _Progress,
) -> _Progress:
    key, action_key, environment_key = jax.random.split(progress.key, 3)
    observation = normalize_observation(statistics, progress.observation)
    policy, _, memory = network.apply(params, progress.memory, observation, progress.start)
    action = policy.mode() if greedy else policy.sample(action_key)
    clipped = spaces.clip(environment.action_space, action)
    state, time_step = environment.step(environment_key, progress.state, clipped)

    running = ~progress.episodes.finished
    episodes = Episodes(
        episode_return=progress.episodes.episode_return + jnp.where(running, time_step.reward, 0.0),
        episode_length=progress.episodes.episode_length + running,
        finished=progress.episodes.finished | time_step.done,
    )
    return _Progress(
        key=key,
        state=state,
        observation=time_step.observation,
        start=time_step.done,
        memory=memory,
        episodes=episodes,
    )
