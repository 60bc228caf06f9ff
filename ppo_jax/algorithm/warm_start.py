"""Warm starts: a run that begins with a trained policy, and a critic that learns before the actor does.

What belongs to the run rather than to its policy begins anew: the optimizer, the factors that adapt to the KL,
the episodes, and the environments.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.known import Tensors, check_fits
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.schedules import init_steering
from ppo_jax.algorithm.update import Learner, make_optimizer
from ppo_jax.config import Config, Hyperparams, Parts
from ppo_jax.count import Count
from ppo_jax.errors import UsageError
from ppo_jax.networks.network import Network, Params, Prediction

CRITIC = "critic"  # the name of the parameters of the value function, where a network keeps them apart


def replace_policy(what: str, agent: Agent, tensors: Tensors, parts: Parts) -> Agent:
    """Puts the tensors of a trained policy in place of those of a new agent.

    The statistics of observations come along with either part, because both the actor and the critic have
    learned from observations that were normalized with them. They count on from there.

    Args:
        what: The origin of the tensors, for errors.
        agent: The new agent.
        tensors: The arrays of the trained one by their paths.
        parts: The parts of it to take.

    Raises:
        UsageError: If the network keeps no parts, or with the first tensors that do not fit.
    """
    own = by_path(agent)
    if parts != "both" and not _is_divided(agent.params):
        raise UsageError(
            f"initial_parts = {parts!r} is not possible: the network does not keep the parameters of its critic "
            "apart; give initial_parts = 'both'"
        )

    def belongs(path: str) -> bool:
        of_critic = path.startswith(f"params/{CRITIC}/")
        return parts == "both" or path.startswith("statistics/") or of_critic == (parts == CRITIC)

    given = {path: x for path, x in tensors.items() if belongs(path)}
    check_fits(what, given, {path: x for path, x in own.items() if belongs(path)})
    leaves = [jnp.asarray(given[path], x.dtype) if path in given else x for path, x in own.items()]
    return jax.tree.unflatten(jax.tree.structure(agent), leaves)


def check_warmup(config: Config, network: Network) -> None:
    """Makes sure that the critic of a network can learn alone, if it shall.

    Raises:
        UsageError: If it cannot.
    """
    if not config.critic_warmup_updates:
        return
    if not _is_divided(jax.eval_shape(network.init, jax.random.key(0))):
        raise UsageError(
            f"critic_warmup_updates = {config.critic_warmup_updates} is not possible: the network does not keep "
            "the parameters of its critic apart, as {'actor': ..., 'critic': ...}; give 0"
        )


def _is_divided(params: Any) -> bool:
    return isinstance(params, dict) and CRITIC in params and len(params) > 1


def hold_actor(config: Config, num_updates: Count, network: Network) -> Network:
    """Returns a network whose actor gets no gradient during the warm-up of the critic.

    All parameters but those of the critic are held, so also the standard deviations of actions. Their gradient
    is exactly zero before its norm is bounded, so the bound applies to that of the critic alone; and Adam,
    which has seen nothing but zeros, leaves them exactly as they are.

    Args:
        config: The static part of the run.
        num_updates: The updates that are done.
        network: The network.
    """
    if not config.critic_warmup_updates:
        return network
    is_held = _is_warming_up(config, num_updates)

    def held(params: Params) -> Params:
        def hold(x: jax.Array) -> jax.Array:
            return jnp.where(is_held, jax.lax.stop_gradient(x), x)

        return {name: x if name == CRITIC else jax.tree.map(hold, x) for name, x in params.items()}

    def apply(params: Params, *inputs: Any) -> Prediction:
        return network.apply(held(params), *inputs)

    def unroll(params: Params, *inputs: Any) -> Prediction:
        return network.unroll(held(params), *inputs)

    return network._replace(apply=apply, unroll=unroll)


def end_warmup(config: Config, hyper: Hyperparams, num_updates: Count, learner: Learner) -> Learner:
    """Keeps the KL of updates without an actor from steering anything, and starts Adam anew after the last.

    Adam divides its moments by what they lack after as many steps (Kingma and Ba 2015, Section 3). The steps of
    the warm-up would count for the actor too, whose moments are still zero: for its first hundred steps it would
    be moved by up to six times the learning rate.

    Args:
        config: The static part of the run.
        hyper: The hyperparameters of this update.
        num_updates: The updates that were done before this one.
        learner: The learner after it.
    """
    if not config.critic_warmup_updates:
        return learner
    is_last = (num_updates.high == 0) & (num_updates.low == config.critic_warmup_updates - 1)
    fresh = make_optimizer(hyper).init(ravel_pytree(learner.params)[0])
    is_held = _is_warming_up(config, num_updates)
    return learner._replace(
        optimizer=jax.tree.map(lambda new, x: jnp.where(is_last, new, x), fresh, learner.optimizer),
        steering=jax.tree.map(lambda new, x: jnp.where(is_held, new, x), init_steering(), learner.steering),
    )


def _is_warming_up(config: Config, num_updates: Count) -> jax.Array:
    return (num_updates.high == 0) & (num_updates.low < config.critic_warmup_updates)
