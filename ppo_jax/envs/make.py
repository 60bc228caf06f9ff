"""Makes an environment from its name. Only this module knows which adapter belongs to which library."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import jax

from ppo_jax import registered
from ppo_jax.envs import ramps, registry
from ppo_jax.envs.adapting import Painter
from ppo_jax.envs.arguments import Argument, Parameter, bind, parameters_of
from ppo_jax.envs.concrete import concretely, usual_modes
from ppo_jax.envs.environment import Dynamics, Environment, TimeStep, make_batched
from ppo_jax.envs.limits import Timed
from ppo_jax.errors import UsageError, explained

# One row per library: the module that has its `make_dynamics(name, arguments, traced)`, `parameters(name)`
# and NAMES. If the library computes on the host, it also has `make_simulators(name, arguments, num_envs)`.
# If it can draw (see `registry.Library`), it has `make_painter(name, arguments)`, and that of Brax also has
# `make_page(name, arguments, states)`. That of gymnax has `make_visualizer(name, arguments, states)` and, for
# classes and instances of the user's own, `is_environment(thing)` and `adapt(name, thing, arguments)`.
ADAPTERS = {library: f"ppo_jax.envs.{library}" for library in registry.LIBRARIES}
WITH_OWN = ("gymnax",)  # the libraries whose classes and instances a user may register
WITH_TRACED = ("gymnax",)  # the libraries whose parameters may be traced

Arguments = Mapping[str, Argument] | Sequence[tuple[str, Argument]]
NOTHING: Mapping[str, jax.Array] = {}


def make_environment(
    name: str, arguments: Arguments = (), traced: Mapping[str, jax.Array] = NOTHING
) -> Environment:
    """Makes a batched environment from its name.

    Args:
        name: The name, such as "CartPole-v1" (see `envs.registry`).
        arguments: Its `Config.env_args`. Of one that changes during a run, the last value is taken.
        traced: Values of parameters, [], in place of those in `arguments`; only of those that `traceable`
            returns.

    Raises:
        UsageError: If it cannot be made, an argument does not fit it, or a space is of a kind that is not
            implemented.
    """
    made = _make(name, dict(arguments), traced)
    return make_batched(made) if isinstance(made, Dynamics) else made


def traceable(name: str, arguments: Sequence[Arguments]) -> tuple[str, ...]:
    """Returns the parameters of an environment whose values need not be known when a program is compiled.

    These are the numbers of gymnax's environments on which no space depends.

    Args:
        name: The name of the environment.
        arguments: The `Config.env_args` among which the environment shall vary.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    is_own = registered.is_own(name) or registry.is_reference(name)
    if is_own or registry.info(name).library not in WITH_TRACED:
        return ()
    given = [dict(one) for one in arguments]
    distinct = {repr(sorted(one.items())): one for one in given}.values()
    made = [make_dynamics(name, one) for one in distinct]
    same_spaces = len({(repr(one.observation_space), repr(one.action_space)) for one in made}) == 1
    numbers = {parameter for one in given for parameter, x in one.items() if type(x) in (int, float)}
    numbers -= {parameter for one in given for parameter in ramps.ramps_of(one)}
    known = parameters(name)
    return tuple(sorted(x for x in numbers if same_spaces and known[x].kinds == (float,)))


def check_ramps(name: str, arguments: Arguments, is_callers: bool) -> None:
    """Makes sure that the arguments of an environment which change during a run can do so.

    Args:
        name: The name of the environment.
        arguments: Its `Config.env_args`.
        is_callers: Whether the caller made the environment, so that the arguments are only a label.

    Raises:
        UsageError: With every argument that cannot change.
    """
    given = dict(arguments)
    changing = ramps.ramps_of(given)
    is_own = is_callers or registered.is_own(name) or registry.is_reference(name)
    library = registry.LIBRARIES[registry.info(name).library]
    why = ""
    if is_own:
        why = "an environment of your own is made once, before the run; let it change by itself, or"
    elif registry.info(name).library not in WITH_TRACED:
        why = f"environments of {library.title} are made once, before the run;"
    if why:
        raise UsageError(
            [f"env_args {one} = {given[one]!r} cannot change: {why} give one number" for one in changing]
        )
    known = parameters(name)
    whole = [one for one in changing if one in known and known[one].kinds != (float,)]
    problems = {one: f"it is {known[one].words}, not any number" for one in whole}
    if not problems:
        can = traceable(name, [ramps.at_start(given), ramps.at_end(given)])
        problems = {one: "the spaces depend on it" for one in changing if one not in can}
    if problems:
        raise UsageError(
            [
                f"env_args {one} = {given[one]!r} cannot change during a run: {problem}; give one value"
                for one, problem in problems.items()
            ]
        )


