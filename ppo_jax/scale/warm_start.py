"""Makes any run start from a trained agent: a transformation of the algorithm, like `sharding.shard`."""

import jax

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.algorithm.train import PPO, TrainState
from ppo_jax.algorithm.warm_start import start_from
from ppo_jax.config import Hyperparams, Parts
from ppo_jax.errors import check_kind
from ppo_jax.fast.loops import vary_with


def warm_start(ppo: PPO, agent: Agent, parts: Parts = "both", rewards: Statistics | None = None) -> PPO:
    """Makes a run start from a trained agent.

    The agent acts as before: the parameters come with the statistics that observations are normalized with.
    The optimizer and all that adapts to the KL begin anew.

    Args:
        ppo: The algorithm, from `make_ppo`; it may be sharded afterwards.
        agent: The agent, `agent_of(state)`; its arrays may be traced.
        parts: The parts of it to take. The other one is drawn at random.
        rewards: The statistics that the rewards of the agent's run were scaled with,
            `state.collector.reward_scaler.statistics`. Without them, scaling begins anew, and the values of a
            critic are in other units at first.

    Returns:
        The functions, with an `init` that returns the agent's parameters.

    Raises:
        UsageError: In `init`, if the agent does not fit; with what differs.
    """
    check_kind("agent", agent, Agent, "ppo_jax.agent_of(state)")

    def init(hyper: Hyperparams, key: jax.Array) -> TrainState:
        state = start_from("the agent", ppo.init(hyper, key), by_path(agent), parts, rewards)
        return vary_with((hyper, key), state)

    return ppo._replace(init=init)
