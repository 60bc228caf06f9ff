"""A teacher: a trained policy that another one learns to resemble while it learns from rewards.

The loss grows by c KL(teacher || policy) in the states that the policy itself visits, and c falls to 0.

Sources: Schmitt et al. 2018, "Kickstarting Deep Reinforcement Learning" (the auxiliary loss, its weight, and
states of the student); Rusu et al. 2016, "Policy Distillation" (the KL from the teacher to the student);
Pinto et al. 2017, "Asymmetric Actor Critic for Image-Based Robot Learning" (in training, one part may see
what the policy will not), here for a teacher as in Chen et al. 2020, "Learning by Cheating". Departures:
Kickstarting minimizes the cross entropy, which differs from the KL by the entropy of the teacher and has the
same gradient, but is not 0 where the two agree; its weight is scheduled by hand or by a population, here
linearly. The distributions of the teacher are taken as they are, where Policy Distillation sharpens action
values.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import registered
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.known import Tensors, check_fits, is_of_critic
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import init_statistics, normalize
from ppo_jax.config import Config, View
from ppo_jax.envs.environment import (
    Environment,
    Observation,
    actor_features,
    critic_features,
    legal_actions,
)
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import Distribution
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import MakeNetwork, Network, Params

FIELDS = ("teacher_kl", "teacher_coefficient")  # the metrics of a run with a teacher


class Teacher(NamedTuple):
    """A trained policy without memory that does not change.

    Attributes:
        network: Its network, of which only the policy counts.
        params: Its parameters.
        statistics: The statistics that it normalizes features with; None if it does not.
        sees: The part of an observation that it is shown: that of the student's actor, or that of its critic.
    """

    network: Network
    params: Params
    statistics: Any
    sees: View


def make_teacher(
    config: Config,
    agent: Agent | Tensors,
    environment: Environment,
    sees: View = "actor",
    make_network: MakeNetwork = make_network,
    what: str = "the teacher",
) -> Teacher:
    """Makes a teacher for a student's environment. The environment that the teacher learned in is not needed.

    Args:
        config: The configuration of the run that the teacher comes from, which describes its network.
        agent: The agent of that run, or its arrays by their paths; they may be traced.
        environment: The environment of the student.
        sees: The part of an observation that the teacher is shown.
        make_network: The function that makes the network of the teacher.
        what: The name of the teacher in errors.

    Raises:
        UsageError: If it has a memory, or does not fit what it is shown and the actions; with what differs.
    """
    if sees == "critic" and environment.privileged_space is None:
        raise UsageError(
            "teacher_sees = 'critic' is not possible: the environment shows its critic nothing more than its "
            "actor; give teacher_sees = 'actor'"
        )
    space = environment.observation_space if sees == "actor" else environment.privileged_space
    network = make_network(config, space, environment.action_space, None)  # pyright: ignore[reportArgumentType]
    if network.remembers:
        raise UsageError(
            f"{what} has a memory (memory_size = {config.memory_size}), which would have to follow what the "
            "student does from one update to the next; give a teacher without, the student may have one"
        )
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    statistics = None
    if config.normalize_observations:
        statistics = init_statistics(space.shape)  # pyright: ignore[reportOptionalMemberAccess,reportAttributeAccessIssue]
    template = {"params": shapes, "statistics": statistics}
    wanted, given = by_path(template), _of_policy(by_path(agent))
    check_fits(what, given, {path: x for path, x in wanted.items() if not is_of_critic(path)})
    # Its critic may have seen something else, and is not used.
    leaves = [
        jnp.asarray(given[path]) if path in given else jnp.zeros(x.shape, x.dtype)
        for path, x in wanted.items()
    ]
    filled = jax.tree.unflatten(jax.tree.structure(template), leaves)
    return Teacher(network=network, params=filled["params"], statistics=filled["statistics"], sees=sees)


def teacher_for(config: Config, environment: Environment, given: Teacher | None = None) -> Teacher | None:
    """Returns the teacher that a configuration names; None if it names none.

    Raises:
        UsageError: If it has not been loaded, or does not fit; if one is given, but none is named.
    """
    if given is not None and config.teacher is None:
        raise UsageError("a teacher is given, but config.teacher is None; give it a name there")
    if given is not None or config.teacher is None:
        return given
    policy = registered.known_policy("teacher", config.teacher)
    what = f"teacher = {config.teacher!r}"
    return make_teacher(policy.config, policy.tensors, environment, config.teacher_sees, what=what)


def _of_policy(tensors: Tensors) -> dict[str, Any]:
    """Returns the tensors on which the policy of an agent depends, with the statistics of features alone."""
    return {
        path.replace("statistics/features/", "statistics/"): x
        for path, x in tensors.items()
        if not is_of_critic(path) and not path.startswith("statistics/privileged/")
    }


def teach(teacher: Teacher | None, observation: Any) -> Distribution | None:
    """Returns the policy of the teacher, distributions [N]; None without a teacher.

    Args:
        teacher: The teacher.
        observation: The observations of the student as the environment gave them, [N, ...].
    """
    if teacher is None:
        return None
    features = critic_features(observation) if teacher.sees == "critic" else actor_features(observation)
    if teacher.statistics is not None:
        features = normalize(teacher.statistics, features)
    legal = legal_actions(observation)
    shown = features if legal is None else Observation(features, legal)
    num_envs = features.shape[0]
    start = jnp.zeros(num_envs, bool)
    return teacher.network.apply(teacher.params, teacher.network.init_memory(num_envs), shown, start).policy
