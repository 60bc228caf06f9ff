"""The adapter to gymnax 1.x; the only module that imports it.

It uses `step_env` rather than `step`, because `step` resets by itself and hides the successor. `step_env`
knows nothing of time limits (its `done` means terminated), so the adapter asks `is_truncated` for the
limit: otherwise CartPole would lose its 500-step limit.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.envs.deferred import deferred
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.errors import UsageError

# A caller's jit may be tracing when gymnax is imported. Its modules make arrays at import, which have to be
# concrete arrays rather than tracers. The libraries that gymnax draws with take three times as long to import
# as everything else, so they are deferred until a picture is drawn.
with jax.ensure_compile_time_eval(), deferred("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import spaces as gymnax_spaces


def make_dynamics(name: str) -> Dynamics:
    """Makes one copy of a gymnax environment with its default parameters.

    Args:
        name: A registered name such as "CartPole-v1".

    Raises:
        UsageError: If it cannot be made, or a space is of a kind that is not implemented.
    """
    # Some constructors branch on arrays, which is impossible while a caller's jit is tracing.
    with jax.ensure_compile_time_eval():
        try:
            env, params = gymnax.make(name)
        except OSError as error:  # MNISTBandit-bsuite downloads its data set
            raise UsageError(
                f"env = {name!r} cannot be made: it needs data that could not be downloaded ({error}); "
                "connect to the network once, or choose another"
            ) from error
        return _adapt(env, params)


def wrap(env: Any, params: Any) -> Environment:
    """Makes a batched environment from an instance of a gymnax class.

    Observations become float32 arrays. An array keeps its shape; a number out of n becomes a one-hot vector
    of n numbers; a PyTree becomes one axis, its leaves in the order of `jax.tree.leaves` (keys of
    dictionaries are sorted), each turned into numbers in the same way and flattened in row-major order.

    Args:
        env: The instance.
        params: The parameters of the instance.

    Raises:
        UsageError: If a space is of a kind that is not implemented.
    """
    return make_batched(_adapt(env, params))


def make_visualizer(name: str, states: Sequence[Any]) -> Any:
    """Makes gymnax's own visualizer, which draws one state at a time into a pyplot figure.

    Args:
        name: The name of an environment that gymnax can draw; for others it draws empty axes.
        states: The states of one copy, in order.

    Returns:
        A `Visualizer`, whose `init()` and `update(index)` draw into its `fig`.
    """
    from gymnax.visualize import Visualizer  # imports the libraries that gymnax draws with

    env, params = gymnax.make(name)
    return Visualizer(env, params, states)


def _adapt(env: Any, params: Any) -> Dynamics:
    observation_space, action_space = env.observation_space(params), env.action_space(params)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        with jax.numpy_rank_promotion("allow"):  # some environments rely on it
            observation, state = env.reset_env(key, params)
        return state, _as_floats(observation_space, observation)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Transition]:
        action = _as_gymnax_action(action_space, action)
        with jax.numpy_rank_promotion("allow"):
            observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
        return state, Transition(
            observation=_as_floats(observation_space, observation),
            reward=jnp.asarray(reward, jnp.float32),
            terminated=jnp.asarray(terminated, bool),
            truncated=jnp.asarray(env.is_truncated(state, params), bool),
        )

    return Dynamics(
        reset=reset,
        step=step,
        observation_space=_convert_observation_space(observation_space),
        action_space=_convert_action_space(action_space),
    )


def _convert_observation_space(space: Any) -> spaces.Box:
    """Returns the space of the observations that `_as_floats` returns."""
    leaves = _leaves(space)
    if leaves is not None:
        sizes = [math.prod(_convert_observation_space(leaf).shape) for leaf in leaves]
        return spaces.Box((sum(sizes),))
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Box((int(space.n),), 0.0, 1.0)
        case gymnax_spaces.Box():
            return spaces.Box(tuple(space.shape))
    raise UsageError(f"observations are of kind {type(space).__name__}; give Box, Discrete, Dict or Tuple")


def _as_floats(space: Any, observation: Any) -> jax.Array:
    leaves = _leaves(space)
    if leaves is not None:
        pairs = zip(leaves, jax.tree.leaves(observation), strict=True)
        return jnp.concatenate([_as_floats(leaf, part).reshape(-1) for leaf, part in pairs])
    if isinstance(space, gymnax_spaces.Discrete):
        return jax.nn.one_hot(observation, space.n)
    return jnp.asarray(observation, jnp.float32)


def _leaves(space: Any) -> list[Any] | None:
    """Returns the spaces inside a Dict or Tuple, in the order of `jax.tree.leaves`; None for other spaces."""
    match space:
        case gymnax_spaces.Dict():
            parts = [space.spaces[name] for name in sorted(space.spaces)]
        case gymnax_spaces.Tuple():
            parts = list(space.spaces)
        case _:
            return None
    return [leaf for part in parts for leaf in _leaves(part) or [part]]


def _convert_action_space(space: Any) -> spaces.Space:
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Discrete(int(space.n))
        case gymnax_spaces.Tuple() if all(isinstance(part, gymnax_spaces.Discrete) for part in space.spaces):
            return spaces.MultiDiscrete(tuple(int(part.n) for part in space.spaces))  # pyright: ignore
        case gymnax_spaces.Box():
            shape = tuple(space.shape)
            low, high = (np.broadcast_to(np.asarray(x, float), shape) for x in (space.low, space.high))
            return spaces.Box((math.prod(shape),), tuple(low.ravel().tolist()), tuple(high.ravel().tolist()))
    raise UsageError(f"actions are of kind {type(space).__name__}; give Discrete, Box or a Tuple of Discrete")


def _as_gymnax_action(space: Any, action: jax.Array) -> Any:
    """Undoes what `_convert_action_space` did to the shape of an action."""
    match space:
        case gymnax_spaces.Box():
            return action.reshape(space.shape)
        case gymnax_spaces.Tuple():
            return tuple(action)
    return action
