"""One episode of a policy, state by state."""

from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.actor_critic import Memory, Network
from ppo_jax.config import Config
from ppo_jax.envs import spaces
from ppo_jax.envs.environment import Dynamics, Environment, make_batched
from ppo_jax.envs.gymnax import make_dynamics
from ppo_jax.errors import UsageError
from ppo_jax.networks import make_network
from ppo_jax.normalization import normalize_observation
from ppo_jax.runs.evaluation import Agent
from ppo_jax.runs.program import compile_ahead

MAX_STEPS = 3_000  # by default; no environment that can be drawn has a longer time limit
LONGEST = 100_000  # every state is kept until it is drawn


class Episode(NamedTuple):
    """One episode of T steps.

    Attributes:
        env: Name of the environment.
        states: A PyTree of [T + 1, ...], from the first to the one that the last step led to.
        returns: [T + 1] float32, undiscounted reward up to each state.
        finished: False where the episode was cut off.
    """

    env: str
    states: Any
    returns: np.ndarray
    finished: bool

    @property
    def steps(self) -> int:
        """T."""
        return len(self.returns) - 1


def play(config: Config, agent: Agent, seed: int, greedy: bool = True, max_steps: int = MAX_STEPS) -> Episode:
    """Plays one episode, the one that an evaluation of a single episode with this seed plays.

    Args:
        config: Of the run the policy comes from.
        agent: The policy.
        seed: The same seed gives the same episode.
        greedy: Take the most probable action rather than sample one.
        max_steps: Where an episode that has not ended is cut off.

    Raises:
        UsageError: If the number of steps makes no sense.
    """
    if not 1 <= max_steps <= LONGEST:
        raise UsageError(
            f"max_steps = {max_steps} is not between 1 and {LONGEST}; give one such as {MAX_STEPS}"
        )
    key = jax.random.fold_in(jax.random.key(seed), 1)
    program = compile_ahead(partial(_play, config, greedy, max_steps), key, agent)
    states, returns, done = jax.device_get(program(key, agent))
    steps = int(done.argmax()) + 1 if done.any() else max_steps
    return Episode(
        env=config.env,
        states=jax.tree.map(itemgetter(slice(steps + 1)), states),
        returns=returns[: steps + 1],
        finished=bool(done.any()),
    )


class _Progress(NamedTuple):
    key: jax.Array
    state: Any
    observation: Any  # [1, ...]
    start: jax.Array  # [1] bool
    memory: Memory
    episode_return: jax.Array  # [1]


def _play(
    config: Config, greedy: bool, max_steps: int, key: jax.Array, agent: Agent
) -> tuple[Any, jax.Array, jax.Array]:
    """Returns states and returns [max_steps + 1, ...], and which steps [max_steps] ended an episode."""
    dynamics = make_dynamics(config.env)
    environment = make_batched(dynamics)
    network = make_network(
        config, environment.observation_space, environment.action_space, environment.privileged_space
    )
    reset_key, key = jax.random.split(key)
    state, observation = environment.reset(1, reset_key)
    progress = _Progress(
        key=key,
        state=state,
        observation=observation,
        start=jnp.ones(1, bool),
        memory=network.init_memory(1),
        episode_return=jnp.zeros(1, jnp.float32),
    )
    step = partial(_step, dynamics, environment, network, agent, greedy)
    _, (later, done) = jax.lax.scan(step, progress, length=max_steps)
    seen = jax.tree.map(_join, (state, progress.episode_return), later)
    return *seen, done[:, 0]


def _join(first: jax.Array, later: jax.Array) -> jax.Array:
    return jnp.concatenate([first, later[:, 0]])


def _step(
    dynamics: Dynamics,
    environment: Environment,
    network: Network,
    agent: Agent,
    greedy: bool,
    progress: _Progress,
    nothing: None,
) -> tuple[_Progress, Any]:
    """Steps as `evaluate` does, and looks at the successor before the environment resets itself."""
    key, action_key, environment_key = jax.random.split(progress.key, 3)
    observation = normalize_observation(agent.statistics, progress.observation)
    policy, _, memory = network.apply(agent.params, progress.memory, observation, progress.start)
    action = policy.mode() if greedy else policy.sample(action_key)
    clipped = spaces.clip(environment.action_space, action)
    chance = jax.tree.map(itemgetter(0), environment.draw(1, 1, environment_key))
    successor, _ = jax.vmap(dynamics.step)(chance.keys, progress.state, clipped)
    state, time_step = environment.step(chance, progress.state, clipped)
    progress = _Progress(
        key=key,
        state=state,
        observation=time_step.observation,
        start=time_step.done,
        memory=memory,
        episode_return=progress.episode_return + time_step.reward,
    )
    return progress, ((successor, progress.episode_return), time_step.done)
