"""The adapter to Gymnasium, whose environments are simulators on the host rather than pure functions.

`make_dynamics` makes a stand-in, with the spaces and the shapes of an environment, from which a network is
made and a run is planned. `host.programs.simulators` runs the simulators themselves, between compiled
programs.
"""

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces as gymnasium_spaces
from gymnasium.envs.registration import load_env_creator
from gymnasium.vector import AutoresetMode

from ppo_jax import spaces
from ppo_jax.envs.adapting import check_counts, explained_by, identify
from ppo_jax.envs.arguments import Argument, Parameter, bind, named_parameters_of
from ppo_jax.envs.environment import Environment, TimeStep
from ppo_jax.errors import UsageError

# The environments of Gymnasium; whether what they need is installed shows when one is made.
NAMES = {id_: "" for id_ in sorted(gymnasium.registry) if not id_.startswith("GymV")}


def make_dynamics(
    name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]
) -> Environment:
    """Makes the stand-in for an environment of Gymnasium.

    Args:
        name: A name such as "gymnasium:LunarLander-v3".
        arguments: Arguments of `gymnasium.make`, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or a space is of a kind that is not
            implemented.
    """
    observed, acted = _spaces_of(name, tuple(sorted(arguments.items())))
    observation_space, action_space = _observations_of(observed), _actions_of(acted)

    def reset(num_envs: int, key: jax.Array) -> tuple[Any, jax.Array]:
        return (), jnp.zeros((num_envs, *observation_space.shape), jnp.float32)

    def step(drawn: Any, state: Any, action: jax.Array) -> tuple[Any, TimeStep]:
        num_envs = len(action)
        _, observation = reset(num_envs, drawn)
        flags = jnp.zeros(num_envs, bool)
        reward = jnp.zeros(num_envs, jnp.float32)
        return state, TimeStep(
            observation=observation,
            final_observation=observation,
            reward=reward,
            terminated=flags,
            truncated=flags,
        )

    return Environment(reset, step, observation_space, action_space, on_host=True)


class Simulators:
    """N simulators of an environment, which reset themselves.

    Args:
        name: A name such as "gymnasium:LunarLander-v3".
        arguments: Arguments of `gymnasium.make`, by name.
        num_envs: The number of simulators, N.
    """

    def __init__(self, name: str, arguments: Mapping[str, Argument], num_envs: int):
        self._observed, self._acted = _spaces_of(name, tuple(sorted(arguments.items())))
        self._envs = gymnasium.make_vec(
            **_options_of(name, arguments),
            num_envs=num_envs,
            vectorization_mode="sync",  # messages between processes would take longer than most steps
            vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        )

    def reset(self, seed: int) -> np.ndarray:
        """Begins new episodes; returns their first observations, [N, ...] float32."""
        observation, _ = self._envs.reset(seed=seed)
        return _as_floats(self._observed, observation)

    def step(self, action: np.ndarray) -> TimeStep:
        """Takes one step in each simulator; returns arrays of NumPy.

        Args:
            action: The actions, clipped to the bounds of their space, [N, ...].
        """
        observation, reward, terminated, truncated, info = self._envs.step(_as_actions(self._acted, action))
        observation = final = _as_floats(self._observed, observation)
        ended = terminated | truncated
        if ended.any():
            final = observation.copy()
            final[ended] = _as_floats(self._observed, np.stack(list(info["final_obs"][ended])))
        return TimeStep(
            observation=observation,
            final_observation=final,
            reward=np.asarray(reward, np.float32),  # pyright: ignore[reportArgumentType]
            terminated=terminated,
            truncated=truncated,
        )


make_simulators = Simulators


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of Gymnasium by name, with its time limit."""
    spec = gymnasium.spec(identify(name, NAMES))
    kind: Any = spec.entry_point
    if isinstance(kind, str):
        with explained_by(name, {}):
            kind = load_env_creator(kind)
    found = {key: one for key, one in named_parameters_of(kind).items() if key != "render_mode"}
    found |= {key: Parameter((type(value),), value) for key, value in spec.kwargs.items() if key in found}
    return {**found, "max_episode_steps": Parameter((int,), spec.max_episode_steps)}


def _options_of(name: str, arguments: Mapping[str, Argument]) -> dict[str, Any]:
    """Returns what `gymnasium.make` and `gymnasium.make_vec` take for an environment.

    Raises:
        UsageError: If there is no such environment, or an argument does not fit it.
    """
    given = bind(name, arguments, parameters(name))
    check_counts({key: value for key, value in given.items() if key == "max_episode_steps"})
    return {"id": identify(name, NAMES), **given}


@cache
def _spaces_of(name: str, arguments: tuple[tuple[str, Argument], ...]) -> tuple[Any, Any]:
    """Returns Gymnasium's own spaces of observations and actions.

    Raises:
        UsageError: If the environment cannot be made, or an argument does not fit it.
    """
    options = _options_of(name, dict(arguments))
    with explained_by(name, dict(arguments)):
        made = gymnasium.make(**options)
        made.close()
    return made.observation_space, made.action_space


def _as_floats(space: Any, observations: Any) -> np.ndarray:
    """Returns observations of N copies as arrays [N, ...] of float32; a number out of n becomes one-hot.

    Args:
        space: Gymnasium's space of one observation, a Box or Discrete.
        observations: The observations, [N, ...].
    """
    if isinstance(space, gymnasium_spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[np.asarray(observations) - space.start]
    return np.asarray(observations, np.float32)


def _as_actions(space: Any, actions: np.ndarray) -> np.ndarray:
    """Returns actions of N copies as Gymnasium takes them.

    Args:
        space: Gymnasium's space of one action.
        actions: The actions, [N, ...].
    """
    match space:
        case gymnasium_spaces.Box():
            return actions.reshape(len(actions), *space.shape).astype(space.dtype)
        case gymnasium_spaces.Discrete() | gymnasium_spaces.MultiDiscrete():
            return actions.astype(space.dtype) + np.asarray(space.start, space.dtype)
    return actions.astype(space.dtype)


def _observations_of(space: Any) -> spaces.Box:
    match space:
        case gymnasium_spaces.Discrete():
            return spaces.Box((int(space.n),), 0.0, 1.0)
        case gymnasium_spaces.Box():
            return spaces.Box(space.shape)
    raise UsageError(
        f"observations are of kind {type(space).__name__}; give an environment with Box or Discrete, or "
        "register one that wraps it in gymnasium.wrappers.FlattenObservation"
    )


def _actions_of(space: Any) -> spaces.Space:
    match space:
        case gymnasium_spaces.Discrete():
            return spaces.Discrete(int(space.n))
        case gymnasium_spaces.MultiDiscrete() if space.nvec.ndim == 1:
            return spaces.MultiDiscrete(tuple(map(int, space.nvec)))
        case gymnasium_spaces.MultiBinary() if isinstance(space.n, int):
            return spaces.MultiDiscrete((2,) * space.n)
        case gymnasium_spaces.Box():
            low, high = (tuple(bound.astype(float).ravel().tolist()) for bound in (space.low, space.high))
            return spaces.Box((math.prod(space.shape),), low, high)
    raise UsageError(
        f"actions are of kind {type(space).__name__}; give an environment with Discrete, MultiDiscrete, "
        "MultiBinary or Box"
    )
