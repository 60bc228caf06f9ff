"""The adapter to gymnax 1.x; the only module that imports it.

It uses `step_env` rather than `step`, because `step` resets by itself and hides the successor. `step_env`
knows nothing of time limits (its `done` means terminated), so the adapter asks `is_truncated` for the
limit: otherwise CartPole would lose its 500-step limit.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.envs.arguments import Argument, Parameter, bind, parameter, parameters_of
from ppo_jax.envs.deferred import deferred
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.errors import UsageError, closest

# A caller's jit may be tracing when gymnax is imported. Its modules make arrays at import, which have to be
# concrete arrays rather than tracers. The libraries that gymnax draws with take three times as long to import
# as everything else, so they are deferred until a picture is drawn.
with jax.ensure_compile_time_eval(), deferred("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import environment as gymnax_environment
    from gymnax.environments import spaces as gymnax_spaces


# Parameters of gymnax that follow from others; gymnax itself keeps the old value if only the others change.
_DERIVED: dict[str, dict[str, Callable[[Any], float]]] = {
    "CartPole": {
        "total_mass": lambda params: params.masscart + params.masspole,
        "polemass_length": lambda params: params.masspole * params.length,
    },
}


def make_dynamics(name: str, arguments: Mapping[str, Argument]) -> Dynamics:
    """Makes one copy of a gymnax environment.

    Args:
        name: A registered name such as "CartPole-v1", or "gymnax:CartPole-v1".
        arguments: Arguments of its constructor and values of its parameters, by name.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or a space is of a kind that is not
            implemented.
    """
    return _adapt(*_make(name, arguments))


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of a gymnax environment by name, those of its constructor first."""
    env, defaults = _make(name, {})
    return {**(parameters_of(type(env)) or {}), **_parameters_of_record(defaults)}


def is_environment(thing: Any) -> bool:
    """Whether something is a gymnax class, or an instance of one."""
    kind = thing if isinstance(thing, type) else type(thing)
    return issubclass(kind, gymnax_environment.Environment)


def adapt(name: str, thing: Any, arguments: Mapping[str, Argument]) -> Dynamics:
    """Makes one copy of a user's own gymnax environment.

    Args:
        name: The name under which the user registered it.
        thing: The class or an instance.
        arguments: Arguments of the constructor (of a class) and values of the parameters, by name.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or a space is of a kind that is not
            implemented.
    """
    if isinstance(thing, type):
        return _adapt(*_configure(name, thing, thing, arguments))
    return _adapt(*_configure(name, None, lambda: thing, arguments))


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


def make_visualizer(name: str, arguments: Mapping[str, Argument], states: Sequence[Any]) -> Any:
    """Makes gymnax's own visualizer, which draws one state at a time into a pyplot figure.

    Args:
        name: The name of an environment that gymnax can draw; for others it draws empty axes.
        arguments: Arguments of its constructor and values of its parameters, by name.
        states: The states of one copy, in order.

    Returns:
        A `Visualizer`, whose `init()` and `update(index)` draw into its `fig`.
    """
    from gymnax.visualize import Visualizer  # imports the libraries that gymnax draws with

    return Visualizer(*_make(name, arguments), states)


def _make(name: str, arguments: Mapping[str, Argument]) -> tuple[Any, Any]:
    """Makes a registered environment and its parameters."""
    id_ = name.removeprefix("gymnax:")
    if id_ not in gymnax.registered_envs:
        raise UsageError(f"env = {name!r} is not one of gymnax's; {closest(id_, gymnax.registered_envs)}")
    # Some constructors branch on arrays, which is impossible while a caller's jit is tracing.
    with jax.ensure_compile_time_eval():
        try:
            env, params = gymnax.make(id_)
        except OSError as error:  # MNISTBandit-bsuite downloads its data set
            raise UsageError(
                f"env = {name!r} cannot be made: it needs data that could not be downloaded ({error}); "
                "connect to the network once, or choose another"
            ) from error
    if not arguments:
        return env, params
    return _configure(name, type(env), lambda **given: gymnax.make(id_, **given)[0], arguments)


