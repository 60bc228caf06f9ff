"""gymnax 1.x behind the contract; the only module that imports it.

`step_env` is used rather than `step`, because `step` resets by itself and hides the successor.
`step_env` knows nothing of time limits (its `done` means terminated), so the limit is asked for
separately with `is_truncated`: otherwise CartPole would lose its 500-step limit.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.envs import spaces
from ppo_jax.envs.deferred import deferred
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.errors import UsageError

# The first use of this package may be inside the trace of a caller's jit. Modules of gymnax make arrays when
# they are imported: these have to be real ones. What they draw pictures with takes three times as long to
# import as all the rest, and is put off until a picture is drawn.
with jax.ensure_compile_time_eval(), deferred("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import spaces as gymnax_spaces


def make_environment(name: str) -> Environment:
    """Makes a gymnax environment with its default parameters.

    Args:
        name: A registered name such as "CartPole-v1".

    Returns:
        The batched environment, as `wrap` makes it.

    Raises:
        UsageError: If it cannot be made, or a space is of a kind that is not implemented.
    """
    return make_batched(make_dynamics(name))


def make_dynamics(name: str) -> Dynamics:
    """Makes one copy of what `make_environment` makes many of: it does not reset itself.

    Args:
        name: A registered name such as "CartPole-v1".

    Raises:
        UsageError: If it cannot be made, or a space is of a kind that is not implemented.
    """
    # Some constructors branch on arrays, which they could not inside the trace of a caller's jit.
    with jax.ensure_compile_time_eval():
        try:
            env, params = gymnax.make(name)
        except OSError as error:  # MNISTBandit-bsuite downloads its data set
            raise UsageError(
                f"env = {name!r} cannot be made: it needs data that could not be downloaded ({error}); "
                "connect to the network once, or choose another"
            ) from error
        return _dynamics(env, params)


def make_visualizer(name: str, states: Sequence[Any]) -> Any:
    """Makes gymnax's own visualizer, which draws states one at a time into a figure of pyplot.

    Args:
        name: Of an environment that gymnax has a picture of; of others it draws empty axes.
        states: Of one copy, in order.

    Returns:
        A `Visualizer`, of which `init()` and `update(index)` draw into its `fig`.
    """
    from gymnax.visualize import Visualizer  # takes as long to import as all the rest

    env, params = gymnax.make(name)
    return Visualizer(env, params, states)


def wrap(env: Any, params: Any) -> Environment:
    """Puts a gymnax environment behind the contract.

    Observations become float32 arrays. An array keeps its shape; a number out of n becomes n numbers, a
    single 1 among zeros; a PyTree becomes one axis, its leaves in the order of `jax.tree.leaves` (keys of
    dictionaries are sorted), each turned into numbers in the same way and flattened in row-major order.

    Args:
        env: An instance of a class of gymnax environments.
        params: Its parameters.

    Returns:
        The batched environment.

    Raises:
        UsageError: If a space is of a kind that is not implemented.
    """
    return make_batched(_dynamics(env, params))


def _dynamics(env: Any, params: Any) -> Dynamics:
    observation_space, action_space = env.observation_space(params), env.action_space(params)
    return Dynamics(
        reset=partial(_reset, env, params, observation_space),
        step=partial(_step, env, params, observation_space, action_space),
        observation_space=_box(observation_space),
        action_space=_action_space(action_space),
    )


def _reset(env: Any, params: Any, space: Any, key: jax.Array) -> tuple[Any, jax.Array]:
    with jax.numpy_rank_promotion("allow"):  # some environments rely on it
        observation, state = env.reset_env(key, params)
    return state, _as_floats(space, observation)


def _step(
    env: Any, params: Any, space: Any, action_space: Any, key: jax.Array, state: Any, action: jax.Array
) -> tuple[Any, Transition]:
    action = _as_action(action_space, action)
    with jax.numpy_rank_promotion("allow"):
        observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
    return state, Transition(
        observation=_as_floats(space, observation),
        reward=jnp.asarray(reward, jnp.float32),
        terminated=jnp.asarray(terminated, bool),
        truncated=jnp.asarray(env.is_truncated(state, params), bool),
    )


def _parts(space: Any) -> list[Any] | None:
    """The spaces in a space of several, in the order of `jax.tree.leaves`; None of a single one."""
    match space:
        case gymnax_spaces.Dict():
            return [space.spaces[name] for name in sorted(space.spaces)]
        case gymnax_spaces.Tuple():
            return list(space.spaces)
    return None


def _leaves(space: Any) -> list[Any]:
    parts = _parts(space)
    return [space] if parts is None else [leaf for part in parts for leaf in _leaves(part)]


def _box(space: Any) -> spaces.Box:
    """The space of what `_as_floats` makes of an observation."""
    if _parts(space) is not None:
        return spaces.Box((sum(math.prod(_box(leaf).shape) for leaf in _leaves(space)),))
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Box((int(space.n),), 0.0, 1.0)
        case gymnax_spaces.Box():
            return spaces.Box(tuple(space.shape))
    raise UsageError(f"observations are of kind {type(space).__name__}; give Box, Discrete, Dict or Tuple")


def _as_floats(space: Any, observation: Any) -> jax.Array:
    if _parts(space) is None:
        one_hot = isinstance(space, gymnax_spaces.Discrete)
        return jax.nn.one_hot(observation, space.n) if one_hot else jnp.asarray(observation, jnp.float32)
    pairs = zip(_leaves(space), jax.tree.leaves(observation), strict=True)
    return jnp.concatenate([_as_floats(leaf, part).reshape(-1) for leaf, part in pairs])


def _action_space(space: Any) -> spaces.Space:
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Discrete(int(space.n))
        case gymnax_spaces.Tuple() if all(isinstance(part, gymnax_spaces.Discrete) for part in space.spaces):
            return spaces.MultiDiscrete(tuple(int(part.n) for part in space.spaces))  # pyright: ignore
        case gymnax_spaces.Box():
            shape = tuple(space.shape)
            return spaces.Box((math.prod(shape),), _bound(space.low, shape), _bound(space.high, shape))
    raise UsageError(f"actions are of kind {type(space).__name__}; give Discrete, Box or a Tuple of Discrete")


def _bound(bound: Any, shape: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(np.broadcast_to(np.asarray(bound, float), shape).ravel().tolist())


def _as_action(space: Any, action: jax.Array) -> Any:
    """Undoes what `_action_space` did to the shape of an action."""
    match space:
        case gymnax_spaces.Box():
            return action.reshape(space.shape)
        case gymnax_spaces.Tuple():
            return tuple(action)
    return action
