"""Compares the arguments that were given for an environment with the parameters that it takes."""

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from ppo_jax.errors import UsageError, closest

Argument = bool | int | float | str
TIME_LIMIT = "time_limit"  # the parameter of environments whose time limit is set by `envs.limits`
RESET_POOL = "reset_pool"  # the parameter of environments that draw a pool of first states for each rollout
KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


class Parameter(NamedTuple):
    """A parameter of an environment.

    Attributes:
        kinds: The types that its value may have, out of KINDS; none if it takes only what is no `Argument`.
        default: Its default; `inspect.Parameter.empty` if it has none and has to be given.
        choices: The only values that it takes; none if it takes all of these types.
    """

    kinds: tuple[type, ...]
    default: Any
    choices: tuple[Argument, ...] = ()

    @property
    def words(self) -> str:
        """What may be given, in words."""
        kinds = [KINDS[kind] for kind in self.kinds]
        words = " or ".join(map(repr, self.choices)) if self.choices else " or ".join(kinds)
        return words if self.default is inspect.Parameter.empty else f"{words} (default: {self.default})"


def parameter(annotation: Any, default: Any) -> Parameter:
    """Describes a parameter by its annotation, or else its default; both may be `inspect.Parameter.empty`."""
    is_simple = type(default) in KINDS
    if annotation in (inspect.Parameter.empty, Any) and not is_simple:
        return Parameter(tuple(KINDS), default)
    members = _members(annotation)
    choices = tuple(choice for one in members if get_origin(one) is Literal for choice in get_args(one))
    allowed = [*members, *map(type, choices)]
    kinds = tuple(kind for kind in KINDS if kind in allowed or kind.__name__ in allowed)
    is_closed = bool(choices) and not any(kind in members for kind in KINDS)
    return Parameter(kinds or (type(default),) * is_simple, default, choices if is_closed else ())


def _members(annotation: Any) -> Sequence[Any]:
    """Returns the types that a union consists of; those of any other annotation are itself."""
    if get_origin(annotation) in (Union, UnionType):
        return get_args(annotation)
    if isinstance(annotation, str):  # of a name that cannot be looked up
        return annotation.replace("|", " ").split()
    return (annotation,)


def parameters_of(function: Callable) -> dict[str, Parameter] | None:
    """Returns the parameters of a class or function by name; None if it takes arguments of any name."""
    found = _signature_of(function).parameters.values()
    takes_any = any(one.kind is one.VAR_KEYWORD for one in found)
    return None if takes_any else named_parameters_of(function)


def named_parameters_of(function: Callable) -> dict[str, Parameter]:
    """Returns the parameters of a class or function by name, without those that it takes under any name."""
    found = _signature_of(function).parameters.values()
    named = [one for one in found if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)]
    return {one.name: parameter(one.annotation, one.default) for one in named}


def _signature_of(function: Callable) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # an annotation in quotes may mean anything, or nothing
        return inspect.signature(function)


def bind(
    env: str, given: Mapping[str, Argument], parameters: Mapping[str, Parameter] | None
) -> dict[str, Argument]:
    """Returns the arguments as the environment takes them: whole numbers become floats where it takes floats.

    Args:
        env: The name of the environment.
        given: The arguments by name.
        parameters: The parameters that it takes; None if it takes arguments of any name.

    Raises:
        UsageError: With every argument that it does not take, and every one that is missing.
    """
    if parameters is None:
        return dict(given)
    problems = [_problem(env, name, value, parameters) for name, value in given.items()]
    required = [name for name, one in parameters.items() if one.default is inspect.Parameter.empty]
    if missing := [name for name in required if name not in given]:
        problems.append(f"env = {env!r} needs {', '.join(missing)}; give env_args {missing[0]}=VALUE")
    if found := [problem for problem in problems if problem]:
        raise UsageError(found)
    return {
        name: float(value) if parameters[name].kinds == (float,) else value for name, value in given.items()
    }


def _problem(env: str, name: str, value: Argument, parameters: Mapping[str, Parameter]) -> str | None:
    """Returns what is wrong with one argument; None if nothing is."""
    simple = [other for other, one in parameters.items() if one.kinds]
    if name not in simple:
        why = "takes something that is no number, bool or text" if name in parameters else "is unknown"
        choice = closest(name, simple) if simple else "it takes none; leave env_args out"
        return f"env_args {name} = {value!r} {why} for env = {env!r}; {choice}"
    kinds, choices = parameters[name].kinds, parameters[name].choices
    fits = type(value) in kinds or (type(value) is int and float in kinds)
    fits = fits and (not choices or value in choices)
    if not fits or (isinstance(value, float) and math.isnan(value)):
        or_ramp = ", or FROM..TO@STEPS for one that changes during a run" if ".." in str(value) else ""
        what = parameters[name].words + or_ramp
        return f"env_args {name} = {value!r} does not fit env = {env!r}; give {what}"
    return None
