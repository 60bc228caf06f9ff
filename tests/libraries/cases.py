"""One cheap environment of each library, and what is known about it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from ppo_jax.spaces import Box, Discrete, Space


class Case(NamedTuple):
    """What is known about an environment of a library.

    Attributes:
        name: Its name in the library.
        limit: The parameter that sets its time limit.
        observation: The shape of its observations.
        action: The space of its actions.
        default_limit: The steps of an episode at most, by default; None without a limit.
        first: `first(key)`, the first observation that the library itself gives, without our adapter.
        wrong: Arguments that do not fit, each with what the message has to say.
        refused: The names that cannot be trained on, each with what the message has to say.
    """

    name: str
    limit: str
    observation: tuple[int, ...]
    action: Space
    default_limit: int | None
    first: Callable[[], Callable[[jax.Array], Any]]
    wrong: tuple[tuple[str, Any, str], ...]
    refused: tuple[tuple[str, str], ...]


def first_of_brax():
    from brax import envs

    env = envs.get_environment("inverted_pendulum")
    return lambda key: env.reset(key).obs


def first_of_craftax():
    from craftax.craftax_env import make_craftax_env_from_name

    env = make_craftax_env_from_name("Craftax-Classic-Symbolic-v1", auto_reset=False)
    return lambda key: env.reset(key)[0]


def first_of_jumanji():
    import jumanji

    env = jumanji.make("Snake-v1")
    return lambda key: env.reset(key)[1].observation.grid


def first_of_navix():
    import navix

    env = navix.make("Navix-Empty-Random-5x5-v0")
    return lambda key: env.reset(key).observation


def first_of_pgx():
    import pgx

    game = pgx.make("2048")
    return lambda key: game.init(key).observation


def first_of_playground():
    from mujoco_playground import registry

    env = registry.load("PendulumSwingup", config_overrides={"impl": "jax"})
    return lambda key: env.reset(key).obs


def first_of_xminigrid():
    import xminigrid

    env, params = xminigrid.make("MiniGrid-EmptyRandom-5x5")
    return lambda key: env.reset(params, key).observation


ONE_AT_LEAST = ("time_limit", 0, "time_limit = 0 is not at least 1")
CASES = {
    "brax": Case(
        name="inverted_pendulum",
        limit="time_limit",
        observation=(4,),
        action=Box((1,), -1.0, 1.0),
        default_limit=1000,
        first=first_of_brax,
        wrong=(ONE_AT_LEAST, ("backend", "newton", "'generalized'")),
        refused=(("antt", "did you mean 'ant'"), ("swimmer", "a_min")),
    ),
    "craftax": Case(
        name="Craftax-Classic-Symbolic-v1",
        limit="time_limit",
        observation=(1345,),
        action=Discrete(17),
        default_limit=10_000,
        first=first_of_craftax,
        wrong=(ONE_AT_LEAST, ("max_timesteps", 5, "is unknown")),
        refused=(("Craftax-Classic-Symbolic-v2", "did you mean 'Craftax-Classic-Symbolic-v1'"),),
    ),
    "jumanji": Case(
        name="Snake-v1",
        limit="time_limit",
        observation=(12, 12, 5),
        action=Discrete(4),
        default_limit=4000,
        first=first_of_jumanji,
        wrong=(
            ONE_AT_LEAST,
            ("viewer", "me", "no number, bool or text"),
            ("num_rows", "two", "whole number"),
        ),
        refused=(("Snake-v0", "did you mean 'Snake-v1'"),),
    ),
    "navix": Case(
        name="Navix-Empty-Random-5x5-v0",
        limit="max_steps",
        observation=(5, 5, 3),
        action=Discrete(7),
        default_limit=100,
        first=first_of_navix,
        wrong=(("max_steps", 0, "max_steps = 0 is not at least 1"), ("time_limit", 5, "is unknown")),
        refused=(("Navix-Empty-5x5", "did you mean 'Navix-Empty-5x5-v0'"),),
    ),
    "pgx": Case(
        name="2048",
        limit="time_limit",
        observation=(4, 4, 31),
        action=Discrete(4),
        default_limit=None,
        first=first_of_pgx,
        wrong=(ONE_AT_LEAST, ("sticky_action_prob", 0.1, "is unknown")),
        refused=(("2049", "did you mean '2048'"), ("chess", "a game of several players")),
    ),
    "playground": Case(
        name="PendulumSwingup",
        limit="time_limit",
        observation=(3,),
        action=Box((1,), -1.0, 1.0),
        default_limit=1000,
        first=first_of_playground,
        wrong=(ONE_AT_LEAST, ("impl", "numpy", "'jax' or 'warp'")),
        refused=(("PendulumSwingUp2", "did you mean 'PendulumSwingup'"),),
    ),
    "xminigrid": Case(
        name="MiniGrid-EmptyRandom-5x5",
        limit="max_steps",
        observation=(7, 7, 2),
        action=Discrete(6),
        default_limit=100,
        first=first_of_xminigrid,
        wrong=(("max_steps", 0, "max_steps = 0 is not at least 1"), ("render_mode", "rgb", "is unknown")),
        refused=(("MiniGrid-Empty-5x6", "'MiniGrid-Empty-5x5'"),),
    ),
}
