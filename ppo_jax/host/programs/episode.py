"""Plays one episode of an agent and keeps every state, so that the episode can be drawn."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.evaluate import Play, begin_play, play_step
from ppo_jax.config import Arguments, Config
from ppo_jax.envs.environment import Drawn, Dynamics, Environment, TimeStep, make_batched
from ppo_jax.envs.make import make_dynamics
from ppo_jax.errors import UsageError
from ppo_jax.host.programs.chunks import compile_ahead
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.validation import check_seed

MAX_STEPS = 3_000  # by default; longer than the time limit of almost every environment that can be drawn
LONGEST = 100_000  # every state is kept until it is drawn


class Episode(NamedTuple):
    """One episode of T steps.

    Attributes:
        env: The name of the environment.
        env_args: Its arguments.
        states: A PyTree of [T + 1, ...], from the first state to the one that the last step led to.
        returns: [T + 1] float32, the undiscounted reward up to each state.
        finished: False if the episode was cut off.
    """

    env: str
    env_args: Arguments
    states: Any
    returns: np.ndarray
    finished: bool

    @property
    def steps(self) -> int:
        """T, the number of steps."""
        return len(self.returns) - 1


def play(config: Config, agent: Agent, seed: int, greedy: bool = True, max_steps: int = MAX_STEPS) -> Episode:
    """Plays one episode, the same as an evaluation of a single episode with the same seed.

    Args:
        config: The configuration of the run that the agent comes from.
        agent: The agent.
        seed: The source of all randomness; the same seed gives the same episode.
        greedy: Whether to take the most probable action rather than sample one.
        max_steps: The number of steps after which an episode that has not ended is cut off.

    Raises:
        UsageError: If the seed is none, or `max_steps` is not between 1 and LONGEST.
    """
    check_seed(seed)
    if not 1 <= max_steps <= LONGEST:
        raise UsageError(
            f"max_steps = {max_steps} is not between 1 and {LONGEST}; give one such as {MAX_STEPS}"
        )
    # The same key as in `evaluation.run`, so that the episode is the same.
    key = jax.random.fold_in(jax.random.key(seed), 1)
    program = compile_ahead(partial(_play, config, greedy, max_steps), key, agent)
    states, reward, done = jax.device_get(program(key, agent))
    steps = int(done.argmax()) + 1 if done.any() else max_steps
    return Episode(
        env=config.env,
        env_args=config.env_args,
        states=jax.tree.map(lambda x: x[: steps + 1], states),
        returns=np.concatenate([[np.float32(0)], np.cumsum(reward[:steps], dtype=np.float32)]),
        finished=bool(done.any()),
    )


def _play(
    config: Config, greedy: bool, max_steps: int, key: jax.Array, agent: Agent
) -> tuple[Any, jax.Array, jax.Array]:
    """Returns the states [max_steps + 1], and the rewards and ends of the steps [max_steps]."""
    environment = _without_reset(make_dynamics(config.env, config.env_args))
    network = network_for(config, environment, make_network)

    def step(play: Play, _: None) -> tuple[Play, tuple[Any, jax.Array, jax.Array]]:
        play, time_step = play_step(environment, network, agent, greedy, play)
        return play, (play.state, time_step.reward, time_step.done)

    start = begin_play(environment, network, 1, key)
    _, (later, reward, done) = jax.lax.scan(step, start, length=max_steps)  # [max_steps, 1, ...]
    states = jax.tree.map(lambda x, xs: jnp.concatenate([x, xs[:, 0]]), start.state, later)
    return states, reward[:, 0], done[:, 0]


def _without_reset(dynamics: Dynamics) -> Environment:
    """Makes the environment of `make_batched`, but without auto-reset.

    The last state of an episode can then be drawn. The steps after it have no meaning. A pool of first states
    is left out; the first state and the keys of steps are those that there would be with it.
    """
    environment = make_batched(dynamics)
    fresh = make_batched(dynamics._replace(reset_pool=None))

    def reset(num_envs: int, key: jax.Array) -> tuple[Any, Any]:
        return fresh.reset(num_envs, key if environment.pool is None else jax.random.split(key)[0])

    def step(drawn: Drawn | jax.Array, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        keys = drawn.keys if isinstance(drawn, Drawn) else drawn
        state, transition = jax.vmap(dynamics.step)(keys, state, action)
        return state, TimeStep(
            observation=transition.observation,
            final_observation=transition.observation,
            reward=transition.reward,
            terminated=transition.terminated,
            truncated=transition.truncated,
        )

    return environment._replace(reset=reset, step=step, pool=None)
