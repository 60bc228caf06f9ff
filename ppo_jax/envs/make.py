"""Makes an environment from its name. Only this module knows which adapter belongs to which library."""

import importlib
from collections.abc import Sequence
from typing import Any

from ppo_jax.envs import registry
from ppo_jax.envs.environment import Dynamics, Environment, make_batched

# One row per library: the module that has its `make_dynamics(name)` and `make_visualizer(name, states)`.
ADAPTERS = {"gymnax": "ppo_jax.envs.gymnax"}


def make_environment(name: str) -> Environment:
    """Makes a batched environment from a name such as "CartPole-v1".

    Raises:
        UsageError: If it cannot be made, or a space is of a kind that is not implemented.
    """
    return make_batched(make_dynamics(name))


def make_dynamics(name: str) -> Dynamics:
    """Makes one copy of an environment, which does not reset itself.

    Raises:
        UsageError: If it cannot be made, or a space is of a kind that is not implemented.
    """
    return _adapter(name).make_dynamics(name)


def make_visualizer(name: str, states: Sequence[Any]) -> Any:
    """Makes the visualizer of the library that implements an environment.

    Args:
        name: The name of an environment that its library can draw.
        states: The states of one copy, in order.

    Returns:
        An object whose `init()` and `update(index)` draw into its `fig`, a matplotlib figure.
    """
    return _adapter(name).make_visualizer(name, states)


def _adapter(name: str) -> Any:
    # Imported here, so that a library is loaded only for the environments that it implements.
    return importlib.import_module(ADAPTERS[registry.info(name).library])
