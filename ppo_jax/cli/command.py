"""The base class of commands, and how the fields of a command become flags."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple, get_type_hints

import tyro
from tyro.conf import Positional, arg
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    StructConstructorSpec,
    StructFieldSpec,
    StructTypeInfo,
)

from ppo_jax.host.programs import readiness

REGISTRY = ConstructorRegistry()  # where tyro looks up how to make a command

RunPath = Annotated[
    Path, Positional, arg(metavar="RUN", help="A run directory, or that of a member of a sweep.")
]
RunOrSweepPath = Annotated[Path, Positional, arg(metavar="RUN", help="The directory of a run or a sweep.")]
TrustCode = Annotated[
    bool,
    arg(
        help="Load the environment or network of your own that the run names even if its file has changed or "
        "moved since the run was started, or was never marked (see docs/custom_environment.md). Never use "
        "this flag with a run that came from a stranger."
    ),
]
PathFlag = Annotated[Path | None, arg(metavar="PATH")]


def _parse_steps(words: list[str]) -> int:
    try:
        number = Decimal(words[0])
    except InvalidOperation:
        number = Decimal("NaN")
    if not (number.is_finite() and number.adjusted() < 100 and number == int(number)):
        raise ValueError(f"{words[0]!r} is not a whole number, such as 500000 or 5e5")
    return int(number)


Steps = Annotated[
    int,
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="STEPS",
        instance_from_str=_parse_steps,
        is_instance=lambda value: isinstance(value, int),
        str_from_instance=lambda value: [str(value)],
    ),
]


def open_run(path: Path) -> Any:
    """Opens the directory of a run, or a member of a sweep; only a member needs JAX.

    Raises:
        UsageError: If it is neither.
    """
    from ppo_jax.host.runs import family

    if family.member_number(path) is None:
        return family.open_plain(path)
    readiness.check()
    from ppo_jax.host.runs import members

    return members.open_run(path)


class Group(NamedTuple):
    """Flags that the help shows together.

    Attributes:
        name: The title, to which the help adds the word "options".
        about: A sentence about what the flags have in common.
        fields: The names of the fields, in the order of the help.
    """

    name: str
    about: str
    fields: tuple[str, ...]


class Command:
    """A command: a frozen dataclass. Each field is a flag, whose help is the string below the field.

    The docstring of the class is the help of the command. A field that holds a record, such as `Config`,
    has no flag itself, but each field of the record has one.

    Attributes:
        groups: The groups of the help. Fields that are in no group come first.
        metavars: The words that the help shows in place of values, where the types do not say enough.
        types: The types of flags that differ from the types of their fields.
    """

    groups: ClassVar[tuple[Group, ...]] = ()
    metavars: ClassVar[dict[str, str]] = {}
    types: ClassVar[dict[str, Any]] = {}

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> Any:
        """Returns a command that holds the defaults of the flags; MISSING if they are those of the fields.

        Args:
            arguments: The arguments after the name of the command.
        """
        return tyro.MISSING_NONPROP

    def run(self) -> int:
        """Carries out the command, and returns the exit status."""
        raise NotImplementedError


@REGISTRY.struct_rule
def describe(info: StructTypeInfo) -> StructConstructorSpec | None:
    """Describes a command to tyro: its flags in groups, and how to make the command from their values.

    Args:
        info: A type, and the instance that holds the defaults, if there is one.

    Returns:
        The description; None if the type is not a command.
    """
    kind: Any = info.type
    if not (inspect.isclass(kind) and issubclass(kind, Command)):
        return None
    opened = records(kind)
    flags = _flags(kind, info.default if isinstance(info.default, kind) else kind)
    grouped = {name for group in kind.groups for name in group.fields}
    fields = [flag for name, flag in flags.items() if name not in grouped]
    for group in kind.groups:
        # tyro shows the flags of a nested class together, under the name of the field that holds it.
        members = [(name, flags[name].type, flags[name].default) for name in group.fields]
        holder = dataclasses.make_dataclass("Flags", members)
        fields.append(StructFieldSpec(group.name, holder, holder(), group.about))

    def make(**given: Any) -> Any:
        values = {name: given[name] for name in given if name in flags}
        for group in kind.groups:
            values |= vars(given[group.name])
        for field, record in opened.items():
            values[field] = record(**{name: values.pop(name) for name in record.__annotations__})
        return kind(**values)

    return StructConstructorSpec(make, tuple(fields))


def records(kind: type[Command]) -> dict[str, Any]:
    """Returns the fields of a command that hold records, each with the class of its record."""
    hints = get_type_hints(kind)
    return {
        name: hints[name]
        for name in inspect.signature(kind).parameters
        if dataclasses.is_dataclass(hints[name]) or hasattr(hints[name], "_fields")
    }


def _flags(kind: type[Command], values: Any) -> dict[str, StructFieldSpec]:
    """Returns the flags of a command, by the names of their fields.

    Args:
        kind: The class of the command.
        values: The holder of the defaults: a command, or the class itself.
    """
    opened = records(kind)
    homes = {name: (kind, values) for name in inspect.signature(kind).parameters if name not in opened}
    for field, record in opened.items():
        homes |= {name: (record, getattr(values, field)) for name in record.__annotations__}
    return {name: _flag(kind, name, *home) for name, home in homes.items()}


def _flag(kind: type[Command], name: str, home: type, values: Any) -> StructFieldSpec:
    """Returns the flag for a field.

    Args:
        kind: The class of the command.
        name: The name of the field.
        home: The class that has the field: the command or a record.
        values: The holder of the default.
    """
    default = getattr(values, name, tyro.MISSING_NONPROP)
    text = helps(home).get(name)
    about, by_default, rest = (text or "").partition("By default")
    if by_default and default in (None, ()):  # the sentence says more than "(default: None)"
        shown = arg(help=about.rstrip(), help_behavior_hint=by_default + rest)
    else:
        shown = arg(help=text)
    annotation = kind.types.get(name, get_type_hints(home, include_extras=True)[name])
    # Without its prefix a flag of the group "run" is --seed rather than --run.seed.
    named = arg(metavar=kind.metavars.get(name), prefix_name=False)
    typed: Any = Annotated[annotation, shown, named]
    return StructFieldSpec(name, typed, default)


@cache
def helps(home: type) -> dict[str, str]:
    """Returns the string below each field of a class, as a single line, by the name of the field.

    A class that was not written but made has its helps as HELPS.
    """
    if hasattr(home, "HELPS"):
        return home.HELPS  # pyright: ignore[reportAttributeAccessIssue]
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(home))).body
    assert isinstance(definition, ast.ClassDef)
    return {
        ast.unparse(field.target): " ".join(str(text.value.value).split())
        for field, text in itertools.pairwise(definition.body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
    }
