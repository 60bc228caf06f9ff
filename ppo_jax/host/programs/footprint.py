"""The footprint of a run: how much RAM it needs, and what needs most of it, estimated before compiling."""

import math
from typing import Any, NamedTuple

import jax
import psutil

from ppo_jax.algorithm.train import TrainState
from ppo_jax.config import Config
from ppo_jax.errors import UsageError

SCALAR = 4  # bytes of a float32 or an int32
SCALARS_PER_STEP = 8  # for one step of one copy: reward, value, advantage, target, log-probability, flags
MARGIN = 1.5  # the estimate is never that far off


class Share(NamedTuple):
    """The share of one part of a run in its footprint.

    Attributes:
        what: The name of the part.
        size: The size in bytes.
        remedy: The change that makes it smaller.
    """

    what: str
    size: int
    remedy: str


def estimate(config: Config, template: TrainState) -> list[Share]:
    """Estimates the footprint of a run from its shapes, to within about a third.

    It counts the state before and after a chunk, a rollout with the successors of its observations, the
    shuffled copy that an epoch makes of it, and what a gradient step keeps of a minibatch between the
    forward and the backward pass.

    Args:
        config: The configuration of the run.
        template: Shapes and dtypes of its state, from `jax.eval_shape`.

    Returns:
        The shares, largest first.
    """
    steps, collector = config.num_steps, template.collector
    observations = steps * _bytes(collector.observation)
    others = steps * (_bytes(collector.memory) + config.num_envs * SCALARS_PER_STEP * SCALAR)
    positions = math.prod(jax.tree.leaves(collector.observation)[0].shape[1:3])  # of an image
    kernels = [x.shape for x in jax.tree.leaves(template.learner.params) if x.ndim > 1]
    width = sum(shape[-1] * (positions if len(shape) == 4 else 1) for shape in kernels)
    smaller_batch = "lower --num-envs or --num-steps"
    shares = [
        Share("the observations of a rollout", 2 * observations, smaller_batch),
        Share("the rest of a rollout", others, smaller_batch),
        Share("its shuffled copy", observations + others, smaller_batch),
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
    """Refuses a run that cannot fit, before time is spent on compiling it.

    Raises:
        UsageError: If it needs so much more than is available that the estimate cannot be at fault.
    """
    if sum(share.size for share in shares) > MARGIN * available():
        raise UsageError(describe(shares))


def describe(shares: list[Share]) -> str:
    """Describes in one line how much a run needs, what needs most of it, and what to do."""
    gib = 2**30
    total = sum(share.size for share in shares)
    largest = ", ".join(f"{share.what} {share.size / gib:,.2f} GiB" for share in shares[:3])
    return (
        f"this run needs about {total / gib:,.2f} GiB, and the device has {available() / gib:,.2f} GiB: "
        f"{largest}; {shares[0].remedy}"
    )


def is_exhausted(error: Exception) -> bool:
    """Whether an error says that there was not enough RAM."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def available() -> int:
    """Returns the bytes of RAM of the device, or of the host if the device has none of its own."""
    device = jax.local_devices()[0].memory_stats() or {}
    return device.get("bytes_limit") or psutil.virtual_memory().total


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
