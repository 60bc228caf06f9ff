"""Draws the episodes of the gallery: trains presets, and films one episode of each policy.

    python benchmarks/draw_episodes.py CartPole-v1 Pendulum-v1

The films are small enough for a page. `benchmarks/quotes.py` then writes the page.
"""

import dataclasses
import math
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import tyro
from figures import GALLERY
from PIL import Image, ImageSequence
from record import complete, write

import ppo_jax
from ppo_jax.host.pictures import film
from ppo_jax.host.programs import episode

WIDTH = 240  # pixels of a picture
FRAMES = 60  # the most of a film; a longer episode is shown by evenly spaced frames
COLORS = 16
SLOWEST = 100  # milliseconds for which a frame is shown
LARGEST = 150_000  # bytes of a film


@dataclasses.dataclass(frozen=True)
class Options:
    """Draw episodes for the gallery."""

    presets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """Presets to train, all of the gallery that have an episode."""


def main(options: Options) -> None:
    """Draws an episode of each preset, and writes what they are into one record."""
    GALLERY.mkdir(exist_ok=True)
    episodes = {}
    for name in sorted(options.presets):
        episodes[name] = draw(name)
        print(f"{name}: {episodes[name]}, {(GALLERY / f'{name}.gif').stat().st_size:,} bytes", flush=True)
    command = shlex.join(["python", "benchmarks/draw_episodes.py", *sys.argv[1:]])
    write(GALLERY / "episodes.json", complete({"command": command, "episodes": episodes}))
    print("`python benchmarks/quotes.py` writes them into the page")


def draw(name: str) -> dict[str, Any]:
    """Trains a preset from seed 0, and films the episode of its greedy policy from seed 0."""
    config, hyper = ppo_jax.preset(name)
    with tempfile.TemporaryDirectory() as folder:
        run = ppo_jax.run(config, hyper, run_dir=Path(folder) / "run", quiet=True)
        played = episode.play(config, run.agent(), seed=0)
        whole = Path(folder) / "episode.gif"
        film.draw(played, whole)
        shrink(whole, GALLERY / f"{name}.gif")
    return {"steps": played.steps, "return": round(float(played.returns[-1]), 2)}


def shrink(whole: Path, output: Path) -> None:
    """Writes a film with fewer frames, pixels and colors.

    Raises:
        ValueError: If it is still too large for a page.
    """
    with Image.open(whole) as picture:
        milliseconds = picture.info["duration"]
        frames = [frame.convert("RGB") for frame in ImageSequence.Iterator(picture)]
    every = math.ceil(len(frames) / FRAMES)
    size = WIDTH, round(WIDTH * frames[0].height / frames[0].width)
    small = [frame.resize(size, Image.Resampling.LANCZOS).quantize(COLORS) for frame in frames[::every]]
    duration = min(SLOWEST, milliseconds * every)
    small[0].save(output, save_all=True, append_images=small[1:], duration=duration, loop=0, optimize=True)
    if output.stat().st_size > LARGEST:
        raise ValueError(f"{output} has {output.stat().st_size:,} bytes, more than {LARGEST:,}")


if __name__ == "__main__":
    main(tyro.cli(Options))
