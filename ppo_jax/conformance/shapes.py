"""Do shapes and dtypes fit the spaces and each other? Functions are traced to find out, and nothing runs."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.envs.environment import Environment, Observation, TimeStep, actor_features, legal_actions
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import num_outputs
from ppo_jax.spaces import Box, Discrete, MultiDiscrete, Space

DRAWN_STEPS = 7  # steps drawn at once; not a number of copies that is tried, so that axes can be told apart


def shape_problems(environment: Environment, num_envs: int) -> Iterator[str]:
    """Finds what `reset`, `draw` and `step` return in a wrong shape or dtype.

    Args:
        environment: The environment, whose spaces are right.
        num_envs: The number of copies to ask for.

    Yields:
        The problems, each in a sentence that says what to do.

    Raises:
        UsageError: If a function cannot be traced, or is not pure.
    """
    key = jax.random.key(0)
    first = _shapes_of("reset", environment.reset, num_envs, key)
    if not (isinstance(first, tuple) and len(first) == 2):
        yield "reset does not return (state, observation)"
        return
    state, observation = first
    drawn = _shapes_of("draw", environment.draw_steps, DRAWN_STEPS, num_envs, key)
    problems = [
        *_observation_problems(environment, "reset", num_envs, observation),
        *_draw_problems(environment, num_envs, drawn),
    ]
    if problems:
        yield from problems
        return

    of_one_step = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), drawn)
    action = _action_shape(environment.action_space, num_envs)
    stepped = _shapes_of("step", environment.step, of_one_step, state, action)
    if not (isinstance(stepped, tuple) and len(stepped) == 2 and isinstance(stepped[1], TimeStep)):
        yield "step does not return (state, TimeStep)"
        return
    next_state, time_step = stepped
    for name in ("observation", "final_observation"):
        yield from _observation_problems(environment, f"step, {name}", num_envs, getattr(time_step, name))
    for name, dtype in (("reward", jnp.float32), ("terminated", bool), ("truncated", bool)):
        yield from _array_problems(f"step, {name}", getattr(time_step, name), (num_envs,), dtype)
    yield from _layout_problems("state from step", state, next_state)
    yield from _layout_problems("observation from step", observation, time_step.observation)
    yield from _layout_problems("observation from step", observation, time_step.final_observation)
    if environment.pool is not None:
        refilled = _shapes_of("pool.refill", environment.pool.refill, key, state)
        yield from _layout_problems("state from pool.refill", state, refilled)
        repeated = _shapes_of("pool.repeated", environment.pool.repeated, state)
        yield from _array_problems("pool.repeated", repeated, (), jnp.int32)


def _shapes_of(name: str, function: Callable, *arguments: Any) -> Any:
    """Returns the shapes of what a function returns; it is traced twice, to see whether it is pure.

    Args:
        name: The name of the function in messages.
        function: The function.
        *arguments: Arrays or their shapes; integers are static.
    """
    static = [i for i, argument in enumerate(arguments) if isinstance(argument, int)]

    def words(constant: Any) -> bytes:
        is_key = jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
        return np.asarray(jax.random.key_data(constant) if is_key else constant).tobytes()

    def trace() -> tuple[Any, Any]:
        # JAX remembers what it has traced; a new `partial` is a function that it does not know yet.
        program = jax.make_jaxpr(partial(function), static, return_shape=True)
        closed, shapes = program(*arguments)
        text = re.sub(r"0x[0-9a-f]+", "", str(closed))  # addresses mean nothing
        return (text, list(map(words, closed.consts))), shapes

    try:
        (program, shapes), (again, _) = trace(), trace()
    except Exception as error:  # whatever the author's code raises is their mistake to mend
        raise UsageError(f"{name} cannot be compiled: {first_line(error)}") from error
    if program != again:
        raise UsageError(
            f"{name} is not a pure function: each time it is traced, it is another program; draw random "
            "numbers with jax.random from the key, and keep what changes in the state"
        )
    return shapes


def first_line(error: Exception) -> str:
    """Returns the kind of an error and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip()}".split("\n")[0]


def _action_shape(space: Space, num_envs: int) -> jax.ShapeDtypeStruct:
    match space:
        case Discrete():
            return jax.ShapeDtypeStruct((num_envs,), jnp.int32)
        case MultiDiscrete(nums):
            return jax.ShapeDtypeStruct((num_envs, len(nums)), jnp.int32)
        case Box(shape):
            return jax.ShapeDtypeStruct((num_envs, *shape), jnp.float32)


def _observation_problems(
    environment: Environment, name: str, num_envs: int, observation: Any
) -> Iterator[str]:
    seen = actor_features(observation)
    shape = (num_envs, *environment.observation_space.shape)  # pyright: ignore  a Box, as was checked before
    yield from _array_problems(f"{name}, features", seen, shape, jnp.float32)

    legal = legal_actions(observation)
    if legal is not None and isinstance(environment.action_space, Box):
        yield f"{name}, legal_actions are given for a Box of actions, which are clipped and never masked"
    elif legal is not None:
        shape = (num_envs, num_outputs(environment.action_space))
        yield from _array_problems(f"{name}, legal_actions", legal, shape, bool)

    privileged = observation.privileged if isinstance(observation, Observation) else None
    space: Any = environment.privileged_space
    if (privileged is None) != (space is None):
        yield f"{name}, privileged and privileged_space go together, but one of them is None"
    elif space is not None:
        shape = (num_envs, *space.shape)
        yield from _array_problems(f"{name}, privileged", privileged, shape, jnp.float32)


def _draw_problems(environment: Environment, num_envs: int, drawn: Any) -> Iterator[str]:
    """Finds what is wrong with DRAWN_STEPS steps that were drawn at once."""
    call = f"draw({DRAWN_STEPS}, {num_envs}, key)"
    for leaf in jax.tree.leaves(drawn):
        if leaf.shape[:1] != (DRAWN_STEPS,):
            yield (
                f"{call} returns {leaf.dtype}{list(leaf.shape)}, whose first axis is not that of the "
                f"{DRAWN_STEPS} steps; give every array this axis: `step` receives one row of it"
            )
            return
    alone = _shapes_of("draw", environment.draw_steps, 1, num_envs, jax.random.key(0))
    alone, among_others = _layout(alone, first_axis=1), _layout(drawn, first_axis=1)
    if alone != among_others:
        yield (
            f"one step of {call} has another structure, other shapes or other dtypes than that of "
            f"draw(1, {num_envs}, key): {among_others}, not {alone}"
        )


def _array_problems(name: str, array: Any, shape: tuple[int, ...], dtype: Any) -> Iterator[str]:
    if not hasattr(array, "shape"):
        yield f"{name} is a {type(array).__name__}; give an array, or an `Observation` of arrays"
    elif (array.shape, array.dtype) != (shape, dtype):
        yield f"{name} is {array.dtype}{list(array.shape)}, not {np.dtype(dtype)}{list(shape)}"


def _layout_problems(name: str, from_reset: Any, other: Any) -> Iterator[str]:
    before, after = _layout(from_reset), _layout(other)
    if before != after:
        yield (
            f"the {name} has another structure, other shapes or other dtypes than that from "
            f"reset: {after}, not {before}"
        )


def _layout(tree: Any, first_axis: int = 0) -> Any:
    """Returns the structure of a tree, and dtype and shape of its leaves from some axis on."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, [f"{leaf.dtype}{list(leaf.shape[first_axis:])}" for leaf in leaves]
