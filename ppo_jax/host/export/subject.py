"""The trained policy that is exported: its inputs and outputs, and the function that acts."""

import itertools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import spaces
from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.config import Config
from ppo_jax.envs.environment import Environment, Observation, actor_features, checked, legal_actions
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.host.export.formats import FORMS, SAMPLED
from ppo_jax.host.export.layers import Layer, layers_of
from ppo_jax.networks.distributions import Categorical, DiagonalGaussian, MultiCategorical
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import Memory, Network, Prediction, network_for
from ppo_jax.spaces import Box, Discrete


class Subject(NamedTuple):
    """A trained policy that is exported.

    Attributes:
        config: The configuration of its run, but with layers that compute in float32.
        environment: The environment that it was trained in.
        network: Its network.
        agent: Its parameters and statistics, on the host.
        observation: The shapes of one observation of a batch of 1; an array or an `Observation`.
        layers: Its layers, if the network is one of this package; None if it is the user's own.
    """

    config: Config
    environment: Environment
    network: Network
    agent: Agent
    observation: Any
    layers: tuple[Layer, ...] | None


class Port(NamedTuple):
    """An input or an output of an exported policy.

    Attributes:
        name: Its name.
        shape: Its shape without the first axis, which is that of the batch.
        dtype: The name of its dtype.
        meaning: A sentence about it.
        forms: The forms that have it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str
    forms: tuple[str, ...] = FORMS


class Ports(NamedTuple):
    """The inputs and the outputs of an exported policy, in their order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


def make_subject(config: Config, agent: Agent) -> Subject:
    """Makes what is exported from the configuration and the agent of a run.

    Raises:
        UsageError: If the environment or the network cannot be made.
    """
    environment = checked(make_environment(config.env, config.env_args))
    network = network_for(config, environment, make_network)
    agent = jax.device_get(agent)
    _, observation = jax.eval_shape(lambda key: environment.reset(1, key), jax.random.key(0))
    layers = layers_of(config, environment, agent) if config.network is None else None
    return Subject(config, environment, network, agent, observation, layers)


def make_act(subject: Subject) -> Callable[[Mapping[str, Any]], dict[str, jax.Array]]:
    """Makes the function that acts, from inputs [N, ...] to outputs [N, ...], by their names in the contract.

    It is sampled if there is "noise", and greedy otherwise. What only the critic sees is no input.
    """

    def apply(inputs: Mapping[str, Any]) -> dict[str, jax.Array]:
        features = inputs["observation"]
        size = features.shape[0]
        observation = features
        if isinstance(subject.observation, Observation):
            privileged = subject.observation.privileged
            unseen = None if privileged is None else jnp.zeros((size, *privileged.shape[1:]), jnp.float32)
            observation = Observation(features, inputs.get("mask"), unseen)
        memory = unpack(subject.network.init_memory(size), inputs.get("memory"))
        start = jnp.zeros(size, bool)
        _, prediction = act(subject.network, subject.agent, memory, observation, start)
        return outputs_of(subject, prediction, inputs.get("noise"))

    return apply


def outputs_of(subject: Subject, prediction: Prediction, noise: jax.Array | None) -> dict[str, jax.Array]:
    """Returns the outputs of an exported policy by their names.

    Args:
        subject: The policy.
        prediction: The prediction of its network, [N].
        noise: The noise from which actions are sampled, [N, ...]; None takes the most probable ones.
    """
    policy = prediction.policy
    action = policy.mode() if noise is None else policy.from_noise(noise)
    outputs = {"action": spaces.clip(subject.environment.action_space, action)}
    match policy:
        case Categorical(logits):
            outputs["logits"] = logits
        case MultiCategorical(parts):
            outputs["logits"] = jnp.concatenate([part.logits for part in parts], axis=-1)
        case DiagonalGaussian(mean, log_std):
            outputs |= {"mean": mean, "log_std": log_std}
    memory = pack(prediction.memory)
    return outputs if memory is None else {**outputs, "next_memory": memory}


