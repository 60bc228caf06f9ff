"""Warm starts: a run that begins with a trained policy, and a critic that learns before the actor does.

What belongs to the run rather than to its policy begins anew: the optimizer, the factors that adapt to the
KL, the episodes, and the environments.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from ppo_jax import registered
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.known import CRITIC, Tensors, check_alike, check_fits, is_of_critic, rewards_of
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.algorithm.schedules import init_steering
from ppo_jax.algorithm.update import Learner, make_optimizer
from ppo_jax.config import Config, Hyperparams, Parts
from ppo_jax.count import Count
from ppo_jax.errors import UsageError
from ppo_jax.networks.network import Network, Params

State = TypeVar("State")


def start_from_known(config: Config, state: State) -> State:
    """Makes a run start from the policy that its configuration names, if it names one.

    Args:
        config: The static part of the run.
        state: Its first state, a `TrainState`.

    Raises:
        UsageError: If the policy has not been loaded, or does not fit.
    """
    if config.initial_policy is None:
        return state
    policy = registered.known_policy("initial_policy", config.initial_policy)
    what = f"initial_policy = {config.initial_policy!r}"
    check_alike(what, policy.config, config)
    return start_from(what, state, policy.tensors, config.initial_parts, rewards_of(policy))


def start_from(what: str, state: State, tensors: Tensors, parts: Parts, rewards: Statistics | None) -> State:
    """Puts the tensors of a trained policy into the first state of a run.

    The statistics of observations come along with either part, because both the actor and the critic have
    learned from observations that were normalized with them. They count on from there. Those of rewards come
    along with the critic, whose values are in their units.

    Args:
        what: The origin of the tensors, for errors.
        state: The first state of the run, a `TrainState`.
        tensors: The arrays of the trained agent by their paths.
        parts: The parts of it to take.
        rewards: The statistics with which its rewards were scaled; None to begin them anew.

    Raises:
        UsageError: If the network keeps no parts, or with the first tensors that do not fit.
    """
    run: Any = state
    agent = Agent(params=run.learner.params, statistics=run.collector.statistics)
    if parts != "both" and not _is_divided(agent.params):
        raise UsageError(
            f"initial_parts = {parts!r} is not possible: the network does not keep the parameters of its "
            "critic apart; give initial_parts = 'both'"
        )

    def belongs(path: str) -> bool:
        is_asked_for = parts == "both" or is_of_critic(path) == (parts == "critic")
        return is_asked_for or path.startswith("statistics/")

    own = by_path(agent)
    given = {path: x for path, x in tensors.items() if belongs(path)}
    check_fits(what, given, {path: x for path, x in own.items() if belongs(path)})
    leaves = [jnp.asarray(given[path], x.dtype) if path in given else x for path, x in own.items()]
    agent = jax.tree.unflatten(jax.tree.structure(agent), leaves)
    scaler = run.collector.reward_scaler
    if scaler is not None and rewards is not None and parts != "actor":
        scaler = scaler._replace(statistics=rewards)
    return run._replace(
        learner=run.learner._replace(params=agent.params),
        collector=run.collector._replace(statistics=agent.statistics, reward_scaler=scaler),
    )


def check_warmup(config: Config, network: Network) -> None:
    """Makes sure that the critic of a network can learn alone, if it shall.

    Raises:
        UsageError: If it cannot.
    """
    if not config.critic_warmup_updates:
        return
    if not _is_divided(jax.eval_shape(network.init, jax.random.key(0))):
        raise UsageError(
            f"critic_warmup_updates = {config.critic_warmup_updates} is not possible: the network does not "
            "keep the parameters of its critic apart, as {'actor': ..., 'critic': ...}; give 0"
        )


def _is_divided(params: Any) -> bool:
    return isinstance(params, dict) and CRITIC in params and len(params) > 1


def hold_actor(config: Config, num_updates: Count, network: Network) -> Network:
    """Returns a network whose actor gets no gradient during the warm-up of the critic.

    All parameters but those of the critic are held, so also the standard deviations of actions. Their
    gradient is exactly zero before its norm is bounded, so the bound applies to that of the critic alone; and
    Adam, which has seen nothing but zeros, leaves them exactly as they are.

    Args:
        config: The static part of the run.
        num_updates: The updates that are done.
        network: The network.
    """
    if not config.critic_warmup_updates:
        return network
    is_held = _is_warming_up(config, num_updates)

    def held(params: Params) -> Params:
        others = {name: x for name, x in params.items() if name != CRITIC}
        without_gradient = jax.tree.map(lambda x: jnp.where(is_held, jax.lax.stop_gradient(x), x), others)
        return {**params, **without_gradient}

    return network._replace(
        apply=lambda params, *inputs: network.apply(held(params), *inputs),
        unroll=lambda params, *inputs: network.unroll(held(params), *inputs),
    )


def end_warmup(config: Config, hyper: Hyperparams, num_updates: Count, learner: Learner) -> Learner:
    """Keeps the KL of updates without an actor from steering anything, and starts Adam anew after the last.

    Adam divides its moments by what they lack after as many steps (Kingma and Ba 2015, Section 3). The steps
    of the warm-up would count for the actor too, whose moments are still zero: for its first hundred steps it
    would be moved by up to 6.6 times the learning rate.

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