def _configure(
    name: str, kind: type | None, make: Callable[..., Any], arguments: Mapping[str, Argument]
) -> tuple[Any, Any]:
    """Makes an environment and its parameters from arguments of its constructor and values of parameters.

    Args:
        name: The name of the environment.
        kind: Its class; None if there is an instance already.
        make: The function that makes an instance from arguments of the constructor.
        arguments: The arguments and values by name.
    """
    of_constructor = (kind and parameters_of(kind)) or {}
    first = {key: value for key, value in arguments.items() if key in of_constructor}
    first = bind(name, first, of_constructor)
    with _explained(name, arguments), jax.ensure_compile_time_eval():
        env = make(**first)
        defaults = env.default_params
    bound = bind(name, arguments, {**_parameters_of_record(defaults), **of_constructor})
    with _explained(name, arguments):
        params = _replace(env, defaults, {key: bound[key] for key in bound if key not in of_constructor})
        if arguments:
            _try(_adapt(env, params))
    return env, params


def _parameters_of_record(defaults: Any) -> dict[str, Parameter]:
    kinds = {field.name: field.type for field in dataclasses.fields(defaults)}
    return {name: parameter(kind, getattr(defaults, name)) for name, kind in kinds.items()}


@contextmanager
def _explained(name: str, arguments: Mapping[str, Argument]) -> Iterator[None]:
    """Explains whatever a constructor or a first step may raise by the arguments that were given."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
        shown = ", ".join(f"{key} = {value!r}" for key, value in arguments.items()) or "its defaults"
        raise UsageError(f"env = {name!r} does not work with {shown}: {reason.splitlines()[0]}") from error


def _replace(env: Any, defaults: Any, values: dict[str, Any]) -> Any:
    """Replaces values of parameters, and of those that follow from them."""
    if values.get("max_steps_in_episode", 1) < 1:
        raise UsageError(f"max_steps_in_episode = {values['max_steps_in_episode']} is not at least 1")
    params = dataclasses.replace(defaults, **values)
    derived = _DERIVED.get(type(env).__name__, {}) if values else {}
    following = {key: rule(params) for key, rule in derived.items() if key not in values}
    return dataclasses.replace(params, **following)


def _try(dynamics: Dynamics) -> None:
    """Traces a first step: raises whatever is wrong with the arguments that made the environment."""
    key = jax.random.key(0)
    state, _ = jax.eval_shape(dynamics.reset, key)
    jax.eval_shape(dynamics.step, key, state, spaces.zeros(dynamics.action_space))


def _adapt(env: Any, params: Any) -> Dynamics:
    with jax.ensure_compile_time_eval():
        observation_space, action_space = env.observation_space(params), env.action_space(params)

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        with jax.numpy_rank_promotion("allow"):  # some environments rely on it
            observation, state = env.reset_env(key, params)
        return state, _as_floats(observation_space, observation)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Transition]:
        action = _as_gymnax_action(action_space, action)
        with jax.numpy_rank_promotion("allow"):
            observation, state, reward, terminated, info = env.step_env(key, state, action, params)
        return state, Transition(
            observation=_as_floats(observation_space, observation),
            reward=jnp.asarray(reward, jnp.float32),
            terminated=jnp.asarray(terminated, bool),
            truncated=jnp.asarray(env.is_truncated(state, params), bool),
            metrics=info.get("metrics", {}),
        )

    with jax.ensure_compile_time_eval():  # a caller's jit may be tracing; sizes and bounds have to be known
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
            return spaces.Box((_at_least_1("observations", space, space.n),), 0.0, 1.0)
        case gymnax_spaces.Box():
            return spaces.Box(tuple(_at_least_1("observations", space, size) for size in space.shape))
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
            return spaces.Discrete(_at_least_1("actions", space, space.n))
        case gymnax_spaces.Tuple() if all(isinstance(part, gymnax_spaces.Discrete) for part in space.spaces):
            nums = tuple(_at_least_1("actions", part, part.n) for part in space.spaces)  # pyright: ignore
            return spaces.MultiDiscrete(nums)
        case gymnax_spaces.Box():
            shape = tuple(_at_least_1("actions", space, size) for size in space.shape)
            low, high = (np.broadcast_to(np.asarray(x, float), shape) for x in (space.low, space.high))
            return spaces.Box((math.prod(shape),), tuple(low.ravel().tolist()), tuple(high.ravel().tolist()))
    raise UsageError(f"actions are of kind {type(space).__name__}; give Discrete, Box or a Tuple of Discrete")


def _at_least_1(what: str, space: Any, size: Any) -> int:
    if int(size) < 1:
        raise UsageError(f"{what} are of {type(space).__name__} with a size of {size}; give at least 1")
    return int(size)


def _as_gymnax_action(space: Any, action: jax.Array) -> Any:
    """Undoes what `_convert_action_space` did to the shape of an action."""
    match space:
        case gymnax_spaces.Box():
            return action.reshape(space.shape)
        case gymnax_spaces.Tuple():
            return tuple(action)
    return action
