"""The user's own environments and networks, and known policies, by their names in this process."""

import dataclasses
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from ppo_jax.errors import UsageError, closest

Function = TypeVar("Function", bound=Callable)

MARK = "__ppo_jax__"  # the attribute of functions that their author marked


class Registered(NamedTuple):
    """An environment that the user registered.

    Attributes:
        made_from: A `Dynamics`, an `Environment`, a gymnax class or instance, or a function that returns one.
        solved_return: Mean return of 100 consecutive episodes at which the task counts as solved, or None.
    """

    made_from: Any
    solved_return: float | None = None


@dataclasses.dataclass(frozen=True)
class KnownPolicy:
    """A trained policy, which runs may start from or be taught by.

    Attributes:
        config: The `Config` of the run that it comes from.
        sha256: Digest of everything else.
        tensors: The arrays by their paths in the `Agent`, such as "params/actor/params/Dense_0/kernel".
        rewards: The statistics that its run scaled rewards with, by name; None if it did not, or if they are
            not known.
        is_own: Whether the user registered it, rather than a run read it from a file.
    """

    config: Any
    sha256: str
    tensors: Mapping[str, Any] = dataclasses.field(compare=False, repr=False)
    rewards: Mapping[str, Any] | None = dataclasses.field(default=None, compare=False)
    is_own: bool = dataclasses.field(default=False, compare=False)


ENVIRONMENTS: dict[str, Registered] = {}
NETWORKS: dict[str, Callable] = {}
POLICIES: dict[str, KnownPolicy] = {}


def enter(name: str, made_from: Any, solved_return: float | None = None) -> None:
    """Enters an environment into the table (see `envs.registry.register`)."""
    _enter(ENVIRONMENTS, name, Registered(made_from, solved_return))


def enter_network(name: str, make_network: Callable) -> None:
    """Enters a network into the table (see `register_network`)."""
    _enter(NETWORKS, name, make_network)


def enter_policy(name: str, policy: KnownPolicy) -> None:
    """Enters a known policy into the table (see `algorithm.known.register_policy`)."""
    _enter(POLICIES, name, policy)


def known_policy(field: str, name: str) -> KnownPolicy:
    """Returns the policy that a configuration names.

    Args:
        field: The field of the `Config`.
        name: Its value.

    Raises:
        UsageError: If no policy has that name in this process.
    """
    if name in POLICIES:
        return POLICIES[name]
    raise UsageError(
        f"{field} = {name!r} is a policy that has not been loaded; train with ppo_jax.run, which reads it "
        "from that run directory, or give it a name with ppo_jax.register_policy"
    )


def register_network(name: str, make_network: Callable) -> None:
    """Registers a network of your own: `Config(network=name)` then works everywhere in this process.

    Args:
        name: The name, without a colon.
        make_network: A function like `ppo_jax.networks.flax.make_network`, called with the configuration
            and the spaces; it returns a `Network`.

    Raises:
        UsageError: If it is not a function, or the name is a reference to code.
    """
    check_name(name)
    if not callable(make_network):
        raise UsageError(
            f"make_network = {make_network!r} cannot be called; give a function that returns a Network"
        )
    enter_network(name, make_network)


def check_name(name: object) -> None:
    """Makes sure that something may be the name of an environment or a network of the user's own.

    Raises:
        UsageError: If it may not.
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise UsageError(
            f"name = {name!r} cannot be registered: a name is a text without a colon; give another one"
        )


def environment(function: Function) -> Function:
    """Marks a function that returns an environment, so that a run directory may name it.

    A run directory can come from anywhere, so `ppo-jax evaluate` and the like call no function that its
    author has not marked.

    Raises:
        UsageError: If it is not a function.
    """
    return _mark(function, "environment")


def network(function: Function) -> Function:
    """Marks a function that makes a network, so that a run directory may name it (see `environment`).

    Raises:
        UsageError: If it is not a function.
    """
    return _mark(function, "network")


def is_own(name: str | None) -> bool:
    """Whether a name is that of an environment or a network of the user's own."""
    return name in ENVIRONMENTS or name in NETWORKS


def network_problems(name: str) -> list[str]:
    """Explains why a name is not that of a network of the user's own; an empty list if it is."""
    if name in NETWORKS:
        return []
    if ":" in name:
        return [
            f"network = {name!r} is code that has not been loaded; from Python, import it and give it as "
            "make_network=, or register it under a name with ppo_jax.register_network"
        ]
    known = list(NETWORKS)
    choice = closest(name, known) if known else "register it with ppo_jax.register_network"
    return [f"network = {name!r} is unknown; {choice}"]


def is_marked(function: Any, kind: str) -> bool:
    """Whether the author of a function marked it as one that returns an "environment" or a "network"."""
    return getattr(function, MARK, None) == kind


def _mark(function: Function, kind: str) -> Function:
    if not callable(function):
        raise UsageError(
            f"{function!r} cannot be marked: it is not a function; put @ppo_jax.{kind} above one"
        )
    setattr(function, MARK, kind)
    return function


def _enter(table: dict, name: str, entry: Any) -> None:
    is_replaced = table.get(name, entry) != entry
    table[name] = entry
    if is_replaced and "jax" in sys.modules:
        # Compiled programs are found by the name alone, so they would go on using what it meant before.
        sys.modules["jax"].clear_caches()
