"""Turns an episode of a policy into a GIF, with pictures drawn by Gymnasium, gymnax, or its own library."""

import importlib.util
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
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

from ppo_jax.envs import registry
from ppo_jax.envs.make import Arguments, make_page, make_painter, make_visualizer
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
MANY_COLORS = 256  # of a frame of a library, which may have shadows and textures
FONT_SIZE = 18  # pixels, of the caption above the picture
STRIP = 30  # pixels, the height of the caption
NARROWEST = 480  # pixels, of a picture of a library; a smaller one is enlarged
DOTS_PER_INCH = 50  # of a library's figures of ten inches, which would otherwise be four times as large
# Colors of the channels of MinAtar and Pong. In gymnax's own colors the player can hardly be told from black.
ON_A_GRID = ListedColormap(["black", *matplotlib.color_sequences["tab10"]])

# Milliseconds for which a frame is shown: in a motion, in a game on a grid, and the last before the restart.
FAST, SLOW, LAST = 30, 100, 1000


def check(env: str, output: Path, arguments: Arguments | tuple[()] = ()) -> None:
    """Finds every reason why an episode cannot be drawn, before it is played.

    Args:
        env: The name of the environment.
        output: The file to write.
        arguments: Its `Config.env_args`.

    Raises:
        UsageError: With every mistake.
    """
    _check_names(env, output)
    if registry.library_of(env) and output.suffix == ".gif":
        with _without_windows():
            make_painter(env, arguments)  # says what is missing on this machine


def can_draw(env: str) -> bool:
    """Whether a report shows an episode of an environment, which should take neither long nor a library.

    The environments of other libraries are left out: some take long to compile, or seconds for a frame.
    """
    return registry.library_of(env) is None and not _problems(env)


def _check_names(env: str, output: Path) -> None:
    """Finds what can be found without a library."""
    problems = _problems(env)
    is_page = output.suffix == ".html" and registry.library_of(env) == "brax"
    if output.suffix != ".gif" and not is_page:
        page = " (or in .html: Brax has a page for it)" if registry.library_of(env) == "brax" else ""
        problems.append(f"output = '{output}' does not end in .gif{page}; give a name that does")
    if problems:
        raise UsageError(problems)


def _problems(env: str) -> list[str]:
    library = registry.library_of(env)
    if library and registry.is_on_host(env):
        return [
            f"env = {env!r} cannot be drawn: it is a simulator on the host, of which no states are kept; "
            "train in an environment of JAX to draw it"
        ]
    if library and registry.LIBRARIES[library].drawn:
        why = registry.missing(library)
        return [f"env = {env!r} cannot be drawn: {why}"] if why else []
    if env in DRAWN_BY_GYMNASIUM and importlib.util.find_spec("pygame") is None:
        return [
            f"env = {env!r} cannot be drawn: Gymnasium draws it with pygame, which is not installed; "
            "pip install 'ppo-jax[render]'"
        ]
    drawn = [row.title for row in registry.LIBRARIES.values() if row.drawn]
    known = (*DRAWN_BY_GYMNASIUM, *DRAWN_BY_GYMNAX)
    if env in known:
        return []
    return [
        f"env = {env!r} cannot be drawn: neither Gymnasium nor gymnax has a picture of it; "
        f"these can be drawn: {', '.join(known)}, and those of {', '.join(drawn)}"
    ]


def draw(episode: Episode, output: Path) -> None:
    """Writes an episode as a GIF or a page, whole or not at all; makes its directory if need be.

    Args:
        episode: The episode, of which at most MAX_FRAMES states are drawn.
        output: The file to write.

    Raises:
        UsageError: If the environment cannot be drawn, or the file cannot be written.
    """
    _check_names(episode.env, output)
    with files.output(output) as draft:  # opened first, so that a mistake is found before anything is drawn
        draft.write_bytes(gif(episode) if output.suffix == ".gif" else _page(episode))


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
    colors = COLORS
    if library := registry.library_of(episode.env):
        is_motion, draw_states = registry.LIBRARIES[library].drawn == "motions", _draw_with_library
        colors = MANY_COLORS
    frames = [
        _frame(picture, f"{episode.env}: step {index}, return {_return(episode, index)}", colors)
        for index, picture in zip(shown, draw_states(episode, states), strict=True)
    ]
    durations = [FAST if is_motion else SLOW] * (len(frames) - 1) + [LAST]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return buffer.getvalue()


def _page(episode: Episode) -> bytes:
    """Returns an episode as the content of a page of HTML, with all of its states."""
    states = [jax.tree.map(itemgetter(index), episode.states) for index in range(episode.steps + 1)]
    return make_page(episode.env, episode.env_args, states).encode()


def _shown(episode: Episode) -> list[int]:
    """Chooses the states to draw: evenly spaced, and the last."""
    stride = math.ceil(episode.steps / (MAX_FRAMES - 1))
    return [*range(0, episode.steps, stride), episode.steps]


def _return(episode: Episode, index: int) -> str:
    return f"{round(float(episode.returns[index]), 2):g}"


def _frame(picture: np.ndarray, caption: str, colors: int = COLORS) -> Image.Image:
    """Puts a line of text above a picture [height, width, 3]; smaller text if it would not fit."""
    height, width, _ = picture.shape
    frame = Image.new("RGB", (width, height + STRIP), "white")
    frame.paste(Image.fromarray(picture), (0, STRIP))
    font = ImageFont.load_default(FONT_SIZE)
    if (length := font.getlength(caption)) > width - 20:
        font = ImageFont.load_default(FONT_SIZE * (width - 20) / length)
    ImageDraw.Draw(frame).text((10, 6), caption, "black", font)
    # The fastest method that leaves flat colors unchanged.
    return frame.quantize(colors, Image.Quantize.MAXCOVERAGE)


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
    with _without_windows():
        visualizer = make_visualizer(episode.env, episode.env_args, states)
        # Without this, MinAtar would take twice as long to draw.
        visualizer.env.observe = jax.jit(visualizer.env.observe)
        visualizer.init()
        pyplot.close(visualizer.fig)  # the figure is drawn without pyplot from here on
    if isinstance(visualizer.im, AxesImage):
        visualizer.im.set_cmap(ON_A_GRID)
    canvas = FigureCanvasAgg(visualizer.fig)
    for index in range(len(states)):
        visualizer.update(index)
        visualizer.ax.set_title("")
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3]


def _draw_with_library(episode: Episode, states: Sequence[Any]) -> Iterator[np.ndarray]:
    with _without_windows(), matplotlib.rc_context({"figure.dpi": DOTS_PER_INCH, "interactive": True}):
        painter = make_painter(episode.env, episode.env_args)
        paint = jax.jit(painter.paint) if painter.is_traceable else painter.paint
        for state in states:
            picture = np.asarray(paint(state))
            factor = math.ceil(NARROWEST / picture.shape[1])
            yield picture.repeat(factor, axis=0).repeat(factor, axis=1)


@contextmanager
def _without_windows() -> Iterator[None]:
    """Lets libraries use pyplot without opening windows, and closes the figures that they leave open."""
    backend, mine = matplotlib.get_backend(), pyplot.get_fignums()
    matplotlib.use("agg")
    try:
        yield
    finally:
        for number in set(pyplot.get_fignums()) - set(mine):
            pyplot.close(number)
        matplotlib.use(backend, force=False)
