"""Turns an episode of a policy into a GIF, with pictures drawn by Gymnasium or gymnax."""

import importlib.util
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing
from operator import itemgetter
from pathlib import Path
from typing import Any

import gymnasium
import jax
import matplotlib
import numpy as np
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.image import AxesImage
from PIL import Image, ImageDraw, ImageFont

from ppo_jax.envs.make import make_visualizer
from ppo_jax.errors import UsageError
from ppo_jax.host.programs.episode import Episode
from ppo_jax.host.runs import files

MAX_FRAMES = 501  # all states of CartPole's 500 steps; longer episodes are shown by evenly spaced states

# Gymnasium draws these environments, with pygame, from a vector of these fields of gymnax's state.
DRAWN_BY_GYMNASIUM = {
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    "MountainCar-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
    "MountainCarContinuous-v0": ("position", "velocity"),
}
DRAWN_BY_GYMNAX = (
    *("Asterix-MinAtar", "Breakout-MinAtar", "Freeway-MinAtar", "Seaquest-MinAtar", "SpaceInvaders-MinAtar"),
    *("Catch-bsuite", "FourRooms-misc", "MetaMaze-misc", "PointRobot-misc", "Pong-misc"),
)

COLORS = 64  # colors of a frame: enough for its flat colors and the soft edges between them
FONT_SIZE = 18  # pixels, of the caption above the picture
STRIP = 30  # pixels, the height of the caption
# Colors of the channels of MinAtar and Pong. In gymnax's own colors the player can hardly be told from black.
ON_A_GRID = ListedColormap(["black", *matplotlib.color_sequences["tab10"]])

# Milliseconds for which a frame is shown: in a motion, in a game on a grid, and the last before the restart.
FAST, SLOW, LAST = 30, 100, 1000


def check(env: str, output: Path) -> None:
    """Finds every reason why an episode cannot be drawn, before anything is computed.

    Args:
        env: The name of the environment.
        output: The file to write.

    Raises:
        UsageError: With every mistake.
    """
    problems = _problems(env)
    if output.suffix != ".gif":
        problems.append(f"output = '{output}' does not end in .gif; give a name that does")

    if problems:
        raise UsageError(problems)


def can_draw(env: str) -> bool:
    """Whether an environment can be drawn and the library that draws it is installed."""
    return not _problems(env)


def _problems(env: str) -> list[str]:
    if env in DRAWN_BY_GYMNASIUM and importlib.util.find_spec("pygame") is None:
        return [
            f"env = {env!r} cannot be drawn: Gymnasium draws it with pygame, which is not installed; "
            "pip install 'ppo-jax[render]'"
        ]
    known = (*DRAWN_BY_GYMNASIUM, *DRAWN_BY_GYMNAX)
    if env in known:
        return []
    return [
        f"env = {env!r} cannot be drawn: neither Gymnasium nor gymnax has a picture of it; "
        f"these can be drawn: {', '.join(known)}"
    ]


def draw(episode: Episode, output: Path) -> None:
    """Writes an episode as a GIF, whole or not at all; makes its directory if need be.

    Args:
        episode: The episode, of which at most MAX_FRAMES states are drawn.
        output: The file to write.

    Raises:
        UsageError: If the environment cannot be drawn, or the file cannot be written.
    """
    check(episode.env, output)
    with files.output(output) as draft:  # opened first, so that a mistake is found before anything is drawn
        draft.write_bytes(gif(episode))


def describe(episode: Episode, output: Path) -> str:
    """Describes in one line what was drawn."""
    first, second, *_ = _shown(episode)
    stride = second - first

    skipped = f" (one frame for {stride} of them)" if stride > 1 else ""
    cut = "" if episode.finished else ", cut off before its end"
    return f"wrote {output}: {episode.steps:,} steps{skipped}{cut}, return {_return(episode, episode.steps)}"


def gif(episode: Episode) -> bytes:
    """Returns an episode as the content of a GIF, with at most MAX_FRAMES of its states."""
    shown = _shown(episode)
    states = [jax.tree.map(itemgetter(index), episode.states) for index in shown]
    is_motion = episode.env in DRAWN_BY_GYMNASIUM
    draw_states = _draw_with_gymnasium if is_motion else _draw_with_visualizer
    frames = [
        _frame(picture, f"{episode.env}: step {index}, return {_return(episode, index)}")
        for index, picture in zip(shown, draw_states(episode, states), strict=True)
    ]
    durations = [FAST if is_motion else SLOW] * (len(frames) - 1) + [LAST]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _shown(episode: Episode) -> list[int]:
    """Chooses the states to draw: evenly spaced, and the last."""
    stride = math.ceil(episode.steps / (MAX_FRAMES - 1))
    return [*range(0, episode.steps, stride), episode.steps]


def _return(episode: Episode, index: int) -> str:
    return f"{round(float(episode.returns[index]), 2):g}"


def _frame(picture: np.ndarray, caption: str) -> Image.Image:
    """Puts a line of text above a picture [height, width, 3]."""
    height, width, _ = picture.shape
    frame = Image.new("RGB", (width, height + STRIP), "white")
    frame.paste(Image.fromarray(picture), (0, STRIP))
    ImageDraw.Draw(frame).text((10, 6), caption, "black", ImageFont.load_default(FONT_SIZE))
    # The fastest method that leaves flat colors unchanged.
    return frame.quantize(COLORS, Image.Quantize.MAXCOVERAGE)


def _draw_with_gymnasium(episode: Episode, states: Sequence[Any]) -> Iterator[np.ndarray]:
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # pygame needs neither a screen nor a loudspeaker
        os.environ.setdefault(driver, "dummy")
    with closing(gymnasium.make(episode.env, render_mode="rgb_array").unwrapped) as simulator:
        for state in states:
            vector = [getattr(state, field) for field in DRAWN_BY_GYMNASIUM[episode.env]]
            # The attributes in which Gymnasium's classic control environments keep what they draw.
            vars(simulator).update(state=np.array(vector, float), last_u=getattr(state, "last_u", None))
            yield np.asarray(simulator.render())


def _draw_with_visualizer(episode: Episode, states: Sequence[Any]) -> Iterator[np.ndarray]:
    backend = matplotlib.get_backend()
    matplotlib.use("agg")  # otherwise pyplot would open a window
    try:
        visualizer = make_visualizer(episode.env, episode.env_args, states)
        # Without this, MinAtar would take twice as long to draw.
        visualizer.env.observe = jax.jit(visualizer.env.observe)
        visualizer.init()
        pyplot.close(visualizer.fig)  # the figure is drawn without pyplot from here on
    finally:
        matplotlib.use(backend, force=False)
    if isinstance(visualizer.im, AxesImage):
        visualizer.im.set_cmap(ON_A_GRID)
    canvas = FigureCanvasAgg(visualizer.fig)
    for index in range(len(states)):
        visualizer.update(index)
        visualizer.ax.set_title("")
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3]
