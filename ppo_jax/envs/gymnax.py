"""gymnax 1.x behind the contract; the only module that imports it.

`step_env` is used rather than `step`, because `step` resets by itself and hides the successor.
`step_env` knows nothing of time limits (its `done` means terminated), so the limit is asked for
separately with `is_truncated`: otherwise CartPole would lose its 500-step limit.
"""

from functools import partial
from typing import Any

import gymnax
import jax
import jax.numpy as jnp

from ppo_jax.envs import spaces
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.errors import UsageError


def make_environment(name: str) -> Environment:
    """Makes a gymnax environment with its default parameters.

    Args:
        name: A registered name such as "CartPole-v1".

    Returns:
        The batched environment. Observations are float32.

    Raises:
        UsageError: If a space is of a kind this version does not implement.
    """
    # Some constructors branch on arrays, which they could not inside the trace of a caller's jit.
    with jax.ensure_compile_time_eval():
        env, params = gymnax.make(name)
        observation_space = _space(f"{name}: observations", env.observation_space(params))
        action_space = _space(f"{name}: actions", env.action_space(params))
    return make_batched(
        Dynamics(
            reset=partial(_reset, env, params),
            step=partial(_step, env, params),
            observation_space=observation_space,
            action_space=action_space,
        )
    )


def _reset(env: Any, params: Any, key: jax.Array) -> tuple[Any, jax.Array]:
    observation, state = env.reset_env(key, params)
    return state, jnp.asarray(observation, jnp.float32)


def _step(env: Any, params: Any, key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Transition]:
    observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
    return state, Transition(
        observation=jnp.asarray(observation, jnp.float32),
        reward=jnp.asarray(reward, jnp.float32),
        terminated=jnp.asarray(terminated, bool),
        truncated=jnp.asarray(env.is_truncated(state, params), bool),
    )


def _space(what: str, space: Any) -> spaces.Space:
    kind = type(space).__name__
    if kind == "Discrete":
        return spaces.Discrete(int(space.n))
    if kind == "Box":
        return spaces.Box(tuple(space.shape))
    raise UsageError(f"{what} are of kind {kind}, which is not implemented; use Discrete or Box")
