"""The acting half of a network of this package as a list of layers, which every format can write."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ppo_jax import spaces
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.normalization import CLIP, inverse_deviation
from ppo_jax.config import Config
from ppo_jax.envs.environment import Environment, actor_features
from ppo_jax.networks.distributions import make_distribution, middle_and_scale
from ppo_jax.networks.flax import conv_channels
from ppo_jax.spaces import Box, Discrete, MultiDiscrete


class Layer(NamedTuple):
    """One step from the observation to the action.

    Attributes:
        name: The kind and a number, such as "dense_0".
        kind: One of "normalize", "convolution", "flatten", "dense", "tanh", "relu" and "gru"; or, as the last
            one, "categorical", "multi_categorical" or "gaussian".
        tensors: Its arrays of float32 by name.
        constants: Its other values by name, as JSON holds them.
    """

    name: str
    kind: str
    tensors: dict[str, np.ndarray]
    constants: dict[str, Any]


def layers_of(config: Config, environment: Environment, agent: Agent) -> tuple[Layer, ...]:
    """Lists the layers of a policy, from the observation as the environment gives it to the action it takes.

    The order is that of `networks.flax.Stack`, between `normalize_observation` and `spaces.clip`. What only
    the critic needs is left out.

    Args:
        config: The configuration; it describes a network of this package, not the user's own.
        environment: The environment.
        agent: The agent, whose arrays lie on the host.
    """
    layers: list[Layer] = []

    def add(kind: str, tensors: dict[str, Any] | None = None, **constants: Any) -> None:
        number = sum(layer.kind == kind for layer in layers)
        arrays = {name: np.array(x, np.float32) for name, x in (tensors or {}).items()}
        layers.append(Layer(f"{kind}_{number}", kind, arrays, constants))

    statistics: Any = actor_features(agent.statistics)  # of what the actor sees
    if statistics is not None:
        add("normalize", {"mean": statistics.mean, "scale": inverse_deviation(statistics)}, clip=CLIP)
    space: Any = environment.observation_space
    tower = agent.params["shared" if config.shared_torso else "actor"]["params"]
    convolutions = len(conv_channels(config, space))
    for number in range(convolutions):
        add("convolution", tower[f"Dense_{number}"])
        add(config.activation)
    if len(space.shape) != 1:
        add("flatten")
    hidden = len(config.hidden_sizes)
    for number in range(convolutions, convolutions + hidden):
        add("dense", tower[f"Dense_{number}"])
        add(config.activation)
    if config.memory_size:
        add("gru", _gates(tower["GRUCell_0"]))
    add("dense", tower[f"Dense_{convolutions + hidden}"])  # of a shared torso, the next one is the critic's
    match environment.action_space:
        case Discrete(n):
            add("categorical", size=n)
        case MultiDiscrete(nums):
            add("multi_categorical", sizes=list(nums))
        case Box() as actions:
            add("gaussian", _gaussian(actions, agent.params["log_std"]))
    return tuple(layers)


def _gates(cell: Any) -> dict[str, np.ndarray]:
    """Puts the gates of a GRU cell of Flax side by side: reset, update, and the new content."""
    silent = np.zeros_like(cell["hn"]["bias"])  # the other gates have one bias for both products
    return {
        "input_kernel": np.concatenate([cell[f"i{gate}"]["kernel"] for gate in "rzn"], axis=1),
        "input_bias": np.concatenate([cell[f"i{gate}"]["bias"] for gate in "rzn"]),
        "memory_kernel": np.concatenate([cell[f"h{gate}"]["kernel"] for gate in "rzn"], axis=1),
        "memory_bias": np.concatenate([silent, silent, cell["hn"]["bias"]]),
    }


def _gaussian(space: Box, log_std: Any) -> dict[str, Any]:
    middle, scale = middle_and_scale(space, 1)
    low, high = spaces.bounds(space, 1)
    distribution: Any = make_distribution(space, jnp.zeros_like(log_std), jnp.asarray(log_std), None)
    return {"middle": middle, "scale": scale, "log_std": distribution.log_std, "low": low, "high": high}
