"""The agent: the parameters and statistics that a trained policy consists of, and how it acts."""

from typing import Any, NamedTuple

import jax

from ppo_jax.algorithm.normalization import normalize_observation
from ppo_jax.errors import check_kind
from ppo_jax.networks.network import Memory, Network, Params, Prediction


class Agent(NamedTuple):
    """Everything that a trained policy consists of.

    Attributes:
        params: The parameters of the network.
        statistics: The statistics that observations are normalized with; None if they are not.
    """

    params: Params
    statistics: Any = None


def act(
    network: Network, agent: Agent, memory: Memory, observation: Any, start: jax.Array
) -> tuple[Any, Prediction]:
    """Normalizes observations and applies the network of an agent to them.

    Args:
        network: The network of the agent.
        agent: The agent; its statistics are not changed.
        memory: The memory before the observations, [N, H].
        observation: The observations as the environment gave them, [N, ...].
        start: [N] bool, an episode begins with the observation, so the memory is cleared first.

    Returns:
        The observations as the network sees them, [N, ...], and its prediction: the distribution over
        actions, the value, and the memory after the observations.
    """
    check_kind("network", network, Network, "what ppo_jax.networks.make.make_network returns")
    check_kind("agent", agent, Agent, "ppo_jax.agent_of(state)")
    observation = normalize_observation(agent.statistics, observation)
    return observation, network.apply(agent.params, memory, observation, start)
