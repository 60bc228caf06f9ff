"""An episode of a policy as a GIF, in the pictures of Gymnasium or of gymnax."""

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

from ppo_jax.envs.gymnax import make_visualizer
from ppo_jax.errors import UsageError
from ppo_jax.host.programs.episode import Episode

MAX_FRAMES = 501  # all states of CartPole's 500 steps; of a longer episode evenly spaced ones

# Gymnasium draws these, with pygame, from a vector of these fields of gymnax's state.
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

COLORS = 64  # of a frame: more than its flat colours and the soft edges between them
FONT_SIZE = 18  # pixels, of the line above the picture
STRIP = 30  # pixels, its height
# Of the channels of MinAtar and Pong; in gymnax's own the first, the player, can hardly be told from black.
ON_A_GRID = ListedColormap(["black", *matplotlib.color_sequences["tab10"]])

# Milliseconds that a frame is seen: of a motion, of a game on a grid, and the last, before all begins again.
FAST, SLOW, LAST = 30, 100, 1000


def check(env: str, output: Path) -> None:
    """Finds what stands in the way of a picture, before anything is computed.

    Args:
        env: Name of the environment.
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
    """Returns whether there is a picture of an environment, and what draws it is installed."""
    return not _problems(env)


def _problems(env: str) -> list[str]:
    if env in DRAWN_BY_GYMNASIUM and importlib.util.find_spec("pygame") is None:
        return [
            f"env = {env!r} cannot be drawn: Gymnasium draws it with pygame, which is not installed; "
            "pip install 'ppo-jax[render]'"
        ]
    if env in DRAWN_BY_GYMNASIUM or env in DRAWN_BY_GYMNAX:
        return []
    known = ", ".join((*DRAWN_BY_GYMNASIUM, *DRAWN_BY_GYMNAX))
    return [
        f"env = {env!r} cannot be drawn: neither Gymnasium nor gymnax has a picture of it; "
        f"these can be: {known}"
    ]


def draw(episode: Episode, output: Path) -> None:
    """Writes an episode as a GIF, whole or not at all; its directory is made if need be.

    Args:
        episode: What to draw; at most MAX_FRAMES of its states are.
        output: The file.

    Raises:
        UsageError: If the environment cannot be drawn, or the file cannot be written.
    """
    check(episode.env, output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(episode, output)
    except OSError as error:
        raise UsageError(
            f"output = '{output}' cannot be written: {error.strerror}; give another path"
        ) from error


def describe(episode: Episode, output: Path) -> str:
    """Says in one line what was drawn."""
    stride = _stride(episode)
    skipped = f" (one frame for {stride} of them)" if stride > 1 else ""
    cut = "" if episode.finished else ", cut off before its end"
    return f"wrote {output}: {episode.steps:,} steps{skipped}{cut}, return {_number(episode.returns[-1])}"


def _write(episode: Episode, output: Path) -> None:
    """Writes a neighbour first, which then takes the place of the file."""
    neighbour = output.with_name(output.name + ".tmp")
    neighbour.touch()  # before anything is drawn: a mistake should not cost time
    try:
        neighbour.write_bytes(gif(episode))
        neighbour.replace(output)
    finally:
        neighbour.unlink(missing_ok=True)


def gif(episode: Episode) -> bytes:
    """Returns an episode as the content of a GIF: some or all of its states, at most MAX_FRAMES."""
    first, *others = _frames(episode)
    every = FAST if episode.env in DRAWN_BY_GYMNASIUM else SLOW
    durations = [every] * len(others) + [LAST]
    buffer = io.BytesIO()
    first.save(buffer, "GIF", save_all=True, append_images=others, duration=durations, loop=0)
    return buffer.getvalue()


def _frames(episode: Episode) -> Iterator[Image.Image]:
    shown = _shown(episode)
    states = [jax.tree.map(itemgetter(index), episode.states) for index in shown]
    draw = _gymnasium_pictures if episode.env in DRAWN_BY_GYMNASIUM else _gymnax_pictures
    for index, picture in zip(shown, draw(episode.env, states), strict=True):
        yield _frame(picture, f"{episode.env}: step {index}, return {_number(episode.returns[index])}")


def _shown(episode: Episode) -> list[int]:
    """The states that are drawn: evenly spaced, and the last."""
    return [*range(0, episode.steps, _stride(episode)), episode.steps]


def _stride(episode: Episode) -> int:
    return math.ceil(episode.steps / (MAX_FRAMES - 1))


def _number(value: float) -> str:
    return f"{round(float(value), 2):g}"


def _frame(picture: np.ndarray, caption: str) -> Image.Image:
    """Puts a line of text above a picture [height, width, 3]."""
    height, width, _ = picture.shape
    frame = Image.new("RGB", (width, height + STRIP), "white")
    frame.paste(Image.fromarray(picture), (0, STRIP))
    ImageDraw.Draw(frame).text((10, 6), caption, "black", ImageFont.load_default(FONT_SIZE))
    # The fastest method that leaves flat colours as they are.
    return frame.quantize(COLORS, Image.Quantize.MAXCOVERAGE)


def _gymnasium_pictures(env: str, states: Sequence[Any]) -> Iterator[np.ndarray]:
    for driver in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):  # pygame needs neither a screen nor a loudspeaker
        os.environ.setdefault(driver, "dummy")
    with closing(gymnasium.make(env, render_mode="rgb_array").unwrapped) as simulator:
        for state in states:
            vars(simulator).update(_as_gymnasium(env, state))
            yield np.asarray(simulator.render())


def _as_gymnasium(env: str, state: Any) -> dict[str, Any]:
    """The attributes in which Gymnasium keeps its state."""
    vector = [getattr(state, field) for field in DRAWN_BY_GYMNASIUM[env]]
    return {"state": np.array(vector, float), "last_u": getattr(state, "last_u", None)}


def _gymnax_pictures(env: str, states: Sequence[Any]) -> Iterator[np.ndarray]:
    visualizer = _begin_to_draw(env, states)
    canvas = FigureCanvasAgg(visualizer.fig)
    for index in range(len(states)):
        visualizer.update(index)
        visualizer.ax.set_title("")
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())[..., :3]


def _begin_to_draw(env: str, states: Sequence[Any]) -> Any:
    with _without_a_screen():
        visualizer = make_visualizer(env, states)
        visualizer.env.observe = jax.jit(
            visualizer.env.observe
        )  # or MinAtar would take twice as long to draw
        visualizer.init()
        pyplot.close(visualizer.fig)  # from here on it is no business of pyplot
    if isinstance(visualizer.im, AxesImage):
        visualizer.im.set_cmap(ON_A_GRID)
    return visualizer


@contextmanager
def _without_a_screen() -> Iterator[None]:
    """Keeps pyplot from opening a window, and leaves its choice of a backend as it was."""
    backend = matplotlib.get_backend()
    matplotlib.use("agg")
    try:
        yield
    finally:
        matplotlib.use(backend, force=False)