def acting(memory: Memory) -> Memory:
    """Returns the part of a memory that acting needs: without that of a critic that shares nothing."""
    return memory["actor"] if isinstance(memory, dict) and "actor" in memory else memory


def pack(memory: Memory) -> jax.Array | None:
    """Puts what acting needs of a memory into one array, [N, H]; None if that is nothing."""
    leaves = jax.tree.leaves(acting(memory))
    flat = [leaf.reshape(leaf.shape[0], math.prod(leaf.shape[1:])) for leaf in leaves]
    return jnp.concatenate(flat, axis=1) if flat else None


def unpack(like: Memory, packed: jax.Array | None) -> Memory:
    """Makes a memory from what `pack` returned, and from zeros for a critic.

    Args:
        like: The memory at the start of episodes, [N, ...].
        packed: The array, [N, H]; None leaves the memory as it is.
    """
    if packed is None:
        return like
    leaves, structure = jax.tree.flatten(acting(like))
    ends = list(itertools.accumulate(math.prod(leaf.shape[1:]) for leaf in leaves))
    parts = jnp.split(packed, ends[:-1], axis=1)
    shaped = [part.reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
    memory = jax.tree.unflatten(structure, shaped)
    return {**like, "actor": memory} if acting(like) is not like else memory


def ports_of(subject: Subject) -> Ports:
    """Describes the inputs and outputs of a policy.

    Raises:
        UsageError: If the memory of the user's own network does not consist of float32.
    """
    features, legal = actor_features(subject.observation), legal_actions(subject.observation)
    memory = jax.eval_shape(lambda: pack(subject.network.init_memory(1)))
    if memory is not None and memory.dtype != jnp.float32:
        raise UsageError(f"the memory of the network is {memory.dtype}; only one of float32 can be exported")
    size = () if memory is None else (memory.shape[1],)
    space = subject.environment.action_space
    action, noise = _action_ports(space)
    inputs = [
        Port("observation", features.shape[1:], "float32", "The observation as the environment gives it."),
    ]
    if legal is not None:
        text = "The actions that are allowed; of several components side by side. If none is, all are."
        inputs.append(Port("mask", legal.shape[1:], "bool", text))
    if size:
        text = "The memory after the observation before this one; zeros when an episode begins."
        inputs.append(Port("memory", size, "float32", text))
    specs = {port.name: spec_of(port, 1) for port in (*inputs, noise)}
    found = jax.eval_shape(make_act(subject), specs)
    meanings = {
        "logits": "The unnormalized logarithms of the probabilities; of actions not allowed, -1e30.",
        "mean": "The mean of the normal distribution, in units of the action, not clipped.",
        "log_std": "The logarithm of its standard deviation, in units of the action.",
        "next_memory": "The memory after this observation: the next input `memory`.",
    }
    others = [
        Port(name, x.shape[1:], str(x.dtype), meanings[name]) for name, x in found.items() if name != "action"
    ]
    return Ports((*inputs, noise), (action, *others))


def spec_of(port: Port, size: Any) -> jax.ShapeDtypeStruct:
    """Returns the shape and dtype of an input for a batch; its size may be a symbol."""
    return jax.ShapeDtypeStruct((size, *port.shape), jnp.dtype(port.dtype))


def _action_ports(space: spaces.Space) -> tuple[Port, Port]:
    """Describes an action, and the noise that it is sampled with."""
    uniform = "Random numbers, independent and uniform in [0, 1)"
    if isinstance(space, Box):
        action = Port("action", space.shape, "float32", "The action, clipped to its bounds.")
        text = "Random numbers, independent and standard normal, one for each component."
        return action, Port("noise", space.shape, "float32", text, (SAMPLED,))
    if isinstance(space, Discrete):
        action = Port("action", (), "int32", f"The action, from 0 to {space.n - 1}.")
        return action, Port("noise", (), "float32", f"{uniform}, one for each action.", (SAMPLED,))
    shape = (len(space.nums),)
    action = Port("action", shape, "int32", f"The action: component i is below {list(space.nums)}[i].")
    return action, Port("noise", shape, "float32", f"{uniform}, one for each component.", (SAMPLED,))
