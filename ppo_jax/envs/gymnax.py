"""The adapter to gymnax 1.x; only this module and `gymnax_spaces` import it.

It uses `step_env` rather than `step`, because `step` resets by itself and hides the successor. `step_env`
knows nothing of time limits (its `done` means terminated), so the adapter asks `is_truncated` for the
limit: otherwise CartPole would lose its 500-step limit.

A wrapper of gymnax overrides `step` and `reset`, so its own `step` is used. To keep it from resetting, the
environment inside is replaced by a copy whose `step` does not.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp

from ppo_jax.envs.adapting import explained_by, trace
from ppo_jax.envs.arguments import Argument, Parameter, bind, parameter, parameters_of
from ppo_jax.envs.concrete import concretely, usual_modes
from ppo_jax.envs.deferred import deferred
from ppo_jax.envs.environment import Dynamics, Environment, Transition, make_batched
from ppo_jax.errors import UsageError, closest

# A caller's jit may be tracing when gymnax is imported. Its modules make arrays at import, which have to be
# concrete arrays rather than tracers. The libraries that gymnax draws with take three times as long to import
# as everything else, so they are deferred until a picture is drawn.
with concretely(), deferred("seaborn", "matplotlib.pyplot"):
    import gymnax
    from gymnax.environments import environment as gymnax_environment

    from ppo_jax.envs.gymnax_spaces import action_space_of, as_floats, as_gymnax_action, observation_space_of


# The environments of gymnax, each with the reason why it cannot be trained on: none has one.
NAMES = dict.fromkeys(gymnax.registered_envs, "")

# Parameters of gymnax that follow from others; gymnax itself keeps the old value if only the others change.
_DERIVED: dict[str, dict[str, Callable[[Any], float]]] = {
    "CartPole": {
        "total_mass": lambda params: params.masscart + params.masspole,
        "polemass_length": lambda params: params.masspole * params.length,
    },
}


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of a gymnax environment.

    Args:
        name: A registered name such as "CartPole-v1", or "gymnax:CartPole-v1".
        arguments: Arguments of its constructor and values of its parameters, by name.
        traced: Values of parameters that are being traced; the spaces are those of `arguments`.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or a space is of a kind that is not
            implemented.
    """
    return _adapt(*_make(name, arguments), traced)


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of a gymnax environment by name, those of its constructor first."""
    env, defaults = _make(name, {})
    return {**(parameters_of(type(env)) or {}), **_parameters_of_record(defaults)}


def is_environment(thing: Any) -> bool:
    """Whether something is a gymnax class, an instance of one, or a wrapper around an instance."""
    if isinstance(thing, type):
        return issubclass(thing, gymnax_environment.Environment)
    return isinstance(_innermost(thing), gymnax_environment.Environment)


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
    of n numbers, or NaN if it is not one of them; of a Dict or a Tuple, the parts are turned into numbers in
    the same way, flattened in row-major order and joined: those of a Dict by their names, sorted.

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
    with concretely():
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
    with explained_by(name, arguments), concretely():
        env = make(**first)
        defaults = env.default_params
    bound = bind(name, arguments, {**_parameters_of_record(defaults), **of_constructor})
    with explained_by(name, arguments):
        params = _replace(env, defaults, {key: bound[key] for key in bound if key not in of_constructor})
        if arguments:
            trace(_adapt(env, params))
    return env, params


def _parameters_of_record(defaults: Any) -> dict[str, Parameter]:
    kinds = {field.name: field.type for field in dataclasses.fields(defaults)}
    return {name: parameter(kind, getattr(defaults, name)) for name, kind in kinds.items()}


def _replace(env: Any, defaults: Any, values: dict[str, Any]) -> Any:
    """Replaces values of parameters, and of those that follow from them."""
    if values.get("max_steps_in_episode", 1) < 1:
        raise UsageError(f"max_steps_in_episode = {values['max_steps_in_episode']} is not at least 1")
    params = dataclasses.replace(defaults, **values)
    derived = _DERIVED.get(type(env).__name__, {}) if values else {}
    following = {key: rule(params) for key, rule in derived.items() if key not in values}
    return dataclasses.replace(params, **following)


def _adapt(env: Any, params: Any, traced: Mapping[str, jax.Array] | None = None) -> Dynamics:
    inner = _innermost(env)
    if not isinstance(inner, gymnax_environment.Environment):
        raise UsageError(
            f"{type(env).__name__} is neither an environment of gymnax nor a wrapper that keeps one as _env; "
            "give one, or write the environment as Dynamics"
        )
    for name in ("step", "reset"):
        overrides = getattr(type(inner), name) is not getattr(gymnax_environment.Environment, name)
        if overrides and not type(inner).__module__.startswith("gymnax."):
            raise UsageError(
                f"{type(inner).__name__} overrides {name}, which is not used; override {name}_env instead"
            )
    with concretely():
        observation_space, action_space = env.observation_space(params), env.action_space(params)
    reset_one, step_one = _functions(env, inner)
    params = _replace(env, params, dict(traced)) if traced else params

    def reset(key: jax.Array) -> tuple[Any, jax.Array]:
        with _modes_of(env):
            observation, state = reset_one(key, params)
        return state, as_floats(observation_space, observation)

    def step(key: jax.Array, state: Any, action: jax.Array) -> tuple[Any, Transition]:
        action = as_gymnax_action(action_space, action)
        with _modes_of(env):
            observation, state, reward, terminated, truncated, info = step_one(key, state, action, params)
        return state, Transition(
            observation=as_floats(observation_space, observation),
            reward=jnp.asarray(reward, jnp.float32),
            terminated=jnp.asarray(terminated, bool),
            truncated=jnp.asarray(truncated, bool),
            metrics=info.get("metrics", {}),
        )

    with concretely():  # a caller's jit may be tracing; sizes and bounds have to be known
        return Dynamics(
            reset=reset,
            step=step,
            observation_space=observation_space_of(observation_space),
            action_space=action_space_of(action_space),
        )


@contextmanager
def _modes_of(env: Any) -> Iterator[None]:
    """Sets the modes of JAX that gymnax relies on, and names the one that it fails in.

    Raises:
        UsageError: If it fails in the mode with 64 bits.
    """
    try:
        with usual_modes():
            yield
    except TypeError as error:
        if not jax.config.jax_enable_x64:  # pyright: ignore[reportAttributeAccessIssue]
            raise
        raise UsageError(
            f"{type(env).__name__} mixes 32 and 64 bits, which fails in JAX's mode with 64 ({error}); "
            "leave out JAX_ENABLE_X64"
        ) from error


def _innermost(env: Any) -> Any:
    """Returns the environment inside of all wrappers."""
    while not isinstance(env, gymnax_environment.Environment) and "_env" in getattr(env, "__dict__", {}):
        env = env._env
    return env


def _functions(env: Any, inner: Any) -> tuple[Callable, Callable]:
    """Returns functions `reset(key, params)` and `step(key, state, action, params)`, which never resets."""

    def step_once(key: jax.Array, state: Any, action: Any, params: Any) -> tuple[Any, ...]:
        observation, state, reward, terminated, info = inner.step_env(key, state, action, params)
        try:
            truncated = inner.is_truncated(state, params)
        except AttributeError as error:
            raise UsageError(
                f"{type(inner).__name__} has no time limit that can be read ({error}); keep `time` in its "
                "state and max_steps_in_episode in its parameters, or override is_truncated"
            ) from error
        return observation, state, reward, terminated, truncated, info

    if env is inner:
        return inner.reset_env, step_once

    def step_inside(key: jax.Array, state: Any, action: Any, params: Any = None) -> tuple[Any, ...]:
        observation, state, reward, terminated, truncated, info = step_once(key, state, action, params)
        # The wrapper takes these from the environment, and changes the final observation as well.
        info = {**info, "terminated": terminated, "truncated": truncated, "final_observation": observation}
        return observation, state, reward, terminated, truncated, info

    copied = copy.copy(inner)
    copied.step = step_inside
    wrapper = _rewrap(env, copied)
    return wrapper.reset, wrapper.step


def _rewrap(env: Any, inner: Any) -> Any:
    """Copies wrappers around another environment."""
    if isinstance(env, gymnax_environment.Environment):
        return inner
    wrapper = object.__new__(type(env))  # `copy` asks the copy for attributes before it has an environment
    wrapper.__dict__.update(env.__dict__, _env=_rewrap(env._env, inner))
    return wrapper
