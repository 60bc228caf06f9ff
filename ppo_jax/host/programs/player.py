"""Lets a trained agent act in the user's own loop, one observation or batch at a time."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.config import Config
from ppo_jax.envs.environment import Observation, actor_features
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Memory, network_for
from ppo_jax.validation import check_seed


class Player:
    """An agent that acts. It keeps the memory of a recurrent network between calls.

    Args:
        config: The configuration of the run that the agent comes from.
        agent: The agent.
        greedy: Whether to take the most probable action rather than sample one.
        seed: The source of sampled actions.
    """

    def __init__(self, config: Config, agent: Agent, greedy: bool = True, seed: int = 0):
        check_seed(seed)
        environment = make_environment(config.env, config.env_args)
        self.action_space = environment.action_space
        self.observation_space: Any = environment.observation_space
        self._network = network_for(config, environment, make_network)
        self._key = jax.random.key(seed)
        self._memory: Memory = None
        self._start = np.ones(0, bool)

        def choose(key: jax.Array, memory: Memory, observation: Any, start: jax.Array) -> Any:
            key, action_key = jax.random.split(key)
            _, prediction = act(self._network, agent, memory, observation, start)
            action = prediction.policy.mode() if greedy else prediction.policy.sample(action_key)
            return key, prediction.memory, spaces.clip(self.action_space, action)

        self._choose = jax.jit(choose)

    def act(self, observation: Any) -> np.ndarray:
        """Chooses an action for an observation, or an action for each observation of a batch.

        Args:
            observation: One observation, of the shape of the space, or N of them, [N, ...]: an array, or
                an `Observation`.

        Returns:
            The action, clipped to the bounds of its space; [N, ...] for a batch.

        Raises:
            UsageError: If the observation is of another shape, or the batch of another size than before.
        """
        if not isinstance(observation, Observation):
            try:
                observation = np.asarray(observation, np.float32)  # a list would be taken for a tree
            except (TypeError, ValueError) as error:
                kind = type(observation).__name__
                raise UsageError(
                    f"observation is a {kind}, not an array of numbers; give one ({error})"
                ) from error
        shape = np.shape(actor_features(observation))
        wanted = self.observation_space.shape
        is_single = shape == wanted
        if not is_single and shape[1:] != wanted:
            raise UsageError(f"observation has the shape {list(shape)}; give {list(wanted)} or N of them")
        batch = jax.tree.map(lambda x: jnp.asarray(x)[None] if is_single else jnp.asarray(x), observation)
        size = 1 if is_single else shape[0]
        if self._memory is None:
            self._memory, self._start = self._network.init_memory(size), np.ones(size, bool)
        if len(self._start) != size:
            raise UsageError(
                f"observation is a batch of {size}, but the one before was of {len(self._start)}; "
                "call reset() before a batch of another size"
            )
        self._key, self._memory, action = self._choose(self._key, self._memory, batch, self._start)
        self._start = np.zeros(size, bool)
        return np.asarray(action[0] if is_single else action)

    def reset(self, done: Any = None) -> None:
        """Says that episodes have ended, so that what was remembered of them is forgotten.

        Args:
            done: Which episodes of the batch have ended, [N] bool; by default all.
        """
        if done is None:
            self._memory = None
        else:
            self._start = np.asarray(done, bool).reshape(-1)
