"""The networks of this package. The only module that knows flax.

`make_network` is the one place where a network is chosen: pass a function like it to `train` to use
your own, put together with `separate`, `shared` or `memoryless` from your own Flax modules.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen

from ppo_jax.actor_critic import Memory, Network, Tower, separate, shared
from ppo_jax.config import Config, Precision
from ppo_jax.distributions import num_outputs
from ppo_jax.envs.spaces import Box, Space
from ppo_jax.errors import UsageError
from ppo_jax.product import product

MakeNetwork = Callable[[Config, Space, Space, Space | None], Network]

CONV_CHANNELS = (16,)  # the one convolution of the networks published with MinAtar
POLICY_GAIN, VALUE_GAIN = 0.01, 1.0  # of the output layers

_ACTIVATIONS = {"tanh": linen.tanh, "relu": linen.relu}


class Stack(linen.Module):
    """Convolutions, hidden layers, a memory and outputs, with orthogonal weights and zero biases.

    The gains are those of the original PPO code: sqrt(2) inside, 0.01 for the policy's output (so that
    the first policy is nearly uniform), 1 for the value's and for the memory.

    Attributes:
        rank: Axes of one observation.
        outputs: Width and gain of each output layer; their outputs stand in a row.
        hidden_sizes: Widths of the hidden layers.
        activation: Between the layers.
        conv_channels: Channels of the 3 x 3 convolutions before them.
        memory_size: Units of a GRU between the hidden layers and the outputs; 0 is none.
        precision: Of the matrix products, see `Config.precision`; outputs and memory are float32.
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
        precision = "float32" if rounded else self.precision
        dense = partial(_dense, jnp.bfloat16 if rounded else jnp.float32, precision)
        with jax.default_matmul_precision(precision):
            for channels in self.conv_channels:
                x = self.activation(dense(channels, math.sqrt(2))(_patches(x)))
            x = x.reshape(*x.shape[: x.ndim - self.rank], -1)
            for size in self.hidden_sizes:
                x = self.activation(dense(size, math.sqrt(2))(x))
            if self.memory_size:
                memory, x = _gru(x.dtype, self.memory_size)(memory, x)
                memory = memory.astype(jnp.float32)
            outputs = jnp.concatenate([dense(*output)(x) for output in self.outputs], axis=-1)
        outputs = outputs.astype(jnp.float32)
        return (outputs, memory) if self.memory_size else outputs


def make_network(
    config: Config, observation_space: Space, action_space: Space, privileged_space: Space | None = None
) -> Network:
    """Makes the network that a configuration describes, to fit the spaces of an environment.

    Args:
        config: For encoder, hidden sizes, activation, shared torso and memory.
        observation_space: Box of any rank, flattened in row-major order unless it is an image.
        action_space: Of any kind.
        privileged_space: Of what only the critic sees, if there is something.

    Returns:
        The network.

    Raises:
        UsageError: If a space does not fit the configuration.
    """
    actor_space = _box(config, observation_space)
    if config.encoder == "cnn" and not _is_image(actor_space):
        raise UsageError(
            "encoder = 'cnn' needs images of at least 3 x 3 pixels, (height, width, channels), but "
            f"env = {config.env!r} has observations of shape {actor_space.shape}; give encoder = 'mlp'"
        )
    critic_space = _box(config, privileged_space or observation_space)
    policy, value = (num_outputs(action_space), POLICY_GAIN), (1, VALUE_GAIN)
    if not config.shared_torso:
        actor = _make_tower(config, actor_space, (policy,))
        return separate(actor, _make_tower(config, critic_space, (value,)), action_space)
    if privileged_space is not None:
        raise UsageError(
            f"shared_torso = True does not go with env = {config.env!r}, whose critic sees more than the "
            "actor; give shared_torso = False"
        )
    return shared(_make_tower(config, actor_space, (policy, value)), action_space)


