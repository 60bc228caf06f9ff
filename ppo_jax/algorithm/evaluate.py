"""Evaluation: runs whole episodes of a fixed policy."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.algorithm import own_metrics
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.algorithm.given import check_agent, check_compilable, check_count, check_key
from ppo_jax.algorithm.mapped import in_usual_modes
from ppo_jax.algorithm.own_metrics import Own, extend
from ppo_jax.config import Config
from ppo_jax.envs.environment import Environment, TimeStep, checked
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import check_kind
from ppo_jax.fast.loops import vary_with
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import MakeNetwork, Memory, Network, Params, network_for
from ppo_jax.validation import validate

MAX_STEPS = 100_000  # bounds the loop in case an environment never ends an episode


class Episodes(NamedTuple):
    """E evaluated episodes.

    If the environment has metrics of its own, their sums over an episode are further fields, [E] float32.

    Attributes:
        episode_return: The undiscounted returns, [E] float32.
        episode_length: The lengths in steps, [E] int32.
        finished: [E] bool; False where the episode had not ended after MAX_STEPS.
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
        config: The configuration of the run that the policy comes from.
        key: The source of first states, transitions and sampled actions.
        params: The policy's parameters, `state.learner.params` of a train state.
        num_episodes: The number of episodes, E; static.
        greedy: Whether to take the most probable action rather than sample one; static.
        environment: The caller's own environment; by default the one that `config` names.
        make_network: The caller's own function; by default the one that `config.network` names.
        statistics: The statistics of the observations, `state.collector.statistics` of the train state;
            required if the configuration normalizes observations. They are not changed.

    Returns:
        The E episodes, in the order of the environments.

    Raises:
        UsageError: With every mistake in the configuration, if there are no episodes, or if the
            parameters or the statistics are not those of the network and the environment.
    """
    validate(config, environment=environment)
    check_key(key)
    num_episodes = check_count("num_episodes", num_episodes)
    check_kind("greedy", greedy, bool, "True or False")
    made = make_environment(config.env, config.env_args) if environment is None else environment
    environment = checked(made)
    network = network_for(config, environment, make_network)
    check_agent(config, environment, network, params, statistics)
    play_all = partial(_play_all, environment, network, num_episodes, greedy)
    return in_usual_modes(play_all, key, Agent(params, statistics))


def _play_all(
    environment: Environment, network: Network, num_episodes: int, greedy: bool, key: jax.Array, agent: Agent
) -> Episodes:
    """Plays until each of E environments has ended its first episode."""
    check_compilable(environment)
    names = own_metrics.names_of(environment)

    def is_any_unfinished(carry: tuple[Play, Episodes, Own]) -> jax.Array:
        _, episodes, _ = carry
        return jnp.any(~episodes.finished & (episodes.episode_length < MAX_STEPS))

    def step(carry: tuple[Play, Episodes, Own]) -> tuple[Play, Episodes, Own]:
        play, episodes, own = carry
        play, time_step = play_step(environment, network, agent, greedy, play)
        running = ~episodes.finished
        after = own_metrics.add(own, time_step.metrics)
        episodes = Episodes(
            episode_return=episodes.episode_return + jnp.where(running, time_step.reward, 0.0),
            episode_length=episodes.episode_length + running,
            finished=episodes.finished | time_step.done,
        )
        return play, episodes, {name: jnp.where(running, after[name], own[name]) for name in names}

    episodes = Episodes(
        episode_return=jnp.zeros(num_episodes, jnp.float32),
        episode_length=jnp.zeros(num_episodes, jnp.int32),
        finished=jnp.zeros(num_episodes, bool),
    )
    play = begin_play(environment, network, num_episodes, key)
    start = vary_with((key, agent), (play, episodes, own_metrics.zeros(names, num_episodes)))
    _, episodes, own = jax.lax.while_loop(is_any_unfinished, step, start)
    return extend(Episodes, names)(*episodes, **own)


class Play(NamedTuple):
    """The state of E environments in which a fixed policy acts.

    Attributes:
        key: The source of all further randomness.
        state: The state of the environments.
        observation: The observations to act on next, [E, ...].
        start: [E] bool, an episode begins with these observations.
        memory: The memory of the network before these observations.
    """

    key: jax.Array
    state: Any
    observation: Any
    start: jax.Array
    memory: Memory


def begin_play(environment: Environment, network: Network, num_episodes: int, key: jax.Array) -> Play:
    """Resets E environments for a fixed policy to act in."""
    reset_key, key = jax.random.split(key)
    state, observation = environment.reset(num_episodes, reset_key)
    return Play(
        key=key,
        state=state,
        observation=observation,
        start=jnp.ones(num_episodes, bool),
        memory=network.init_memory(num_episodes),
    )


def play_step(
    environment: Environment, network: Network, agent: Agent, greedy: bool, play: Play
) -> tuple[Play, TimeStep]:
    """Takes one step in each of the E environments.

    Args:
        environment: The environment.
        network: The network of the agent.
        agent: The agent that acts.
        greedy: Whether to take the most probable action rather than sample one; static.
        play: The state before the step.
    """
    key, action_key, environment_key = jax.random.split(play.key, 3)
    _, prediction = act(network, agent, play.memory, play.observation, play.start)
    action = prediction.policy.mode() if greedy else prediction.policy.sample(action_key)
    clipped = spaces.clip(environment.action_space, action)
    drawn = environment.draw_one(play.start.size, environment_key)
    state, time_step = environment.step(drawn, play.state, clipped)
    play = Play(
        key=key,
        state=state,
        observation=time_step.observation,
        start=time_step.done,
        memory=prediction.memory,
    )
    return play, time_step
