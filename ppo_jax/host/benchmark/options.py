"""The options of a benchmark. Imports nothing heavy, so that a mistake is answered at once."""

import dataclasses
import re

from ppo_jax.config import Config, Precision
from ppo_jax.errors import UsageError
from ppo_jax.validation import validate


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure, and how thoroughly."""

    env: str = "CartPole-v1"
    """Environment to train on."""
    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32")
    """Batch shapes: environments x steps per update."""
    agents: tuple[int, ...] = (1,)
    """Numbers of agents to train side by side. The parts of training are measured for a single agent only."""
    num_epochs: int = 4
    """Passes over the data of each update (K in the paper)."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    precision: Precision = "float32"
    """Precision of the layers' matrix products."""
    repeats: int = 5
    """Number of measurements of each part. Their median, minimum and maximum are reported."""
    seconds: float = 0.5
    """About how many seconds one measurement should take."""


def check(options: Options) -> None:
    """Finds every mistake in the options.

    Raises:
        UsageError: With all mistakes.
    """
    if found := problems(options):
        raise UsageError(found)


def problems(options: Options) -> list[str]:
    """Lists what is wrong with the options; an empty list if nothing is."""
    valid = [shape for shape in options.shapes if re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape)]
    found = [
        f"shapes = {shape!r} is not environments x steps; give one such as 64x128"
        for shape in options.shapes
        if shape not in valid
    ]
    if not options.shapes:
        found.append("shapes = () is empty; give one or more such as 64x128")
    smallest = {
        "agents": min(options.agents, default=0),
        "repeats": options.repeats,
        "seconds": options.seconds,
    }
    found += [f"{name} = {x} is not positive; give one that is" for name, x in smallest.items() if not x > 0]
    for shape in valid:
        try:
            validate(make_config(options, shape))
        except UsageError as error:
            found += error.problems
    return list(dict.fromkeys(found))  # several shapes may have the same problem


def make_config(options: Options, shape: str) -> Config:
    """Returns the configuration to train with at a shape such as "64x128"."""
    num_envs, num_steps = map(int, shape.split("x"))
    return Config(
        env=options.env,
        num_envs=num_envs,
        num_steps=num_steps,
        total_timesteps=num_envs * num_steps,
        num_epochs=options.num_epochs,
        num_minibatches=options.num_minibatches,
        precision=options.precision,
    )
