"""The adapter to Craftax and Craftax-Classic.

Craftax reports its time limit as the end of the game. Here its own limit is out of reach, and one of ours
with the same number of steps truncates. A reset makes a whole world, so first states come from a small pool.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.envs.adapting import Painter, explained_by, identify, split
from ppo_jax.envs.arguments import RESET_POOL, TIME_LIMIT, Argument, Parameter, parameter
from ppo_jax.envs.concrete import concretely, usual_modes
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.envs.limits import limited
from ppo_jax.spaces import Box, Discrete

with concretely():
    craftax_env: Any = importlib.import_module("craftax.craftax_env")

POOL = 32  # first states per rollout: each takes a whole world
UNREACHABLE = 2**31 - 1  # steps
# The games, each with the reason why it cannot be trained on: none has one.
NAMES: dict[str, str] = {
    "Craftax-Classic-Symbolic-v1": "",
    "Craftax-Classic-Pixels-v1": "",
    "Craftax-Symbolic-v1": "",
    "Craftax-Pixels-v1": "",
}


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of a game of Craftax.

    An achievement is a metric that is 1 in the step in which it is reached for the first time in an episode.

    Args:
        name: A name such as "craftax:Craftax-Classic-Symbolic-v1".
        arguments: Values of its parameters, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    with explained_by(name, arguments), concretely():
        env = craftax_env.make_craftax_env_from_name(id_, auto_reset=False)
        params = env.default_params.replace(**given, max_timesteps=UNREACHABLE)
        shape = env.observation_space(params).shape
        # Importing the constants of a game loads its pictures, so it is done for the game that was asked for.
        game = "craftax_classic" if "Classic" in id_ else "craftax"
        known = importlib.import_module(f"craftax.{game}.constants").Achievement
    achievements = {f"achievement_{one.name.lower()}": one.value for one in known}

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        with usual_modes():
            observation, state = env.reset_env(key, params)
        return state, observation

    def step(key: jax.Array, before: Any, action: jax.Array) -> tuple[Any, Transition]:
        with usual_modes():
            observation, state, reward, terminated, _ = env.step_env(key, before, action, params)
        reached = state.achievements.astype(jnp.float32) - before.achievements
        return state, Transition(
            observation=observation,
            reward=jnp.asarray(reward, jnp.float32),
            terminated=terminated,
            truncated=jnp.array(False),
            metrics={metric: reached[index] for metric, index in achievements.items()},
        )

    dynamics = Dynamics(
        reset=reset,
        step=step,
        observation_space=Box(shape),
        action_space=Discrete(env.num_actions),
        reset_pool=ours[RESET_POOL],
    )
    return limited(dynamics, ours[TIME_LIMIT])


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of a game of Craftax, as a person who plays it sees them."""
    game = "craftax_classic" if "Classic" in identify(name, NAMES) else "craftax"
    with concretely():
        size = importlib.import_module(f"craftax.{game}.constants").BLOCK_PIXEL_SIZE_HUMAN
        renderer: Any = importlib.import_module(f"craftax.{game}.renderer")
        render = renderer.make_craftax_pixel_renderer(size)
    return Painter(lambda state: jnp.clip(render(state), 0, 255).astype(jnp.uint8), is_traceable=True)


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of a game of Craftax by name."""
    id_ = identify(name, NAMES)
    with concretely():
        params = craftax_env.make_craftax_env_from_name(id_, auto_reset=False).default_params
    found = {
        field.name: parameter(field.type, getattr(params, field.name))
        for field in dataclasses.fields(params)
        if field.name != "max_timesteps"
    }
    return {
        **found,
        TIME_LIMIT: Parameter((int,), params.max_timesteps),
        RESET_POOL: Parameter((int,), POOL),
    }
