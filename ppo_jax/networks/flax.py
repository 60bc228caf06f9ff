"""The networks of this package. The only module that imports Flax.

`make_network` is the one place where a network is chosen. To use your own, pass a function like it to
`train`. It can make towers from your own Flax modules with `plain` and `recurrent`, and a network from the
towers with `separate` or `shared`; or a network without Flax with `memoryless`.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen, serialization
from flax.errors import FlaxError

from ppo_jax.config import Config, Precision
from ppo_jax.count import Count
from ppo_jax.errors import UsageError
from ppo_jax.fast.matmul import matmul
from ppo_jax.networks.distributions import num_outputs
from ppo_jax.networks.network import Memory, Network, Tower, separate, shared
from ppo_jax.spaces import Box, Space

CONV_CHANNELS = (16,)  # the one convolution of the networks published with MinAtar
POLICY_GAIN, VALUE_GAIN = 0.01, 1.0  # gains of the output layers

# `flax.serialization` can then save a whole train state.
serialization.register_serialization_state(
    Count,
    lambda count: {"high": count.high, "low": count.low},
    lambda _, saved: Count(high=saved["high"], low=saved["low"]),
)

_ACTIVATIONS = {"tanh": linen.tanh, "relu": linen.relu}


class Stack(linen.Module):
    """Convolutions, hidden layers, a memory and outputs, with orthogonal weights and zero biases.

    The gains are those of the original PPO code: sqrt(2) inside, 0.01 for the policy's output (so that
    the first policy is nearly uniform), 1 for the value's output and for the memory.

    Attributes:
        rank: The number of axes of one observation.
        outputs: Width and gain of each output layer; their outputs are concatenated.
        hidden_sizes: Widths of the hidden layers.
        activation: The nonlinearity between the layers.
        conv_channels: Channels of the 3 x 3 convolutions before the hidden layers.
        memory_size: Units of a GRU between the hidden layers and the outputs; 0 means none.
        precision: Precision of the matrix products, see `Config.precision`; outputs and memory are float32.
    """

    rank: int
    outputs: tuple[tuple[int, float], ...]
    hidden_sizes: tuple[int, ...]
    activation: Callable[[jax.Array], jax.Array]
    conv_channels: tuple[int, ...] = ()
    memory_size: int = 0
    precision: Precision = "float32"

    @linen.compact
    def __call__(self, x: jax.Array, memory: Memory = ()) -> Any:
        """Maps features [..., *D] to outputs [..., O], and to the next memory if there is one."""
        rounded = self.precision == "bfloat16"
        dtype = jnp.bfloat16 if rounded else jnp.float32
        precision = "float32" if rounded else self.precision

        def multiply(x: jax.Array, kernel: jax.Array, axes: Any, **_: Any) -> jax.Array:
            return matmul(precision, x, kernel)  # `axes` is always x's last axis and the kernel's first

        def dense(size: int, gain: float) -> linen.Dense:
            weights = linen.initializers.orthogonal(gain)
            return linen.Dense(size, kernel_init=weights, dtype=dtype, dot_general=multiply)

        with jax.default_matmul_precision(precision):
            for channels in self.conv_channels:
                x = self.activation(dense(channels, math.sqrt(2))(_patches(x)))
            x = x.reshape(*x.shape[: x.ndim - self.rank], -1)
            for size in self.hidden_sizes:
                x = self.activation(dense(size, math.sqrt(2))(x))
            if self.memory_size:
                memory, x = _gru(self.memory_size, dtype=x.dtype)(memory, x)
                memory = memory.astype(jnp.float32)
            outputs = jnp.concatenate([dense(size, gain)(x) for size, gain in self.outputs], axis=-1)
        outputs = outputs.astype(jnp.float32)
        return (outputs, memory) if self.memory_size else outputs


def _gru(size: int, dtype: Any) -> linen.GRUCell:
    weights = linen.initializers.orthogonal()
    return linen.GRUCell(size, kernel_init=weights, recurrent_kernel_init=weights, dtype=dtype)


def _patches(x: jax.Array) -> jax.Array:
    """Concatenates the 3 x 3 neighbourhoods of an image, [..., h, w, c] to [..., h - 2, w - 2, 9c].

    A dense layer on them is a convolution, and as one matrix product it trains a network for MinAtar
    nine times as fast on a CPU as XLA's convolution does.
    """
    height = x.shape[-3] - 2
    width = x.shape[-2] - 2
    # A shifted copy for each of the nine places, [..., h - 2, w - 2, c].
    shifts = [x[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    # Side by side, [..., h - 2, w - 2, 9c].
    return jnp.concatenate(shifts, axis=-1)


def make_network(
    config: Config, observation_space: Space, action_space: Space, privileged_space: Space | None = None
) -> Network:
    """Makes the network that a configuration describes, to fit the spaces of an environment.

    Args:
        config: The configuration; encoder, hidden sizes, activation, shared torso and memory count.
        observation_space: A Box of any rank, flattened in row-major order unless it is an image.
        action_space: A space of any kind.
        privileged_space: The space of what the critic sees; None if it sees what the actor sees.

    Raises:
        UsageError: If a space does not fit the configuration.
    """
    for space in (observation_space, privileged_space):
        if space is not None and not isinstance(space, Box):
            raise UsageError(f"env = {config.env!r} has observations {space}; give them as a Box of floats")
    if config.encoder == "cnn" and not _is_image(observation_space):
        raise UsageError(
            "encoder = 'cnn' needs images of at least 3 x 3 pixels, (height, width, channels), but "
            f"env = {config.env!r} has observations of shape {observation_space.shape}; "  # pyright: ignore
            "give encoder = 'mlp'"
        )
    if config.shared_torso and privileged_space is not None:
        raise UsageError(
            f"shared_torso = True is not possible with env = {config.env!r}, whose critic sees more than the "
            "actor; give shared_torso = False"
        )
    policy, value = (num_outputs(action_space), POLICY_GAIN), (1, VALUE_GAIN)
    if config.shared_torso:
        return shared(_make_tower(config, observation_space, (policy, value)), action_space)
    actor = _make_tower(config, observation_space, (policy,))
    critic = _make_tower(config, privileged_space or observation_space, (value,))
    return separate(actor, critic, action_space)


def _make_tower(config: Config, space: Any, outputs: tuple[tuple[int, float], ...]) -> Tower:
    stack = Stack(
        rank=len(space.shape),
        outputs=outputs,
        hidden_sizes=config.hidden_sizes,
        activation=_ACTIVATIONS[config.activation],
        conv_channels=conv_channels(config, space),
        memory_size=config.memory_size,
        precision=config.precision,
    )
    return recurrent(stack, space, config.memory_size) if config.memory_size else plain(stack, space)


def conv_channels(config: Config, space: Box) -> tuple[int, ...]:
    """Returns the channels of the convolutions that come before the hidden layers, if there are any."""
    return CONV_CHANNELS if config.encoder != "mlp" and _is_image(space) else ()


def _is_image(space: Any) -> bool:
    return len(space.shape) == 3 and min(space.shape[:2]) >= 3


def plain(module: linen.Module, observation_space: Box) -> Tower:
    """Makes a tower from a Flax module without memory.

    Args:
        module: A module that is called with features [..., *D] and returns outputs [..., O]. Its variables
            other than parameters, such as the averages of a frozen BatchNorm, stay as they were made.
        observation_space: The space of the features.
    """

    def init(key: jax.Array) -> Any:
        with _refused(module):
            return module.init(key, jnp.zeros(observation_space.shape, jnp.float32))

    def apply(params: Any, memory: Memory, features: jax.Array) -> tuple[jax.Array, Memory]:
        with _refused(module):
            return jnp.asarray(module.apply(_only_params_train(params), features)), ()

    return Tower(init=init, init_memory=lambda num_envs: (), apply=apply, remembers=False)


def recurrent(module: linen.Module, observation_space: Box, memory_size: int) -> Tower:
    """Makes a tower from a Flax module with a memory, which is zero when an episode begins.

    Args:
        module: A module that is called with features [..., *D] and memory [..., memory_size], and returns
            outputs [..., O] and the next memory.
        observation_space: The space of the features.
        memory_size: H, the units of the memory.
    """

    def init(key: jax.Array) -> Any:
        with _refused(module):
            features = jnp.zeros(observation_space.shape, jnp.float32)
            return module.init(key, features, jnp.zeros(memory_size, jnp.float32))

    def apply(params: Any, memory: Memory, features: jax.Array) -> tuple[jax.Array, Memory]:
        with _refused(module):
            outputs, memory = module.apply(_only_params_train(params), features, memory)
        return jnp.asarray(outputs), memory

    return Tower(
        init=init,
        init_memory=lambda num_envs: jnp.zeros((num_envs, memory_size), jnp.float32),
        apply=apply,
        remembers=True,
    )


def _only_params_train(variables: Any) -> Any:
    """Stops the gradients of all variables but parameters, so that the optimizer leaves them alone."""
    return {kind: x if kind == "params" else jax.lax.stop_gradient(x) for kind, x in variables.items()}


@contextmanager
def _refused(module: linen.Module) -> Iterator[None]:
    """Explains why a module cannot be used.

    Raises:
        UsageError: If it changes variables or draws random numbers while it is applied.
    """
    try:
        yield
    except FlaxError as error:
        raise UsageError(
            f"{type(module).__name__} cannot be used: {str(error).splitlines()[0]} Layers that change "
            "variables or draw random numbers when they are applied are not supported: leave out Dropout (or "
            "make it deterministic), and take LayerNorm in place of BatchNorm (or use_running_average=True)"
        ) from error