def plain(module: linen.Module, observation_space: Box) -> Tower:
    """Makes a tower of a Flax module that remembers nothing.

    Args:
        module: Called with features [..., *D], returns outputs [..., O].
        observation_space: Of what it sees.
    """
    return Tower(
        init=partial(_init_plain, module, observation_space.shape),
        init_memory=lambda num_envs: (),
        apply=partial(_apply_plain, module),
        remembers=False,
    )


def recurrent(module: linen.Module, observation_space: Box, memory_size: int) -> Tower:
    """Makes a tower of a Flax module with a memory, which is zero when an episode begins.

    Args:
        module: Called with features [..., *D] and memory [..., memory_size], returns outputs [..., O]
            and the next memory.
        observation_space: Of what it sees.
        memory_size: H, units of the memory.
    """
    return Tower(
        init=partial(_init_recurrent, module, observation_space.shape, memory_size),
        init_memory=lambda num_envs: jnp.zeros((num_envs, memory_size)),
        apply=partial(_apply_recurrent, module),
        remembers=True,
    )


def _box(config: Config, space: Space) -> Box:
    if not isinstance(space, Box):
        raise UsageError(f"env = {config.env!r} has observations {space}; give them as a Box of floats")
    return space


def _is_image(space: Box) -> bool:
    return len(space.shape) == 3 and min(space.shape[:2]) >= 3


def _make_tower(config: Config, space: Box, outputs: tuple[tuple[int, float], ...]) -> Tower:
    use_cnn = config.encoder != "mlp" and _is_image(space)
    stack = Stack(
        rank=len(space.shape),
        outputs=outputs,
        hidden_sizes=config.hidden_sizes,
        activation=_ACTIVATIONS[config.activation],
        conv_channels=CONV_CHANNELS if use_cnn else (),
        memory_size=config.memory_size,
        precision=config.precision,
    )
    return recurrent(stack, space, config.memory_size) if config.memory_size else plain(stack, space)


def _init_plain(module: linen.Module, shape: tuple[int, ...], key: jax.Array) -> Any:
    return module.init(key, jnp.zeros(shape))


def _init_recurrent(module: linen.Module, shape: tuple[int, ...], memory_size: int, key: jax.Array) -> Any:
    return module.init(key, jnp.zeros(shape), jnp.zeros(memory_size))


def _apply_plain(
    module: linen.Module, params: Any, memory: Memory, features: jax.Array
) -> tuple[jax.Array, Memory]:
    return jnp.asarray(module.apply(params, features)), ()


def _apply_recurrent(
    module: linen.Module, params: Any, memory: Memory, features: jax.Array
) -> tuple[jax.Array, Memory]:
    outputs, memory = module.apply(params, features, memory)
    return jnp.asarray(outputs), memory


def _dense(dtype: Any, precision: str, size: int, gain: float) -> linen.Dense:
    weights = linen.initializers.orthogonal(gain)
    return linen.Dense(size, kernel_init=weights, dtype=dtype, precision=precision, dot_general=_multiply)


def _multiply(x: jax.Array, kernel: jax.Array, axes: Any, *, precision: str, **_: Any) -> jax.Array:
    """Multiplies as `Dense` asks for: the axes are always the last and the first."""
    return product(precision, x, kernel)


def _gru(dtype: Any, size: int) -> linen.GRUCell:
    weights = linen.initializers.orthogonal()
    return linen.GRUCell(size, kernel_init=weights, recurrent_kernel_init=weights, dtype=dtype)


def _patches(x: jax.Array) -> jax.Array:
    """Lays the 3 x 3 neighbourhoods of an image side by side, [..., h, w, c] to [..., h - 2, w - 2, 9c].

    A dense layer on them is a convolution, and as one matrix product it trains a network for MinAtar
    nine times as fast on a CPU as XLA's convolution does.
    """
    height, width = x.shape[-3] - 2, x.shape[-2] - 2
    shifts = [x[..., i : i + height, j : j + width, :] for i in range(3) for j in range(3)]
    return jnp.concatenate(shifts, axis=-1)
