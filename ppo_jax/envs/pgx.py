"""The adapter to the games of Pgx for one player.

Pgx has no time limits, and its MinAtar repeats the last action by chance (sticky actions): its returns are
other numbers than those of gymnax's MinAtar.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import jax

from ppo_jax.envs.adapting import dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import TIME_LIMIT, Argument, Parameter, named_parameters_of
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Observation, Transition
from ppo_jax.spaces import Discrete

with concretely():
    pgx: Any = importlib.import_module("pgx")

ONE_PLAYER = ("2048", "minatar-")

SEVERAL = "it is a game of several players, and one agent learns here"
# The games of Pgx, each with the reason why it cannot be trained on, if there is one.
NAMES = {id_: "" if id_.startswith(ONE_PLAYER) else SEVERAL for id_ in pgx.available_envs()}


def make_dynamics(name: str, arguments: Mapping[str, Argument], traced: Mapping[str, jax.Array]) -> Dynamics:
    """Makes one copy of a game of Pgx.

    Args:
        name: A name such as "pgx:2048".
        arguments: Arguments of its constructor, and ours, by name.
        traced: Nothing.

    Raises:
        UsageError: If it cannot be made, or an argument does not fit it.
    """
    kind = _kind_of(name)
    given, ours = split(name, arguments, parameters(name))
    with explained_by(name, arguments):
        with concretely():
            game = kind(**given)
            num_actions = game.num_actions
        return dynamics_of(
            begin=game.init,
            advance=lambda key, state, action: game.step(state, action, key),
            tell=_tell,
            action_space=Discrete(num_actions),
            ours=ours,
        )


def parameters(name: str) -> dict[str, Parameter]:
    """Returns the parameters of a game of Pgx by name, those of its constructor first."""
    return {**named_parameters_of(_kind_of(name)), TIME_LIMIT: Parameter((int,), None)}


def _kind_of(name: str) -> type:
    id_ = identify(name, NAMES)
    with concretely():
        return type(pgx.make(id_))


def _tell(state: Any) -> Transition:
    return Transition(
        observation=Observation(state.observation, legal_actions=state.legal_action_mask),
        reward=state.rewards[0],
        terminated=state.terminated,
        truncated=state.truncated,
    )
