"""What a benchmark is asked to measure. Imports nothing heavy, so that a mistake is answered at once."""

import dataclasses
import re

from ppo_jax.config import Config, Precision
from ppo_jax.errors import UsageError
from ppo_jax.validation import validate


@dataclasses.dataclass(frozen=True)
class Options:
    """What to measure."""

    env: str = "CartPole-v1"
    """Environment to train on."""
    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32")
    """Environments x steps of one update."""
    agents: tuple[int, ...] = (1,)
    """How many agents to train side by side; parts are measured for a single one."""
    num_epochs: int = 4
    """K: passes over each batch."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    precision: Precision = "float32"
    """Of the layers' matrix products."""
    repeats: int = 5
    """Measurements of each part; the median and the spread are reported."""
    seconds: float = 0.5
    """About how long one measurement should take."""


def check(options: Options) -> None:
    """Finds every mistake in the options.

    Raises:
        UsageError: With all of them.
    """
    problems = [
        f"shapes = {shape!r} is not environments x steps; give one such as 64x128"
        for shape in options.shapes
        if not _is_shape(shape)
    ]
    least = {"agents": min(options.agents, default=0), "repeats": options.repeats, "seconds": options.seconds}
    problems += [
        f"{name} = {value} is not positive; give one that is"
        for name, value in least.items()
        if not value > 0
    ]
    for shape in filter(_is_shape, options.shapes or ("1x1",)):
        problems += _problems(make_config(options, shape))
    if problems:
        raise UsageError(list(dict.fromkeys(problems)))


def make_config(options: Options, shape: str) -> Config:
    """Returns the configuration to train at a shape such as "64x128"."""
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


def _is_shape(shape: str) -> bool:
    return re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape) is not None


def _problems(config: Config) -> list[str]:
    try:
        validate(config)
    except UsageError as error:
        return list(error.problems)
    return []
