"""The adapter to Jumanji.

Most of Jumanji's environments report their time limit as the end of the task. They are made with a limit
that is one step beyond, and one of ours truncates. What counts their steps is then no part of the task's
state, and is left out of observations.

Where a mask allows nothing, as for an agent that has arrived or cannot move, everything is allowed: Jumanji
goes on, and ignores what is illegal.

Observations of several parts are flattened in row-major order and joined, in the order in which Jumanji
declares them, without the mask of legal actions; a single part keeps its shape. Several agents are trained as
one, which takes the actions of all: their observations are joined and their rewards are added.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from ppo_jax.envs.adapting import Painter, dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import RESET_POOL, TIME_LIMIT, Argument, Parameter, named_parameters_of
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Observation, Transition
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete, MultiDiscrete, Space

with concretely():
    jumanji: Any = importlib.import_module("jumanji")

DRAWN_FROM_JAX = ("Maze-v0", "PacMan-v1")  # their viewers call methods that arrays of NumPy do not have
NOT_DRAWN = {"MMST-v0": "Jumanji's viewer leaves its picture empty"}
POOL = 256  # first states per rollout: many resets make a whole instance of a problem
MASK = "action_mask"
DOWNLOADED = ("Sokoban-v0",)  # their levels, when they are made
NOT_SEEN = (MASK, "step_count", "step")  # parts of observations that are left out

# The environments of Jumanji, each with the reason why it cannot be trained on: none has one.
NAMES = dict.fromkeys(sorted(jumanji.registered_environments()), "")


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of an environment of Jumanji.

    Args:
        name: A name such as "jumanji:Snake-v1".
        arguments: Arguments of its constructor, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or its actions are of a kind that is
            not implemented.
    """
    id_ = identify(name, NAMES)
    given, ours = split(name, arguments, parameters(name))
    if ours.get(TIME_LIMIT) is not None and TIME_LIMIT in named_parameters_of(_kind_of(id_)):
        given[TIME_LIMIT] = ours[TIME_LIMIT] + 1
    with explained_by(name, arguments):
        with concretely():
            env = _make(id_, given)
            spec = env.action_spec
            _, first = jax.eval_shape(env.reset, jax.random.key(0))
        space, as_jumanji_action = _actions(spec, getattr(first.observation, MASK, None))
        return dynamics_of(
            begin=env.reset,
            advance=lambda key, state, action: env.step(state[0], as_jumanji_action(action)),
            tell=lambda state: _tell(space, state),
            action_space=space,
            ours=ours,
        )


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of an environment of Jumanji, with the viewer that it brings.

    The viewer draws into a figure of pyplot, whose backend should be one that opens no window.

    Raises:
        UsageError: If it cannot be drawn or made, or an argument does not fit it.
    """
    id_ = identify(name, NAMES)
    if id_ in NOT_DRAWN:
        raise UsageError(f"env = {name!r} cannot be drawn: {NOT_DRAWN[id_]}; choose another")
    given, _ = split(name, arguments, parameters(name))
    with explained_by(name, arguments), concretely():
        env = _make(id_, given)
    viewer = next(x for x in vars(env).values() if isinstance(x, jumanji.viewer.MatplotlibViewer))
    drawn: list[np.ndarray] = []
    # The default shows a window. A picture is kept here because `render` does not return it everywhere.
    viewer._display = lambda figure: drawn.append(viewer._display_rgb_array(figure))

    def paint(state: Any) -> np.ndarray:
        env.render(jax.tree.map(jnp.asarray, state[0]) if id_ in DRAWN_FROM_JAX else state[0])
        return drawn.pop()[..., :3]

    return Painter(paint)


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of Jumanji by name, those of its constructor first."""
    id_ = identify(name, NAMES)
    limit = None
    found = named_parameters_of(_kind_of(id_))
    if TIME_LIMIT in found:
        with explained_by(name, {}), concretely():
            limit = _make(id_, {}).time_limit
    return {**found, TIME_LIMIT: Parameter((int,), limit), RESET_POOL: Parameter((int,), POOL)}


def _kind_of(id_: str) -> type:
    """Returns the class of an environment."""
    return jumanji.registration.load(jumanji.registration._REGISTRY[id_].entry_point)


def _make(id_: str, given: Mapping[str, Any]) -> Any:
    try:
        return jumanji.make(id_, **given)
    except Exception as error:
        if id_ not in DOWNLOADED:
            raise
        raise UsageError("Jumanji downloads its levels when it is made, which failed") from error


def _tell(space: Space, state: Any) -> Transition:
    _, timestep = state
    leaves, _ = tree_flatten_with_path(timestep.observation)
    parts = [part for path, part in leaves if keystr(path).strip(".") not in NOT_SEEN]
    if len(parts) > 1:
        parts = [jnp.concatenate([jnp.asarray(part, jnp.float32).reshape(-1) for part in parts])]
    mask = getattr(timestep.observation, MASK, None)
    terminated = timestep.last() & (timestep.discount == 0).all()
    return Transition(
        observation=parts[0] if mask is None else Observation(parts[0], legal_actions=_legal(space, mask)),
        reward=timestep.reward.sum(),
        terminated=terminated,
        truncated=timestep.last() & ~terminated,
    )


def _legal(space: Space, mask: jax.Array) -> jax.Array:
    """Returns the mask of legal actions, [num_outputs]; all are legal where Jumanji allows none.

    Args:
        space: The space of actions.
        mask: Jumanji's mask: a row for each component of a `MultiDiscrete`, of any shape for a `Discrete`.
    """
    is_possible = mask.any(axis=-1, keepdims=True) if isinstance(space, MultiDiscrete) else mask.any()
    return (mask | ~is_possible).reshape(-1)


def _actions(spec: Any, mask: Any) -> tuple[Space, Callable[[jax.Array], jax.Array]]:
    """Returns the space of actions, and a function that returns an action as Jumanji takes it.

    Where a mask says which combinations of several numbers are legal, an action numbers a combination.

    Raises:
        UsageError: If the actions are of a kind that is not implemented.
    """
    if isinstance(spec, jumanji.specs.DiscreteArray):
        return Discrete(int(spec.num_values)), lambda action: action.astype(spec.dtype)
    if not np.issubdtype(spec.dtype, np.integer):
        low, high = (np.broadcast_to(x, spec.shape).ravel().tolist() for x in (spec.minimum, spec.maximum))
        space = Box((math.prod(spec.shape),), tuple(low), tuple(high))
        return space, lambda action: action.reshape(spec.shape)
    if isinstance(spec, jumanji.specs.MultiDiscreteArray):
        nums = tuple(np.asarray(spec.num_values).ravel().tolist())
    else:  # the bounds of MultiCVRP hold one number more than there are places to go to
        nums = (mask.shape[1],) * mask.shape[0]
    if mask is not None and mask.shape == nums:
        size = math.prod(nums)
        return Discrete(size), lambda action: jnp.stack(jnp.unravel_index(action, nums)).astype(spec.dtype)
    if mask is not None and (mask.ndim != 2 or (mask.shape[1],) * mask.shape[0] != nums):
        raise UsageError(f"its mask of shape {list(mask.shape)} does not fit actions of {nums}")
    return MultiDiscrete(nums), lambda action: action.reshape(spec.shape).astype(spec.dtype)
