"""Arguments of an environment that change during a run, such as "0.5..1.0@100000".

The value moves linearly from its start to its end over a number of environment steps, and then stays there.
"""

import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

_NUMBER = r"[-+]?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?"
_FORM = re.compile(rf"({_NUMBER})\.\.({_NUMBER})@({_NUMBER})")
_WORDS = "FROM..TO@STEPS, such as 0.5..1.0@100000"


class Ramp(NamedTuple):
    """An argument that changes during a run.

    Attributes:
        start: The value at the first update.
        end: The value from `steps` on.
        steps: The environment steps in between, at least 1.
    """

    start: float
    end: float
    steps: int


def parse(value: Any) -> Ramp | None:
    """Returns the ramp that an argument stands for; None if it is no ramp, or not a valid one."""
    matched = _FORM.fullmatch(value) if isinstance(value, str) else None
    if matched is None:
        return None
    start, end, steps = map(float, matched.groups())
    is_valid = all(map(math.isfinite, (start, end))) and 1 <= steps < 2**53 and steps == int(steps)
    return Ramp(start, end, int(steps)) if is_valid else None


def problems(name: str, value: str) -> list[str]:
    """Says what is wrong with an argument that has the form of a ramp; an empty list if nothing is."""
    if _FORM.fullmatch(value) is None or parse(value) is not None:
        return []
    return [
        f"env_args {name} = {value!r} is not {_WORDS}: two finite numbers, and a whole number of steps from "
        "1 on"
    ]


def ramps_of(arguments: Mapping[str, Any]) -> dict[str, Ramp]:
    """Returns the arguments that change during a run, by name."""
    parsed = {name: parse(value) for name, value in arguments.items()}
    return {name: ramp for name, ramp in parsed.items() if ramp is not None}


def at_start(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with the first value of those that change."""
    return {**arguments, **{name: ramp.start for name, ramp in ramps_of(arguments).items()}}


def at_end(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments with the last value of those that change."""
    return {**arguments, **{name: ramp.end for name, ramp in ramps_of(arguments).items()}}
