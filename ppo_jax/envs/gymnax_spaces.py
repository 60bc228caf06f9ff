"""Translates gymnax's spaces, observations and actions to those of this package."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnax.environments import spaces as gymnax_spaces
from jax.core import Tracer

from ppo_jax import spaces
from ppo_jax.errors import UsageError


def observation_space_of(space: Any) -> spaces.Box:
    """Returns the space of the observations that `as_floats` returns.

    Raises:
        UsageError: If the space is empty, or of a kind that is not implemented.
    """
    parts = _parts(space)
    if parts is not None:
        sizes = [math.prod(observation_space_of(part).shape) for part in parts.values()]
        return spaces.Box((sum(sizes),))
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Box((_at_least_1("observations", space, space.n),), 0.0, 1.0)
        case gymnax_spaces.Box():
            return spaces.Box(_shape("observations", space))
    raise UsageError(f"observations are of kind {type(space).__name__}; give Box, Discrete, Dict or Tuple")


def as_floats(space: Any, observation: Any) -> jax.Array:
    """Returns an observation as an array of float32, as `wrap` of `ppo_jax.envs.gymnax` describes it.

    Raises:
        UsageError: If the parts of a Dict or a Tuple do not agree with their space.
    """
    parts = _parts(space)
    if parts is not None:
        values = _values(space, observation)
        if values.keys() != parts.keys():
            raise UsageError(
                f"an observation has the parts {', '.join(map(str, values))}, but its space has "
                f"{', '.join(map(str, parts))}; make them agree"
            )
        return jnp.concatenate([as_floats(part, values[name]).reshape(-1) for name, part in parts.items()])
    if isinstance(space, gymnax_spaces.Discrete):
        number = jnp.asarray(observation)
        vector = jax.nn.one_hot(number, space.n)
        # A number that is not in the space would become zeros; NaN is noticed, and stops the run.
        return jnp.where((number >= 0) & (number < space.n), vector, jnp.nan)
    return jnp.asarray(observation, jnp.float32)


def action_space_of(space: Any) -> spaces.Space:
    """Returns the space of the actions that `as_gymnax_action` takes.

    Raises:
        UsageError: If the space is empty, or of a kind that is not implemented.
    """
    match space:
        case gymnax_spaces.Discrete():
            return spaces.Discrete(_at_least_1("actions", space, space.n))
        case gymnax_spaces.Tuple() if all(isinstance(part, gymnax_spaces.Discrete) for part in space.spaces):
            nums = tuple(_at_least_1("actions", part, part.n) for part in space.spaces)  # pyright: ignore
            return spaces.MultiDiscrete(nums)
        case gymnax_spaces.Box():
            shape = _shape("actions", space)
            low, high = (_bounds(bound, shape) for bound in (space.low, space.high))
            return spaces.Box((math.prod(shape),), low, high)
    raise UsageError(f"actions are of kind {type(space).__name__}; give Discrete, Box or a Tuple of Discrete")


def as_gymnax_action(space: Any, action: jax.Array) -> Any:
    """Returns an action as gymnax takes it: with the shape, the type and the parts of its own space."""
    match space:
        case gymnax_spaces.Box():
            shaped = action.reshape(_shape("actions", space))
            is_whole = np.issubdtype(space.dtype, np.integer)
            return jnp.round(shaped).astype(space.dtype) if is_whole else shaped
        case gymnax_spaces.Tuple():
            return tuple(action)
    return action


def _parts(space: Any) -> dict[Any, Any] | None:
    """Returns the spaces inside a Dict (by name, sorted) or a Tuple (by position); None for other spaces."""
    match space:
        case gymnax_spaces.Dict():
            return {name: space.spaces[name] for name in sorted(space.spaces)}
        case gymnax_spaces.Tuple():
            return dict(enumerate(space.spaces))
    return None


def _values(space: Any, observation: Any) -> dict[Any, Any]:
    """Returns the parts of an observation by the names or positions of the spaces that they belong to."""
    if isinstance(space, gymnax_spaces.Tuple):
        return dict(enumerate(observation))
    if isinstance(observation, Mapping):
        return dict(observation)
    if dataclasses.is_dataclass(observation):
        return {field.name: getattr(observation, field.name) for field in dataclasses.fields(observation)}
    if hasattr(observation, "_asdict"):  # a NamedTuple
        return observation._asdict()
    raise UsageError(
        f"an observation of a Dict space is a {type(observation).__name__}; give a dictionary, a NamedTuple "
        "or a dataclass with the names of the space"
    )


def _bounds(bound: Any, shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Returns the bounds of all elements, which may be traced as parameters of the environment."""
    if isinstance(bound, Tracer):
        return tuple(jnp.broadcast_to(bound, shape).ravel())
    return tuple(np.broadcast_to(np.asarray(bound, float), shape).ravel().tolist())


def _shape(what: str, space: Any) -> tuple[int, ...]:
    """Returns the shape of a Box, which may be given as a number."""
    sizes = space.shape if isinstance(space.shape, Iterable) else (space.shape,)
    return tuple(_at_least_1(what, space, size) for size in sizes)


def _at_least_1(what: str, space: Any, size: Any) -> int:
    if int(size) < 1:
        raise UsageError(f"{what} are of {type(space).__name__} with a size of {size}; give at least 1")
    return int(size)
