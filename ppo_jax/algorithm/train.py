"""Proximal Policy Optimization: Algorithm 1 of Schulman et al. 2017, and the loop around it."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.core import Tracer

from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.episodes import EpisodeSummary
from ppo_jax.algorithm.estimate import estimate, explained_variance
from ppo_jax.algorithm.given import check_hyper, check_key
from ppo_jax.algorithm.mapped import in_usual_modes
from ppo_jax.algorithm.metrics import Metrics, further_metrics, make_metrics, make_room
from ppo_jax.algorithm.own_metrics import REPEATED
from ppo_jax.algorithm.rollout import Collector, Trajectory, collect, init_collector
from ppo_jax.algorithm.schedules import at_steps, at_update
from ppo_jax.algorithm.task import PREFIX, arguments_at
from ppo_jax.algorithm.teacher import Teacher, teacher_for
from ppo_jax.algorithm.update import Learner, UpdateInfo, improve, init_learner
from ppo_jax.algorithm.warm_start import check_warmup, end_warmup, hold_actor, start_from_known
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count
from ppo_jax.envs.environment import Environment, checked
from ppo_jax.envs.make import NOTHING, check_ramps, make_environment
from ppo_jax.envs.ramps import ramps_of
from ppo_jax.errors import UsageError, check_kind
from ppo_jax.fast.loops import vary_with
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import MakeNetwork, Network, network_for
from ppo_jax.spaces import Space
from ppo_jax.validation import division_problems, validate

MAX_CAPACITY = 2**31 - 1  # updates are numbered in int32 within a loop


class TrainState(NamedTuple):
    """Everything the next iteration depends on. A run that is restored from it reaches the same bits.

    Attributes:
        learner: Parameters and optimizer.
        collector: Environments, last observations, episode statistics.
        key: The source of all further randomness.
        num_updates: Iterations done, [].
        horizon: Iterations of the whole run, over which the schedules extend, []. It is a value rather than a
            constant, so that runs of any length share one compilation.
    """

    learner: Learner
    collector: Collector
    key: jax.Array
    num_updates: Count
    horizon: Count


def iterate(
    config: Config,
    environment: Environment,
    network: Network,
    teacher: Teacher | None,
    hyper: Hyperparams,
    state: TrainState,
) -> tuple[TrainState, Metrics]:
    """Runs one iteration of Algorithm 1: collects experience, then learns from it.

    Args:
        config: The static part of the run.
        environment: The environment to collect from.
        network: The policy and the value function.
        teacher: The teacher of the policy, if it has one.
        hyper: The traced part of the run.
        state: Everything the iteration depends on.

    Returns:
        The state after the iteration, and its metrics.
    """
    key, collect_key, learn_key = jax.random.split(state.key, 3)
    hyper = hyper_of_update(config, hyper, state)
    params = state.learner.params
    collector, trajectory, episodes = collect(
        config, environment, network, hyper, collect_key, params, state.collector, teacher
    )
    state = state._replace(collector=collector, key=key)
    return complete(config, environment.action_space, network, hyper, learn_key, state, trajectory, episodes)


def hyper_of_update(config: Config, hyper: Hyperparams, state: TrainState) -> Hyperparams:
    """Returns the hyperparameters of the next update, for which schedules have been followed.

    Args:
        config: The static part of the run.
        hyper: The hyperparameters of the run.
        state: The state before the update.
    """
    # The barrier hides the horizon from XLA. Where the horizon is a constant, XLA would otherwise compute the
    # division in another way, and programs for the same run would differ in their last bits.
    progress = state.num_updates.as_float() / jax.lax.optimization_barrier(state.horizon).as_float()
    hyper = at_update(config, hyper, state.learner.steering, progress)
    if config.teacher is None:
        return hyper
    return at_steps(hyper, progress, state.num_updates.as_float() * config.batch_size)


def complete(
    config: Config,
    action_space: Space,
    network: Network,
    hyper: Hyperparams,
    key: jax.Array,
    state: TrainState,
    trajectory: Trajectory,
    episodes: EpisodeSummary,
) -> tuple[TrainState, Metrics]:
    """Completes an iteration once experience has been collected: learns, and assembles the metrics.

    Args:
        config: The static part of the run.
        action_space: The space of the actions.
        network: The policy and the value function.
        hyper: The hyperparameters of this update.
        key: The source of the order of the samples.
        state: The state after the experience was collected.
        trajectory: The experience, [T, N, ...].
        episodes: The episodes that ended in it.

    Returns:
        The state after the iteration, and its metrics.
    """
    held = hold_actor(config, state.num_updates, network)
    learner, info, explained = learn(config, held, hyper, key, state.learner, trajectory)
    learner = end_warmup(config, hyper, state.num_updates, learner)
    num_updates = state.num_updates.plus(1)
    env_steps = num_updates.times(config.batch_size)
    arguments = arguments_at(config, state.num_updates)
    further: dict[str, Any] = {PREFIX + name: value for name, value in arguments.items()}
    if config.teacher is not None:
        further |= {"teacher_kl": info.loss.teacher_kl, "teacher_coefficient": hyper.teacher_coefficient}
    if state.collector.repeated_starts is not None:
        further[REPEATED] = state.collector.repeated_starts
    metrics = make_metrics(action_space, hyper, env_steps, trajectory, episodes, info, explained, further)
    return state._replace(learner=learner, num_updates=num_updates), metrics


def learn(
    config: Config,
    network: Network,
    hyper: Hyperparams,
    key: jax.Array,
    learner: Learner,
    trajectory: Trajectory,
) -> tuple[Learner, UpdateInfo, jax.Array]:
    """Runs the second half of Algorithm 1: estimates advantages, then improves the policy.

    The trajectory may come from `collect` or from anywhere else.

    Args:
        config: The static part of the run.
        network: The policy and the value function.
        hyper: The hyperparameters of this update (see `schedules.at_update`).
        key: The source of the order of the samples.
        learner: The parameters, with which the trajectory was collected, and the optimizer.
        trajectory: The experience, [T, N, ...].

    Returns:
        The learner after the update, means over the gradient steps, and the explained variance before it.
    """
    batch = estimate(config, network, hyper, learner.params, trajectory)
    learner, info = improve(config, network, hyper, key, learner, batch)
    return learner, info, explained_variance(batch)


class PPO(NamedTuple):
    """The algorithm as two pure functions.

    Attributes:
        init: `init(hyper, key) -> TrainState`.
        step: `step(hyper, state) -> (TrainState, Metrics)`, one iteration.
        further: The names of metrics that only some configurations report.
    """

    init: Callable[[Hyperparams, jax.Array], TrainState]
    step: Callable[[Hyperparams, TrainState], tuple[TrainState, Metrics]]
    further: tuple[str, ...] = ()


def make_ppo(
    config: Config,
    environment: Environment | None = None,
    make_network: MakeNetwork = make_network,
    teacher: Teacher | None = None,
    traced: Mapping[str, jax.Array] = NOTHING,
) -> PPO:
    """Makes the algorithm for a configuration.

    Args:
        config: The static part of the run.
        environment: The caller's own environment; by default the one that `config` names.
        make_network: The caller's own function; by default the one that `config.network` names.
        teacher: The caller's own teacher; by default the policy that `config.teacher` names.
        traced: Values of parameters of the environment, [], in place of those in `config.env_args`.

    Returns:
        Pure functions to jit, vmap and scan.

    Raises:
        UsageError: With every mistake in the configuration.
    """
    validate(config, environment=environment)
    changes = bool(ramps_of(dict(config.env_args)))
    if changes:
        check_ramps(config.env, config.env_args, environment is not None)
    made = make_environment(config.env, config.env_args, traced) if environment is None else environment
    environment = checked(made)
    network = network_for(config, environment, make_network)
    problems = division_problems(config, network.remembers)
    if problems:
        raise UsageError(problems)
    check_warmup(config, network)
    teacher = teacher_for(config, environment, teacher)

    def environment_at(num_updates: Count) -> Environment:
        if not changes:
            return environment
        values = {**traced, **arguments_at(config, num_updates)}
        return checked(make_environment(config.env, config.env_args, values))

    def begin_now(hyper: Hyperparams, key: jax.Array) -> TrainState:
        return begin(config, environment_at(Count.of(0)), network, hyper, key)

    def iterate_now(hyper: Hyperparams, state: TrainState) -> tuple[TrainState, Metrics]:
        return iterate(config, environment_at(state.num_updates), network, teacher, hyper, state)

    def init(hyper: Hyperparams, key: jax.Array) -> TrainState:
        check_hyper(hyper)
        check_key(key)
        return in_usual_modes(begin_now, hyper, key)

    def step(hyper: Hyperparams, state: TrainState) -> tuple[TrainState, Metrics]:
        check_hyper(hyper)
        check_kind("state", state, TrainState, "what init or step returned")
        return in_usual_modes(iterate_now, hyper, state)

    return PPO(init=init, step=step, further=further_metrics(config))


def begin(
    config: Config, environment: Environment, network: Network, hyper: Hyperparams, key: jax.Array
) -> TrainState:
    """Returns the state before the first iteration.

    Args:
        config: The static part of the run.
        environment: The environment to collect from.
        network: The policy and the value function.
        hyper: The traced part of the run.
        key: The source of all randomness.
    """
    network_key, environment_key, key = jax.random.split(key, 3)
    state = TrainState(
        learner=init_learner(network, hyper, network_key),
        collector=init_collector(config, environment, network, environment_key),
        key=key,
        num_updates=Count.of(0),
        horizon=Count.of(config.num_updates),
    )
    return vary_with((hyper, key), start_from_known(config, state))


def train(
    config: Config,
    hyper: Hyperparams,
    key: jax.Array,
    environment: Environment | None = None,
    make_network: MakeNetwork = make_network,
) -> tuple[TrainState, Metrics]:
    """Trains from scratch for all of `config.num_updates` iterations.

    Under `jax.jit` the values of hyperparameters are unknown, so that gamma = 2 would train on without a
    word: call `validate(config, hyper)` beforehand. Here, only numbers that are known are checked.

    It has no derivative, neither in forward mode (`jax.jvp`) nor in reverse mode (`jax.grad`): its loops end
    when their work is done. To tune hyperparameters, map over many values (see `sweep`).

    Args:
        config: The static part of the run; it may be an argument of functions that JAX transforms.
        hyper: The traced part.
        key: A key of `jax.random.key`; the result depends on the arguments alone.
        environment: The caller's own environment; by default the one that `config` names.
        make_network: The caller's own function; by default the one that `config.network` names.

    Returns:
        The final state, and the metrics stacked over updates, each [U].

    Raises:
        UsageError: With every mistake in the configuration, and in hyperparameters that are known.
    """
    check_hyper(hyper)
    # A traced hyperparameter has no value to validate; its default takes its place.
    known = {name: x for name, x in hyper._asdict().items() if not isinstance(x, Tracer)}
    validate(config, Hyperparams(**known), environment)

    ppo = make_ppo(config, environment, make_network)
    state = ppo.init(hyper, key)
    return advance(ppo, config.num_updates, hyper, state)


def advance(
    ppo: PPO,
    capacity: int,
    hyper: Hyperparams,
    state: TrainState,
    num_updates: jax.Array | int | None = None,
) -> tuple[TrainState, Metrics]:
    """Runs several iterations in one compiled loop, which `train` and the host share.

    To advance several members at once, in lanes, `jax.vmap` it over `hyper` and `state`, but not over
    `num_updates`: it then remains one loop, of the same length for all lanes.

    Args:
        ppo: The algorithm.
        capacity: The room for metrics, and so the most updates that can be asked for; static.
        hyper: The traced part of the run.
        state: The state to continue from.
        num_updates: The number of updates, up to `capacity` (the default). It may be traced, so that any
            number of updates shares one compilation.

    Returns:
        The state after these updates, and metrics [capacity], zero beyond `num_updates`.

    Raises:
        UsageError: If there are more updates than a loop can number.
    """
    if capacity > MAX_CAPACITY:
        raise UsageError(
            f"{capacity} updates are more than {MAX_CAPACITY}, the most of one loop, which keeps the "
            "metrics of each; use `ppo_jax.run`, or `make_ppo` in a loop of your own"
        )
    loop = partial(_loop, ppo, capacity)
    return in_usual_modes(loop, hyper, state, capacity if num_updates is None else num_updates)


def _loop(
    ppo: PPO, capacity: int, hyper: Hyperparams, state: TrainState, num_updates: jax.Array | int
) -> tuple[TrainState, Metrics]:
    def body(index: jax.Array, carry: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, history = carry
        state, metrics = ppo.step(hyper, state)
        # Each scalar goes into the row of its update, [capacity].
        return state, jax.tree.map(lambda rows, row: rows.at[index].set(row), history, metrics)

    start = vary_with((hyper, state), (state, make_room(capacity, state.collector, ppo.further)))
    return jax.lax.fori_loop(0, num_updates, body, start)


def agent_of(state: TrainState) -> Agent:
    """Returns the agent that a train state contains."""
    check_kind("state", state, TrainState, "what train or step returned")
    return Agent(params=state.learner.params, statistics=state.collector.statistics)
