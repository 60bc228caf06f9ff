"""The adapter to NAVIX.

Its own `step` resets one step after the end of an episode, so `_step` is used, which never does. Time limits
are its own, and it tells truncation from termination.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import jax

from ppo_jax.envs.adapting import Painter, check_counts, dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import RESET_POOL, Argument, Parameter
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.spaces import Discrete

with concretely():
    navix: Any = importlib.import_module("navix")

POOL = 256  # first states per rollout: a reset lays out a grid

# The environments of NAVIX, each with the reason why it cannot be trained on: none has one.
NAMES = dict.fromkeys(navix.registry(), "")


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of an environment of NAVIX.

    Args:
        name: A name such as "navix:Navix-Empty-5x5-v0".
        arguments: The most steps of an episode, `max_steps`, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    check_counts(given)
    with explained_by(name, arguments):
        with concretely():
            env = navix.make(id_, **given)
            num_actions = int(env.action_space.n)
        return dynamics_of(
            begin=lambda key: _without_images(env.reset(key)),
            advance=lambda key, timestep, action: _without_images(env._step(timestep, action)),
            tell=_tell,
            action_space=Discrete(num_actions),
            ours=ours,
        )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of NAVIX by name."""
    id_ = identify(name, NAMES)
    with concretely():
        limit = navix.make(id_).max_steps
    return {"max_steps": Parameter((int,), limit), RESET_POOL: Parameter((int,), POOL)}


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of an environment of NAVIX, from its tiles.

    The images that `_without_images` drops are made again: they depend on nothing but the walls.
    """
    identify(name, NAMES)
    make_images, rgb = navix.rendering.cache.RenderingCache.init, navix.observations.rgb
    return Painter(
        lambda timestep: rgb(timestep.state.replace(cache=make_images(timestep.state.grid))),
        is_traceable=True,
    )


def _without_images(timestep: Any) -> Any:
    """Drops what pictures are drawn from, tens of kilobytes for each copy."""
    return timestep.replace(state=timestep.state.replace(cache=None))


def _tell(timestep: Any) -> Transition:
    return Transition(
        observation=timestep.observation,
        reward=timestep.reward,
        terminated=timestep.is_termination(),
        truncated=timestep.is_truncation(),
    )
