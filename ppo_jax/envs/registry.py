"""Which environments there are, known without importing the library that implements them.

Importing gymnax takes seconds; a mistyped name should not. `tests/envs/test_registry.py` holds this
table against gymnax itself.
"""

import sys
from collections.abc import Sequence
from typing import NamedTuple

from ppo_jax.errors import closest


class EnvironmentInfo(NamedTuple):
    """One line of the table of environments.

    Attributes:
        solved_return: Mean return of 100 consecutive episodes at which the task counts as solved
            (Gymnasium's `reward_threshold`), or None where no such mark is agreed on.
        obstacle: Why this version cannot train it, in a few words; empty where it can.
    """

    solved_return: float | None = None
    obstacle: str = ""


_CONTINUOUS = EnvironmentInfo(obstacle="its actions are continuous, and only discrete ones are implemented")

ENVIRONMENTS: dict[str, EnvironmentInfo] = {
    "CartPole-v1": EnvironmentInfo(solved_return=475.0),
    "Acrobot-v1": EnvironmentInfo(solved_return=-100.0),
    "MountainCar-v0": EnvironmentInfo(solved_return=-110.0),
    "Pendulum-v1": _CONTINUOUS,
    "MountainCarContinuous-v0": _CONTINUOUS,
    "Asterix-MinAtar": EnvironmentInfo(),
    "Breakout-MinAtar": EnvironmentInfo(),
    "Freeway-MinAtar": EnvironmentInfo(),
    "Seaquest-MinAtar": EnvironmentInfo(),
    "SpaceInvaders-MinAtar": EnvironmentInfo(),
    "Catch-bsuite": EnvironmentInfo(),
    "DeepSea-bsuite": EnvironmentInfo(),
    "MemoryChain-bsuite": EnvironmentInfo(),
    "UmbrellaChain-bsuite": EnvironmentInfo(),
    "DiscountingChain-bsuite": EnvironmentInfo(),
    "MNISTBandit-bsuite": EnvironmentInfo(obstacle="it downloads the MNIST data set when it is made"),
    "SimpleBandit-bsuite": EnvironmentInfo(),
    "FourRooms-misc": EnvironmentInfo(),
    "MetaMaze-misc": EnvironmentInfo(),
    "PointRobot-misc": _CONTINUOUS,
    "BernoulliBandit-misc": EnvironmentInfo(),
    "GaussianBandit-misc": EnvironmentInfo(),
    "Reacher-misc": _CONTINUOUS,
    "Swimmer-misc": _CONTINUOUS,
    "Pong-misc": EnvironmentInfo(),
    "FrozenLake-misc": EnvironmentInfo(obstacle="its observations are numbers of states, not arrays"),
}


def solved_return(name: str) -> float | None:
    """Returns the mean return at which an environment counts as solved, None if there is no mark."""
    return ENVIRONMENTS.get(name, EnvironmentInfo()).solved_return


def problems(name: object) -> list[str]:
    """Says why an environment cannot be trained on; an empty list if it can.

    Args:
        name: The `env` of a `Config`. Names that the user registered with gymnax are known too.
    """
    known = (*ENVIRONMENTS, *_registered_with_gymnax())
    if name not in known:
        return [f"env = {name!r} is not a known environment; {closest(str(name), known)}"]
    obstacle = ENVIRONMENTS.get(str(name), EnvironmentInfo()).obstacle
    fix = "`ppo-jax envs` lists those that can be trained on"
    return [f"env = {name!r} cannot be trained on: {obstacle}; {fix}"] if obstacle else []


def _registered_with_gymnax() -> Sequence[str]:
    """The names gymnax knows, if the user imported it (there is no other way to register one)."""
    return getattr(sys.modules.get("gymnax"), "registered_envs", ())
