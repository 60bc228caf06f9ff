"""The adapter to XLand-MiniGrid.

Time limits are its own: an episode that ends with a discount of 0 was terminated, any other was truncated.
The environments named XLand-MiniGrid have no goal, and no reward, unless their library is given a ruleset.
"""

import dataclasses
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
    xminigrid: Any = importlib.import_module("xminigrid")

POOL = 256  # first states per rollout: a reset lays out a grid
NUMBERS = ("max_steps", "view_size", "height", "width")  # the parameters that may be given

# The environments, each with the reason why it cannot be trained on: none has one.
NAMES = dict.fromkeys(xminigrid.registered_environments(), "")


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of an environment of XLand-MiniGrid.

    Args:
        name: A name such as "xminigrid:MiniGrid-Empty-5x5".
        arguments: Values of its parameters, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    check_counts(given)
    with explained_by(name, arguments):
        with concretely():
            env, params = xminigrid.make(id_, **given)
        return dynamics_of(
            begin=lambda key: env.reset(params, key),
            advance=lambda key, timestep, action: env.step(params, timestep, action),
            tell=_tell,
            action_space=Discrete(env.num_actions(params)),
            ours=ours,
        )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of XLand-MiniGrid by name."""
    id_ = identify(name, NAMES)
    with concretely():
        _, params = xminigrid.make(id_)
    known = [field.name for field in dataclasses.fields(params)]
    own = {key: Parameter((int,), getattr(params, key)) for key in NUMBERS if key in known}
    return own | {RESET_POOL: Parameter((int,), POOL)}


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of an environment of XLand-MiniGrid, with its own tiles."""
    id_ = identify(name, NAMES)
    given, _ = split(name, arguments, parameters(name))
    with explained_by(name, arguments), concretely():
        env, params = xminigrid.make(id_, **given)
    return Painter(lambda timestep: env.render(params, timestep))


def _tell(timestep: Any) -> Transition:
    terminated = timestep.discount == 0
    return Transition(
        observation=timestep.observation,
        reward=timestep.reward,
        terminated=terminated,
        truncated=timestep.last() & ~terminated,
    )
