"""The names of environments, without importing the libraries that implement them.

A name is a row of the table, "library:name", a name that the user registered, or a reference to code of the
user, "file.py:object" or "module:object", which is loaded and registered by `host.runs.code`.

Importing gymnax takes seconds; answering a mistyped name should not. `tests/envs/test_registry.py` compares
this table with gymnax itself. Environments of the other libraries have no rows: they are named
"library:name", and the library is asked for its names only when one of them is made.
"""

import importlib.util
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from ppo_jax import registered
from ppo_jax.errors import UsageError, closest


class EnvironmentInfo(NamedTuple):
    """One row of the table of environments.

    Attributes:
        solved_return: Mean return of 100 consecutive episodes at which the task counts as solved
            (Gymnasium's `reward_threshold`), or None without an agreed mark.
        needs: Anything it needs in addition to this package, in a few words; empty if nothing.
        library: The library that implements it, a row of LIBRARIES.
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
    "MNISTBandit-bsuite": EnvironmentInfo(needs="the MNIST data set, which it downloads"),
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


class Library(NamedTuple):
    """One row of the table of libraries; the file of its adapter has the name of the row.

    Attributes:
        title: The name that its authors gave it.
        module: The module that has to be installed.
        extra: The extra of this package that installs it; empty if it is always installed.
        example: The name of one of its environments.
        on_host: Whether its environments compute on the host, rather than as a part of compiled programs.
        drawn: The kind of pictures that its adapter draws, "games" or "motions"; empty if it draws none.
    """

    title: str
    module: str
    extra: str
    example: str
    on_host: bool = False
    drawn: str = ""


LIBRARIES: dict[str, Library] = {
    "gymnax": Library("gymnax", "gymnax", "", "CartPole-v1"),
    "brax": Library("Brax", "brax", "brax", "ant", drawn="motions"),
    "craftax": Library("Craftax", "craftax", "craftax", "Craftax-Classic-Symbolic-v1", drawn="games"),
    "gymnasium": Library("Gymnasium", "gymnasium", "", "CartPole-v1", on_host=True),
    "jumanji": Library("Jumanji", "jumanji", "jumanji", "Snake-v1", drawn="games"),
    "navix": Library("NAVIX", "navix", "navix", "Navix-Empty-5x5-v0", drawn="games"),
    "pgx": Library("Pgx", "pgx", "pgx", "2048", drawn="games"),
    "playground": Library(
        "MuJoCo Playground", "mujoco_playground", "playground", "CartpoleBalance", drawn="motions"
    ),
    "xminigrid": Library("XLand-MiniGrid", "xminigrid", "xminigrid", "MiniGrid-Empty-5x5", drawn="games"),
}


def library_of(name: object) -> str | None:
    """Returns the library that a name such as "brax:ant" names; None for names of other forms."""
    library, colon, _ = str(name).partition(":")
    return library if colon and library in LIBRARIES else None


def is_on_host(name: object) -> bool:
    """Whether an environment computes on the host, so that it cannot be a part of a compiled program."""
    library = library_of(name)
    return library is not None and LIBRARIES[library].on_host


def missing(library: str) -> str | None:
    """Says how to install a library that is not installed, without importing it; None if it is.

    Args:
        library: The name of its row.
    """
    row = LIBRARIES.get(library)
    if row is None or importlib.util.find_spec(row.module) is not None:
        return None
    return f"{row.title} is not installed; give pip install 'ppo-jax[{row.extra}]'"


def info(name: str) -> EnvironmentInfo:
    """Returns the row of an environment; an empty one for a name that the user registered with gymnax."""
    if library := library_of(name):
        return EnvironmentInfo(library=library)
    return ENVIRONMENTS.get(name, EnvironmentInfo())


def solved_return(name: str, arguments: Sequence = ()) -> float | None:
    """Returns the mean return at which an environment counts as solved; None without such a mark.

    Args:
        name: The name of the environment.
        arguments: Its `Config.env_args`. With any, it is another task, for which there is no mark.
    """
    if arguments:
        return None
    own = registered.ENVIRONMENTS.get(name)
    return own.solved_return if own else info(name).solved_return


def is_reference(name: object) -> bool:
    """Whether a name refers to code of the user, as "file.py:object" and "module:object" do."""
    first, colon, _ = str(name).rpartition(":")
    return bool(colon) and first not in LIBRARIES


def register(name: str, environment: Any, solved_return: float | None = None) -> None:
    """Registers an environment of your own: `Config(env=name)` then works everywhere in this process.

    Registering a name again replaces what it meant; programs that were compiled before are then forgotten.

    Args:
        name: A name that no environment of a library has.
        environment: A `Dynamics`, an `Environment`, a gymnax class or instance, or a function that returns
            one. The parameters of a class or function become those of `Config.env_args`.
        solved_return: Mean return of 100 consecutive episodes at which the task counts as solved.

    Raises:
        UsageError: If the name belongs to an environment of a library or is a reference to code, if nothing
            can be made of the environment, or if the mark is not a number.
    """
    registered.check_name(name)
    if name in ENVIRONMENTS:
        raise UsageError(
            f"name = {name!r} cannot be registered: it is an environment of a library; give another one"
        )
    if not (callable(environment) or hasattr(environment, "reset")):
        raise UsageError(
            f"environment is a {type(environment).__name__}; give a Dynamics, an Environment, a gymnax class "
            "or instance, or a function that returns one"
        )
    is_number = isinstance(solved_return, int | float) and not isinstance(solved_return, bool)
    if not is_number and solved_return is not None:
        raise UsageError(f"solved_return = {solved_return!r} is not a number; give one, or None")
    registered.enter(name, environment, solved_return)


def problems(name: object) -> list[str]:
    """Explains why a name is not that of an environment; an empty list if it is.

    Args:
        name: The `env` of a `Config`. Whether a reference to code can be loaded is not looked at here, nor
            whether an installed library has an environment of that name.
    """
    library = library_of(name)
    if why := library and missing(library):
        return [f"env = {name!r} cannot be made: {why}"]
    # If gymnax has not been imported, nobody can have registered a name with it.
    with_gymnax = getattr(sys.modules.get("gymnax"), "registered_envs", ())
    known = tuple(dict.fromkeys((*ENVIRONMENTS, *with_gymnax, *registered.ENVIRONMENTS)))
    if name in known or (isinstance(name, str) and ":" in name):
        return []

    return [f"env = {name!r} is neither a known environment nor FILE.py:OBJECT; {closest(str(name), known)}"]