def make_dynamics(name: str, arguments: Arguments = ()) -> Dynamics:
    """Makes one copy of an environment, which does not reset itself.

    Args:
        name: The name, such as "CartPole-v1" (see `envs.registry`).
        arguments: Its `Config.env_args`.

    Raises:
        UsageError: As for `make_environment`; or if the environment exists as a batch only.
    """
    made = _make(name, dict(arguments))
    if isinstance(made, Dynamics):
        return made
    raise UsageError(
        f"env = {name!r} is an Environment, a batch of copies that reset themselves, and this needs one copy "
        "of it; give a Dynamics"
    )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of an environment of a library, by name: what its `Config.env_args` may hold.

    Raises:
        UsageError: If it cannot be made.
    """
    return _adapter(registry.info(name).library).parameters(name)


def names(library: str) -> dict[str, str]:
    """Returns all environments of a library, each with the reason why it cannot be trained on, or "".

    Args:
        library: The name of its row in `registry.LIBRARIES`.

    Raises:
        UsageError: If it is not installed.
    """
    return _adapter(library).NAMES


class Simulators(Protocol):
    """N copies of an environment that computes on the host, which reset themselves."""

    def reset(self, seed: int) -> Any:
        """Begins new episodes; returns their first observations, [N, ...] float32."""
        ...

    def step(self, action: Any) -> TimeStep:
        """Takes one step in each copy, with actions [N, ...]; returns arrays of NumPy."""
        ...


def make_simulators(name: str, arguments: Arguments, num_envs: int) -> Simulators:
    """Makes N copies of an environment that computes on the host (see `registry.is_on_host`).

    Raises:
        UsageError: If they cannot be made, or an argument does not fit the environment.
    """
    return _adapter(registry.info(name).library).make_simulators(name, dict(arguments), num_envs)


def make_visualizer(name: str, arguments: Arguments, states: Sequence[Any]) -> Any:
    """Makes the visualizer of the library that implements an environment.

    Args:
        name: The name of an environment that its library can draw.
        arguments: Its `Config.env_args`.
        states: The states of one copy, in order.

    Returns:
        An object whose `init()` and `update(index)` draw into its `fig`, a matplotlib figure.
    """
    return _adapter(registry.info(name).library).make_visualizer(name, dict(arguments), states)


def make_painter(name: str, arguments: Arguments) -> Painter:
    """Makes what draws states of an environment of a library for which `registry.Library.drawn` is set.

    Args:
        name: The name, such as "navix:Navix-Empty-5x5-v0".
        arguments: Its `Config.env_args`.

    Raises:
        UsageError: If it cannot be drawn here, or an argument does not fit it.
    """
    painter = _adapter(registry.info(name).library).make_painter(name, dict(arguments))

    def paint(state: Any) -> Any:
        with explained(f"drawing env = {name!r}"), usual_modes():
            return painter.paint(state.inner if isinstance(state, Timed) else state)

    return painter._replace(paint=paint)


def make_page(name: str, arguments: Arguments, states: Sequence[Any]) -> str:
    """Returns a page of HTML that shows states of an environment of Brax.

    Args:
        name: The name, such as "brax:ant".
        arguments: Its `Config.env_args`.
        states: The states of one copy, in order.
    """
    inner = [state.inner if isinstance(state, Timed) else state for state in states]
    return _adapter(registry.info(name).library).make_page(name, dict(arguments), inner)


def _make(
    name: str, arguments: dict[str, Argument], traced: Mapping[str, jax.Array] = NOTHING
) -> Dynamics | Environment:
    arguments = ramps.at_end(arguments)
    own = registered.ENVIRONMENTS.get(name)
    if own:
        return _make_own(name, own.made_from, arguments)
    if registry.is_reference(name):
        raise UsageError(
            f"env = {name!r} is code that has not been loaded; from Python, import it and give it as "
            "environment=, or register it under a name with ppo_jax.register"
        )
    return _adapter(registry.info(name).library).make_dynamics(name, arguments, traced)


def is_environment(thing: Any) -> bool:
    """Whether something is a `Dynamics`, an `Environment`, or a class or instance of a library's."""
    return isinstance(thing, Dynamics | Environment) or _adapter_of(thing) is not None


def _make_own(name: str, thing: Any, arguments: dict[str, Argument]) -> Dynamics | Environment:
    """Makes an environment from whatever a user may have registered."""
    if isinstance(thing, Dynamics | Environment):
        bind(name, arguments, {})
        return thing
    if adapter := _adapter_of(thing):
        return adapter.adapt(name, thing, arguments)
    if not callable(thing):
        raise UsageError(
            f"env = {name!r} is a {type(thing).__name__}; give a Dynamics, an Environment, a gymnax class or "
            "instance, or a function that returns one"
        )
    bound = bind(name, arguments, parameters_of(thing))
    with explained(f"env = {name!r}"), concretely():  # a caller's jit may be tracing
        made = thing(**bound)
    if not is_environment(made) or isinstance(made, type):
        raise UsageError(
            f"env = {name!r} returned a {type(made).__name__}; return a Dynamics, an Environment or an "
            "instance of a gymnax class"
        )
    return _make_own(name, made, {})


def _adapter_of(thing: Any) -> Any:
    """Returns the adapter of the library that a class or instance belongs to, if any."""
    # If a library has not been imported, nothing can be made with it.
    imported = [_adapter(library) for library in WITH_OWN if library in sys.modules]
    return next((adapter for adapter in imported if adapter.is_environment(thing)), None)


def _adapter(library: str) -> Any:
    if why := registry.missing(library):
        raise UsageError(why)
    # Imported here, so that a library is loaded only for the environments that it implements.
    return importlib.import_module(ADAPTERS[library])
