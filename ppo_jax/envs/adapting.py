"""Shared parts of the adapters to libraries of environments: names, arguments, and errors."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.envs.arguments import RESET_POOL, TIME_LIMIT, Argument, Parameter, bind
from ppo_jax.envs.concrete import usual_modes
from ppo_jax.envs.environment import Dynamics, Observation, Transition, in_float32
from ppo_jax.envs.limits import limited
from ppo_jax.errors import UsageError, closest


class Painter(NamedTuple):
    """Draws states of an environment.

    Attributes:
        paint: `paint(state)` returns a picture, [height, width, 3] uint8.
        is_traceable: Whether it consists of operations of JAX, which are slow unless they are compiled.
    """

    paint: Callable[[Any], Any]
    is_traceable: bool = False


def identify(name: str, known: Mapping[str, str]) -> str:
    """Returns the name that an environment has in its library.

    Args:
        name: The name with the library in front, such as "brax:ant".
        known: The names of the library, each with the reason why it cannot be trained on, or "".

    Raises:
        UsageError: If the library has no environment of that name, or it cannot be trained on.
    """
    library, _, id_ = name.partition(":")
    if id_ not in known:
        usable = [one for one, reason in known.items() if not reason]
        raise UsageError(f"env = {name!r} is not one of {library}'s; {closest(id_, usable)}")
    if reason := known[id_]:
        raise UsageError(f"env = {name!r} cannot be trained on: {reason}; choose another")
    return id_


def split(
    name: str, arguments: Mapping[str, Argument], parameters: Mapping[str, Parameter]
) -> tuple[dict[str, Argument], dict[str, Any]]:
    """Splits arguments into those of the library and ours, which are completed by their defaults.

    Args:
        name: The name of the environment.
        arguments: The arguments by name.
        parameters: The parameters that it takes.

    Raises:
        UsageError: With every argument that it does not take.
    """
    given = bind(name, arguments, parameters)
    known = [key for key in (TIME_LIMIT, RESET_POOL) if key in parameters]
    ours = {key: given.pop(key, parameters[key].default) for key in known}
    return given, ours


def check_counts(given: Mapping[str, Any]) -> None:
    """Makes sure that arguments which count something, such as steps or cells, are at least 1.

    Raises:
        UsageError: If one of them is not.
    """
    for key, value in given.items():
        if value < 1:
            raise UsageError(f"{key} = {value} is not at least 1; give a larger one")


def dynamics_of(
    begin: Callable[[jax.Array], Any],
    advance: Callable[[jax.Array, Any, jax.Array], Any],
    tell: Callable[[Any], Transition],
    action_space: spaces.Space,
    ours: Mapping[str, Any],
) -> Dynamics:
    """Makes one copy of an environment whose state tells all about the step that led to it.

    Args:
        begin: `begin(key) -> state`, the first state of an episode.
        advance: `advance(key, state, action) -> state`, the successor, before any reset.
        tell: `tell(state) -> Transition`, what is to be said of the step that led to a state. Of a first
            state only the observation is used.
        action_space: The space of one action.
        ours: The time limit and the pool that were asked for, the second result of `split`.

    Raises:
        UsageError: If the time limit is less than 1.
    """

    def reset(key: jax.Array) -> tuple[Any, Any]:
        with usual_modes():
            state = begin(key)
            return state, in_float32(tell(state).observation)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Transition]:
        with usual_modes():
            state = advance(key, state, action)
            told = tell(state)
        return state, told._replace(
            observation=in_float32(told.observation),
            reward=jnp.asarray(told.reward, jnp.float32),
            terminated=jnp.asarray(told.terminated, bool),
            truncated=jnp.asarray(told.truncated, bool),
        )

    _, first = jax.eval_shape(reset, jax.random.key(0))
    seen = first if isinstance(first, Observation) else Observation(first)

    dynamics = Dynamics(
        reset=reset,
        step=step,
        observation_space=spaces.Box(seen.features.shape),
        action_space=action_space,
        privileged_space=None if seen.privileged is None else spaces.Box(seen.privileged.shape),
        reset_pool=ours.get(RESET_POOL),
    )
    return limited(dynamics, ours.get(TIME_LIMIT))


@contextmanager
def explained_by(name: str, arguments: Mapping[str, Argument]) -> Iterator[None]:
    """Explains whatever a constructor or a first step may raise by the arguments that were given.

    Args:
        name: The name of the environment.
        arguments: The arguments by name.

    Raises:
        UsageError: If the block raises anything.
    """
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        shown = ", ".join(f"{key} = {value!r}" for key, value in arguments.items()) or "its defaults"
        raise UsageError(f"env = {name!r} does not work with {shown}: {reason.splitlines()[0]}") from error


def trace(dynamics: Dynamics) -> None:
    """Traces a first step: raises whatever is wrong with the arguments that made the environment."""
    key = jax.random.key(0)
    state, _ = jax.eval_shape(dynamics.reset, key)
    jax.eval_shape(dynamics.step, key, state, spaces.zeros(dynamics.action_space))
