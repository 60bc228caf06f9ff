"""Pictures of MuJoCo's models, without a display, for the adapters to Brax and MuJoCo Playground.

MuJoCo's own `Renderer` takes the kind of OpenGL that the environment variable MUJOCO_GL names when MuJoCo is
imported, by default one that needs a display on Linux, and the process aborts if there is none.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from ppo_jax.errors import UsageError

WIDTH, HEIGHT = 480, 360  # pixels, within MuJoCo's default buffer
MAX_SHAPES = 10_000  # in a picture, as in MuJoCo's `Renderer`
FONT_SCALE = 100  # percent; MuJoCo asks for one, but no text is drawn
# The modules that make a context of OpenGL which needs no display, in the order in which they are tried.
CONTEXTS = {"linux": ("mujoco.egl", "mujoco.osmesa"), "darwin": ("mujoco.cgl",), "win32": ("mujoco.glfw",)}


def make_painter(
    name: str, model: Any, positions: Callable[[Any], Mapping[str, Any]]
) -> Callable[[Any], np.ndarray]:
    """Makes a function that draws states of a model.

    Args:
        name: The name of the environment, for the message.
        model: The `MjModel`. Its first camera is used, which follows the robot where there is one to follow.
        positions: `positions(state)` returns what a picture shows, by the name of its field in `MjData`.

    Returns:
        A function of a state, which returns a picture [HEIGHT, WIDTH, 3] uint8.

    Raises:
        UsageError: If there is no OpenGL that needs no display.
    """
    try:
        opengl = _context()
    except OSError as error:
        raise UsageError(
            f"env = {name!r} cannot be drawn: MuJoCo's renderer needs OpenGL, and none works here without a "
            f"display ({error}); install EGL (on Debian and Ubuntu: apt-get install libegl1), or OSMesa "
            "(libosmesa6) and set MUJOCO_GL=osmesa"
        ) from error
    mujoco: Any = importlib.import_module("mujoco")
    context = mujoco.MjrContext(model, FONT_SCALE)
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    area, scene = mujoco.MjrRect(0, 0, WIDTH, HEIGHT), mujoco.MjvScene(model, MAX_SHAPES)
    data, options, camera = mujoco.MjData(model), mujoco.MjvOption(), mujoco.MjvCamera()
    if model.ncam:
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, 0
    else:
        mujoco.mjv_defaultFreeCamera(model, camera)

    def paint(state: Any) -> np.ndarray:
        opengl.make_current()
        for field, value in positions(state).items():
            getattr(data, field)[:] = value
        mujoco.mj_forward(model, data)
        mujoco.mjv_updateScene(model, data, options, None, camera, mujoco.mjtCatBit.mjCAT_ALL, scene)
        mujoco.mjr_render(area, scene, context)
        picture = np.empty((HEIGHT, WIDTH, 3), np.uint8)
        mujoco.mjr_readPixels(picture, None, area, context)
        return picture[::-1]  # OpenGL begins at the bottom

    return paint


@cache
def _context() -> Any:
    """Makes the context of OpenGL of this process and makes it the current one.

    There is one for all painters, as what a painter frees is looked up in the context that is current.

    Raises:
        OSError: If there is none; it says what was tried.
    """
    failures = []
    for module in CONTEXTS.get(sys.platform, ()):
        try:
            context = importlib.import_module(module).GLContext(WIDTH, HEIGHT)
            context.make_current()
            return context
        except Exception as error:  # of many kinds, from the loader of libraries to OpenGL itself
            failures.append(f"{module}: {type(error).__name__}: {error}")
    raise OSError("; ".join(failures) or sys.platform)
