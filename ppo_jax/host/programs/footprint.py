"""The footprint of a run: how much RAM it needs, and what needs most of it, estimated before compiling."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import psutil
from jax.interpreters.partial_eval import dce_jaxpr

from ppo_jax.algorithm.train import TrainState, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.fast.loops import steps_at_once
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Prediction, network_for

SCALAR = 4  # bytes of a float32 or an int32
# Operations that XLA does not fuse with others.
_KEPT = ("dot_general", "conv_general_dilated", "concatenate")
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


def of_devices(config: Config, template: TrainState, num_devices: int) -> list[Share]:
    """Estimates the footprint of a run on each of its devices; the cores of a CPU share their RAM.

    Args:
        config: The configuration of the run.
        template: Shapes and dtypes of its whole state.
        num_devices: The number of devices that its environments are divided among.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
    """
    if num_devices == 1:
        return estimate(config, template)
    num_envs = config.num_envs // num_devices
    part = dataclasses.replace(
        config,
        num_envs=num_envs,
        total_timesteps=num_envs * config.num_steps,
        shuffle_groups=config.shuffle_groups // num_devices,
    )
    shares = estimate(part, jax.eval_shape(make_ppo(part).init, Hyperparams(), jax.random.key(0)))
    times = num_devices if jax.default_backend() == "cpu" else 1
    return [share._replace(size=times * share.size) for share in shares]


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
    smaller_batch = "lower --num-envs or --num-steps"
    shares = [
        Share("the observations of a rollout", 2 * observations, smaller_batch),
        Share("the rest of a rollout", others, smaller_batch),
        Share("its shuffled copy", observations + others, smaller_batch),
        _largest_activations(config, template),
        Share("parameters and optimizer", 2 * _bytes(template.learner), "give fewer --hidden-sizes"),
        Share("the environments", 2 * _bytes(collector.environment), "lower --num-envs"),
    ]
    return sorted(shares, key=lambda share: -share.size)


def _largest_activations(config: Config, template: TrainState) -> Share:
    """Returns the activations of a minibatch, or of the values that are computed at once if that is more."""
    collector = template.collector
    environment = make_environment(config.env, config.env_args)
    network = network_for(config, environment, make_network)
    one = _shaped((1,), (collector.memory, collector.observation, jnp.zeros(config.num_envs, bool)))
    of_both, of_value = activations(network.apply, template.learner.params, *one)

    rollout = _shaped((config.num_steps, config.num_envs), (collector.memory, collector.observation))
    at_once = steps_at_once(rollout, on_cpu=jax.default_backend() == "cpu")
    num_values = min(at_once, config.num_steps) * config.num_envs
    shares = [
        Share(
            "the activations of a minibatch",
            config.minibatch_size * of_both,
            "give more --num-minibatches, or fewer --hidden-sizes",
        ),
        Share("the activations of values", num_values * of_value, "lower --num-envs"),
    ]
    return max(shares, key=lambda share: share.size)


def activations(apply: Callable[..., Prediction], *arguments: Any) -> tuple[int, int]:
    """Counts the bytes of what a network computes on the way to its outputs, as far as it is kept.

    These are the outputs of products and convolutions, and of pieces that are put together, as the
    neighbourhoods of a convolution are. All else is fused with them.

    Args:
        apply: The function of the network.
        arguments: Its arguments, or their shapes and dtypes.

    Returns:
        The bytes for the policy and the value, and for the value alone.
    """
    traced, outputs = jax.make_jaxpr(apply, return_shape=True)(*arguments)

    def count(used: Prediction) -> int:
        needed, _ = dce_jaxpr(traced.jaxpr, jax.tree.leaves(used))  # nothing else is computed
        return _activations(needed)

    nothing = jax.tree.map(lambda _: False, outputs)
    of_policy = jax.tree.map(lambda _: True, outputs.policy)
    return count(nothing._replace(policy=of_policy, value=True)), count(nothing._replace(value=True))


def _activations(jaxpr: Any) -> int:
    total = 0
    for equation in jaxpr.eqns:
        inner = [getattr(x, "jaxpr", x) for x in equation.params.values()]
        times = equation.params.get("length", 1)  # of a loop
        total += times * sum(_activations(x) for x in inner if hasattr(x, "eqns"))
        if equation.primitive.name in _KEPT:
            total += sum(_bytes(x.aval) for x in equation.outvars)
    return total


def _shaped(axes: tuple[int, ...], tree: Any) -> Any:
    """Returns the shapes and dtypes of arrays [N, ...] with other axes in place of the first."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((*axes, *x.shape[1:]), x.dtype), tree)


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
    # If it does not fit although it should, something else is there too.
    less = " less what else is in use" if total < available() else ""
    needs, has = f"{total / gib:,.2f} GiB", f"{available() / gib:,.2f} GiB{less}"
    return f"this run needs about {needs}, and the device has {has}: {largest}; {shares[0].remedy}"


def is_exhausted(error: Exception) -> bool:
    """Whether an error says that there was not enough RAM."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)


def available() -> int:
    """Returns the bytes of RAM of the device, or of the host if the device has none of its own."""
    device = jax.local_devices()[0].memory_stats() or {}
    return device.get("bytes_limit") or psutil.virtual_memory().total


def _bytes(tree: Any) -> int:
    return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))
