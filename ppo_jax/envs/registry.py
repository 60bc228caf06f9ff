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
        needs: What it needs beyond this package, in a few words; empty where it needs nothing.
    """

    solved_return: float | None = None
    needs: str = ""


ENVIRONMENTS: dict[str, EnvironmentInfo] = {
    "CartPole-v1": EnvironmentInfo(solved_return=475.0),
    "Acrobot-v1": EnvironmentInfo(solved_return=-100.0),
    "MountainCar-v0": EnvironmentInfo(solved_return=-110.0),
    "Pendulum-v1": EnvironmentInfo(),
    "MountainCarContinuous-v0": EnvironmentInfo(solved_return=90.0),
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
    "MNISTBandit-bsuite": EnvironmentInfo(needs="downloads the MNIST data set when it is made"),
    "SimpleBandit-bsuite": EnvironmentInfo(),
    "FourRooms-misc": EnvironmentInfo(),
    "MetaMaze-misc": EnvironmentInfo(),
    "PointRobot-misc": EnvironmentInfo(),
    "BernoulliBandit-misc": EnvironmentInfo(),
    "GaussianBandit-misc": EnvironmentInfo(),
    "Reacher-misc": EnvironmentInfo(),
    "Swimmer-misc": EnvironmentInfo(),
    "Pong-misc": EnvironmentInfo(),
    "FrozenLake-misc": EnvironmentInfo(),
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
    return []


def _registered_with_gymnax() -> Sequence[str]:
    """The names gymnax knows, if the user imported it (there is no other way to register one)."""
    return getattr(sys.modules.get("gymnax"), "registered_envs", ())
