"""The points of a sweep: which values its members have, as a grid, a random sample, or a list from a file.

A point is a dictionary of values by name. A name is a field of `Config` or `Hyperparams`, or a parameter of
the environment, such as "env_args.length".
"""

import dataclasses
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs import ramps
from ppo_jax.errors import UsageError, closest
from ppo_jax.host.runs.request import Request, from_plain, parse_argument, plain

ENV_ARGS = "env_args."  # what the name of a parameter of the environment begins with
LOG = "log:"  # what a range on a logarithmic scale begins with
MAX_POINTS = 100_000
_CONFIG = get_type_hints(Config)
FIELDS = {
    name: kind
    for name, kind in {**_CONFIG, **get_type_hints(Hyperparams)}.items()
    # What these name is looked for before anything is trained.
    if name not in ("env", "env_args", "network", "initial_policy", "teacher")
}

Point = dict[str, Any]


class Range(NamedTuple):
    """A range from which values are drawn.

    Attributes:
        low: The lower end.
        high: The upper end.
        is_log: Whether the logarithm of the value is uniform, rather than the value.
    """

    low: float
    high: float
    is_log: bool = False

    def draw(self, generator: np.random.Generator) -> float:
        """Draws a value."""
        if self.is_log:
            return math.exp(generator.uniform(math.log(self.low), math.log(self.high)))
        return generator.uniform(self.low, self.high)

    def __str__(self) -> str:
        return f"{LOG if self.is_log else ''}{self.low:g}..{self.high:g}"


Axes = Mapping[str, Sequence[Any] | Range]  # the values or the range of each name


def grid(axes: Axes) -> list[Point]:
    """Returns every combination of values; the values of the last name change fastest.

    Raises:
        UsageError: If there is a range, of which only a sample can be taken.
    """
    ranges = [name for name, values in axes.items() if isinstance(values, Range)]
    if ranges:
        raise UsageError(
            f"{ranges[0]} = {axes[ranges[0]]} is a range, of which there is no grid; give the number of "
            "points to draw as --samples, or single values"
        )
    count = math.prod(len(values) for values in axes.values())  # pyright: ignore[reportArgumentType]
    if count > MAX_POINTS:
        raise UsageError(f"the grid has {count:,} points; give at most {MAX_POINTS:,}, or draw --samples")
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]


def sample(axes: Axes, count: int, seed: int) -> list[Point]:
    """Draws points at random; each value is drawn independently of the others.

    Args:
        axes: The values, of which all are equally likely, or the range of each name.
        count: The number of points.
        seed: The source of all draws.

    Raises:
        UsageError: If the count is not between 1 and MAX_POINTS.
    """
    if not (isinstance(count, int) and 1 <= count <= MAX_POINTS):
        raise UsageError(f"samples = {count!r} is not between 1 and {MAX_POINTS}; give one such as 20")
    generator = np.random.default_rng(seed)

    def draw(values: Sequence[Any] | Range) -> Any:
        if isinstance(values, Range):
            return values.draw(generator)
        return values[int(generator.integers(len(values)))]

    return [{name: draw(values) for name, values in axes.items()} for _ in range(count)]


def read(path: Path) -> list[Point]:
    """Reads points from a JSON file: a list of objects, such as [{"learning_rate": 0.001}, ...].

    Raises:
        UsageError: If it does not hold such a list, or with every value that is not of the right kind.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"points = '{path}' cannot be read as JSON: {error}") from error
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UsageError(
            f"points = '{path}' is not a list of objects, such as [{{\"learning_rate\": 0.001}}]"
        )
    return [from_json(row) for row in content]


def from_json(row: Mapping[str, Any]) -> Point:
    """Makes a point from what JSON holds: "inf" is infinity, and lists are tuples.

    Raises:
        UsageError: With every name that is unknown.
    """
    if problems := [problem for name in row for problem in name_problems(name)]:
        raise UsageError(problems)
    return {name: tuple(x) if isinstance(x, list) else from_plain(x) for name, x in row.items()}


def to_json(point: Point) -> dict[str, Any]:
    """Returns a point as JSON can hold it."""
    return {name: list(value) if isinstance(value, tuple) else plain(value) for name, value in point.items()}


def name_problems(name: str) -> list[str]:
    """Says what is wrong with a name; an empty list if nothing is."""
    if name.startswith(ENV_ARGS) or name in FIELDS:
        return []
    return [f"{name!r} cannot be swept; {closest(name, list(FIELDS))}"]


def parse(name: str, words: Iterable[str]) -> tuple[Any, ...] | Range:
    """Makes values, or a range, from words such as "1e-4" and "3e-4", or "log:1e-4..1e-2".

    Args:
        name: The name that has these values.
        words: The words, at least one.

    Raises:
        ValueError: If a word does not stand for a value of this kind.
    """
    words = list(words)
    if not words:
        raise ValueError(f"{name} has no value; give at least one")
    if len(words) == 1 and ".." in words[0] and ramps.parse(words[0]) is None:
        return _parse_range(words[0])
    values = tuple(parse_value(name, word) for word in words)
    if len(set(map(repr, values))) < len(values):
        raise ValueError(f"a value of {name} is given twice")
    return values


def _parse_range(word: str) -> Range:
    ends = word.removeprefix(LOG).split("..")
    is_log = word.startswith(LOG)
    if len(ends) != 2:
        raise ValueError(f"{word!r} is not a range such as 0.9..0.99 or log:1e-4..1e-2")
    low, high = map(float, ends)
    found = Range(low, high, is_log)
    if not is_in_order(found):
        raise ValueError(
            f"{word!r} is not a range: its ends have to be finite and in order, for log: positive"
        )
    return found


def is_in_order(one: Range) -> bool:
    """Whether the ends of a range are finite and in order, and those of a logarithmic one positive."""
    low, high, is_log = one
    return math.isfinite(low) and math.isfinite(high) and low < high and (low > 0 or not is_log)


def parse_value(name: str, word: str) -> Any:
    """Makes a value from a word.

    Raises:
        ValueError: If it does not stand for a value of this kind.
    """
    if name.startswith(ENV_ARGS):
        return parse_argument(word)
    kind = FIELDS[name]
    kinds = get_args(kind) or (kind,)
    if word.lower() == "none" and type(None) in kinds:
        return None
    if kind == tuple[int, ...]:
        return tuple(int(part) for part in word.split(",") if part)
    if kind is bool:
        if word.lower() not in ("true", "false"):
            raise ValueError(f"{word!r} is neither true nor false")
        return word.lower() == "true"
    if kind is int:
        return int(word)
    return float(word) if float in kinds else word


def apply(request: Request, point: Point) -> Request:
    """Returns a request with the values of a point in place of its own."""
    arguments = dict(request.config.env_args)
    arguments |= {name.removeprefix(ENV_ARGS): x for name, x in point.items() if name.startswith(ENV_ARGS)}
    of_config = {name: value for name, value in point.items() if name in _CONFIG}
    of_hyper = {name: value for name, value in point.items() if name in Hyperparams._fields}
    return request._replace(
        config=dataclasses.replace(request.config, **of_config, env_args=arguments),
        hyper=request.hyper._replace(**of_hyper),
    )


def describe(point: Point) -> str:
    """Describes a point in a few words."""
    shown = {name: f"{x:.4g}" if isinstance(x, float) else x for name, x in point.items()}
    return (
        ", ".join(f"{name.removeprefix(ENV_ARGS)} {value}" for name, value in shown.items())
        or "the only point"
    )
