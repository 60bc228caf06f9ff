"""The known environments, without importing the libraries that implement them.

Importing gymnax takes seconds; answering a mistyped name should not. `tests/envs/test_registry.py` compares
this table with gymnax itself.
"""

import sys
from typing import NamedTuple

from ppo_jax.errors import closest


class EnvironmentInfo(NamedTuple):
    """One row of the table of environments.

    Attributes:
        solved_return: Mean return of 100 consecutive episodes at which the task counts as solved
            (Gymnasium's `reward_threshold`), or None without an agreed mark.
        needs: Anything it needs in addition to this package, in a few words; empty if nothing.
        library: The library that implements it, a row of `envs.make.ADAPTERS`.
    """

    solved_return: float | None = None
    needs: str = ""
    library: str = "gymnax"


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


def info(name: str) -> EnvironmentInfo:
    """Returns the row of an environment; an empty one for a name that the user registered with gymnax."""
    return ENVIRONMENTS.get(name, EnvironmentInfo())


def solved_return(name: str) -> float | None:
    """Returns the mean return at which an environment counts as solved; None without such a mark."""
    return info(name).solved_return


def problems(name: object) -> list[str]:
    """Explains why an environment cannot be trained on; an empty list if it can.

    Args:
        name: The `env` of a `Config`. Names that the user registered with gymnax are accepted too.
    """
    # If gymnax has not been imported, nobody can have registered a name with it.
    registered = getattr(sys.modules.get("gymnax"), "registered_envs", ())
    known = (*ENVIRONMENTS, *registered)
    if name in known:
        return []

    return [f"env = {name!r} is not a known environment; {closest(str(name), known)}"]
