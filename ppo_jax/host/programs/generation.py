"""Compiles what happens between two generations of a population: score all members, exploit, and explore."""

from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.config import Config
from ppo_jax.host.programs import lanes
from ppo_jax.host.programs.chunks import compiler_options
from ppo_jax.scale.population import Values, evolve

Items = tuple[tuple[str, tuple[float, float, bool]], ...]  # the ranges of the hyperparameters, by their names


class Outcome(NamedTuple):
    """The outcome of a generation.

    Attributes:
        scores: The mean return of each member, [L]; NaN if it failed.
        steps: The environment steps that each member played for its score, [L].
        parents: The member whose state each member goes on from, [L].
        values: The hyperparameters that each member goes on with, [L] each.
    """

    scores: Any
    steps: Any
    parents: Any
    values: Any


def end(
    config: Config, episodes: int, ranges: Items, key: jax.Array, agents: Agent, failed: Any, values: Any
) -> Outcome:
    """Scores the members of a population, selects which copy others, and explores.

    The policies act as in training, by sampled actions: that is what PPO improves, and early in training the
    most probable actions may say nothing, for example where they never reach the end of an episode.

    Args:
        config: The configuration that the members share.
        episodes: The number of episodes of each member. All members play with the same random numbers.
        ranges: The range of each hyperparameter.
        key: The source of all randomness.
        agents: The agents in the lanes; there may be more lanes than members.
        failed: Whether a member has failed, [L] bool.
        values: The hyperparameters of the members, [L] each.
    """
    program = _make_program(config, len(jax.tree.leaves(agents)[0]), episodes, ranges)
    return jax.device_get(program(key, agents, np.asarray(failed), values))


@cache
def _make_program(config: Config, num_lanes: int, episodes: int, ranges: Items) -> Any:
    """Makes the program, which is compiled when it is first called."""

    def score(agent: Agent, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        played = evaluate(
            config, key, agent.params, num_episodes=episodes, greedy=False, statistics=agent.statistics
        )
        return played.episode_return.mean(), played.episode_length.sum()

    def score_lanes(agents: Agent, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return lanes.over_lanes(lambda agent: score(agent, key))(agents)

    def program(key: jax.Array, agents: Agent, failed: jax.Array, values: Values) -> Outcome:
        score_key, key = jax.random.split(key)
        score_all = lanes.over_devices(num_lanes, score_lanes, 1, PartitionSpec())
        returns, steps = score_all(agents, score_key)
        scores = returns[: len(failed)] + jnp.where(failed, jnp.nan, 0.0)
        parents, values = evolve(key, scores, values, dict(ranges))
        return Outcome(scores=scores, steps=steps[: len(failed)], parents=parents, values=values)

    everywhere = NamedSharding(lanes.mesh(num_lanes), PartitionSpec())
    return jax.jit(program, out_shardings=everywhere, compiler_options=compiler_options())
