"""The adapter to the games of Pgx for one player.

Pgx has no time limits, and its MinAtar repeats the last action by chance (sticky actions): its returns are
other numbers than those of gymnax's MinAtar.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ppo_jax.envs.adapting import Painter, dynamics_of, explained_by, identify, split
from ppo_jax.envs.arguments import RESET_POOL, TIME_LIMIT, Argument, Parameter, named_parameters_of
from ppo_jax.envs.concrete import concretely
from ppo_jax.envs.environment import Dynamics, Observation, Transition
from ppo_jax.spaces import Discrete

with concretely():
    pgx: Any = importlib.import_module("pgx")

ONE_PLAYER = ("2048", "minatar-")
POOL = 256  # first states per rollout: a reset takes about as long as a step

CELL = 120  # pixels, of the square of a tile of 2048
TILES = ("#cdc1b4", "#eee4da", "#ede0c8", "#f2b179", "#f59563", "#f67c5f", "#f65e3b", "#edcf72")
# Black, and a color for each kind of thing in MinAtar. In Pgx's own the player is almost black.
COLORS = np.array(
    (
        *((0, 0, 0), (31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40), (148, 103, 189)),
        *((140, 86, 75), (227, 119, 194), (127, 127, 127), (188, 189, 34), (23, 190, 207)),
    ),
    np.uint8,
)

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
    found = named_parameters_of(_kind_of(name))
    return {**found, TIME_LIMIT: Parameter((int,), None), RESET_POOL: Parameter((int,), POOL)}


def make_painter(name: str, arguments: Mapping[str, Argument]) -> Painter:
    """Makes what draws states of a game of Pgx. Its own pictures are vector graphics, so these are ours."""
    return Painter(_paint_2048 if identify(name, NAMES) == "2048" else _paint_minatar)


def _paint_minatar(state: Any) -> np.ndarray:
    """Draws the squares of MinAtar."""
    seen = np.asarray(state.observation)  # [height, width, kinds] bool
    kinds = np.arange(1, seen.shape[-1] + 1)
    # Of several things in a square, the one of the last kind is drawn.
    shown = (seen * kinds).max(axis=-1)  # [height, width]; 0 where there is nothing
    return COLORS[shown]


def _paint_2048(state: Any) -> np.ndarray:
    """Draws the tiles of 2048."""
    exponents = np.asarray(state.observation).argmax(axis=-1)  # [4, 4]; 0 where there is no tile
    image = Image.new("RGB", (4 * CELL, 4 * CELL), "#bbada0")
    pen = ImageDraw.Draw(image)
    for (row, column), exponent in np.ndenumerate(exponents):
        left, top = column * CELL, row * CELL
        corners = (left + 5, top + 5, left + CELL - 5, top + CELL - 5)
        pen.rounded_rectangle(corners, 8, TILES[min(exponent, len(TILES) - 1)])
        if exponent:
            middle, font = (left + CELL / 2, top + CELL / 2), ImageFont.load_default(30)
            pen.text(middle, str(2**exponent), "black", font, anchor="mm")
    return np.asarray(image)


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
