"""How much memory a training takes, before it is compiled, and what takes it."""

import math
from typing import Any, NamedTuple

import jax
import psutil

from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.train import TrainState

SCALAR = 4  # bytes of a float32 or an int32
SCALARS_PER_STEP = 8  # reward, value, advantage, target, log-probability and flags of a step of one copy

MARGIN = 1.5  # the estimate is never that far off


class Share(NamedTuple):
    """What one part of a training takes.

    Attributes:
        what: Its name.
        size: Bytes.
        remedy: What to change, so that it takes less.
    """

    what: str
    size: int
    remedy: str


def estimate(config: Config, template: TrainState) -> list[Share]:
    """Estimates the memory of a training from its shapes, to about a third.

    Args:
        config: Of the training.
        template: Shapes and dtypes of its state, from `jax.eval_shape`.

    Returns:
        The parts, largest first. Counted are the state before and after a chunk, a rollout with the
        successors of its observations, the copy of it that an epoch shuffles, and what a gradient step
        keeps of a minibatch from forward to backward.
    """
    steps, collector = config.num_steps, template.collector
    observations = steps * _bytes(collector.observation)
    others = steps * (_bytes(collector.memory) + config.num_envs * SCALARS_PER_STEP * SCALAR)
    positions = math.prod(jax.tree.leaves(collector.observation)[0].shape[1:3])  # of an image
    kernels = [x.shape for x in jax.tree.leaves(template.learner.params) if x.ndim > 1]
    width = sum(shape[-1] * (positions if len(shape) == 4 else 1) for shape in kernels)
    shares = [
        Share("the observations of a rollout", 2 * observations, "lower --num-envs or --num-steps"),
        Share("the rest of a rollout", others, "lower --num-envs or --num-steps"),
        Share("its shuffled copy", observations + others, "lower --num-envs or --num-steps"),
        Share(
            "the activations of a minibatch",
            2 * SCALAR * config.minibatch_size * width,
            "give more --num-minibatches, or fewer --hidden-sizes",
        ),
        Share("parameters and optimizer", 2 * _bytes(template.learner), "give fewer --hidden-sizes"),
        Share("the environments", 2 * _bytes(collector.environment), "lower --num-envs"),
    ]
    return sorted(shares, key=lambda share: -share.size)


def check(shares: list[Share]) -> None:
    """Refuses a training that cannot fit, before time is spent on compiling it.

    Raises:
        UsageError: If it needs far more than there is, so that the estimate cannot be at fault.
    """
    if _total(shares) > MARGIN * available():
        raise UsageError(describe(shares))


def describe(shares: list[Share]) -> str:
    """Says what a training takes, what takes most, and what to do, in one line."""
    largest = ", ".join(f"{share.what} {_gib(share.size)}" for share in shares[:3])
    return (
        f"this training needs about {_gib(_total(shares))} of memory, where there are {_gib(available())}: "
        f"{largest}; {shares[0].remedy}"
    )


def is_exhausted(error: Exception) -> bool:
    """Whether an error says that there was not enough memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def available() -> int:
    """Returns the bytes of memory of the device, or of the host where the device has none of its own."""
    device = jax.local_devices()[0].memory_stats() or {}
    return device.get("bytes_limit") or psutil.virtual_memory().total


def _total(shares: list[Share]) -> int:
    return sum(share.size for share in shares)


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _gib(size: int) -> str:
    return f"{size / 2**30:,.2f} GiB"
