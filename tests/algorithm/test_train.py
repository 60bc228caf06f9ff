"""Training as a pure function: one trace, the same bits again, one row per seed, any chunking."""

import dataclasses
import functools
import math
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.agent import Agent, act
from ppo_jax.algorithm.known import register_policy
from ppo_jax.algorithm.rollout import Trajectory, collect
from ppo_jax.algorithm.schedules import at_update
from ppo_jax.algorithm.train import Metrics, advance, agent_of, learn, make_ppo, train
from ppo_jax.algorithm.update import init_learner
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.spaces import Box, Discrete
from tests.support import probes
from tests.support.bits import digest, python
from tests.support.counted import Counted
from tests.support.linear import make_linear_network

CONFIG = Config(
    num_envs=4,
    num_steps=8,
    total_timesteps=8 * 32 + 31,  # 8 updates, and a rest that does not fill one
    num_epochs=2,
    num_minibatches=2,
    hidden_sizes=(8,),
)
U = 8
SEEDS = 20
KEYS = jax.random.split(jax.random.key(0), SEEDS)
INTEGERS = (
    *("env_steps", "episodes", "num_epochs", "dead_ends"),
    *("nonfinite_observations", "nonfinite_rewards"),
)

HYPER = Hyperparams(  # with steps long enough to leave a narrow clip range
    learning_rate=1e-3, final_learning_rate=1e-3, clip_epsilon=1e-3, entropy_coefficient=0.0
)
MOVING = dataclasses.replace(CONFIG, clip_schedule="linear", entropy_schedule="cosine")
STEERED = dataclasses.replace(CONFIG, objective="adaptive_kl")
TAUGHT = dataclasses.replace(CONFIG, teacher="trained as CONFIG says")
# What each hyperparameter may be, under a configuration in which it matters.
THREE_VALUES = {
    "learning_rate": (CONFIG, (1e-4, 1e-3, 1e-2)),
    "final_learning_rate": (CONFIG, (0.0, 1e-4, 1e-2)),
    "gamma": (CONFIG, (0.0, 0.9, 1.0)),
    "gae_lambda": (CONFIG, (0.0, 0.9, 1.0)),
    "clip_epsilon": (CONFIG, (1e-4, 1e-3, math.inf)),
    "final_clip_epsilon": (MOVING, (0.0, 1e-4, 1.0)),
    "value_clip_epsilon": (CONFIG, (1e-4, 1e-3, math.inf)),
    "value_coefficient": (CONFIG, (0.0, 0.5, 1.0)),
    "entropy_coefficient": (CONFIG, (0.0, 0.01, 1.0)),
    "final_entropy_coefficient": (MOVING, (0.0, 0.01, 1.0)),
    "kl_coefficient": (STEERED, (0.0, 1.0, 100.0)),
    "desired_kl": (STEERED, (1e-7, 1e-6, 1e-2)),
    "target_kl": (CONFIG, (1e-30, 1e-7, math.inf)),
    "max_grad_norm": (CONFIG, (0.1, 0.5, math.inf)),
    "adam_epsilon": (CONFIG, (1e-8, 1e-5, 1e-2)),
    "teacher_coefficient": (TAUGHT, (0.0, 0.5, 1.0)),
    "teacher_steps": (TAUGHT, (32.0, 128.0, math.inf)),
}


@functools.cache
def counted(config, limited=False):
    """A training, compiled and counted: once for all tests of a configuration, or of its `target_kl`."""
    return Counted(partial(train, config))


@pytest.fixture(scope="module")
def run():
    """The one compiled training that most tests share: `run(hyper, key)`."""
    return counted(CONFIG).run


@pytest.fixture(scope="module")
def singles(run):
    """One run per seed, each by itself."""
    return [run(Hyperparams(), key) for key in KEYS]


# One trace, no callbacks


@pytest.mark.parametrize(
    "name",
    [
        name if THREE_VALUES[name][0] is CONFIG else pytest.param(name, marks=pytest.mark.long)
        for name in Hyperparams._fields
    ],
)
def test_three_values_of_every_hyperparameter_are_one_trace_and_each_makes_a_difference(name):
    config, values = THREE_VALUES[name]
    if config is TAUGHT:
        register_policy(TAUGHT.teacher, CONFIG, agent_of(counted(CONFIG).run(HYPER, KEYS[1])[0]))
    training = counted(config, limited=name == "target_kl")
    states = [training.run(HYPER._replace(**{name: value}), KEYS[0])[0] for value in values]
    assert len({digest(state.learner.params) for state in states}) == 3
    assert training.traces == 1


def primitives(jaxpr):
    """The names of all primitives, those of inner loops and functions included."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for parameter in jax.tree.leaves(list(equation.params.values())):
            inner = getattr(parameter, "jaxpr", parameter)
            yield from primitives(inner) if hasattr(inner, "eqns") else ()


def test_training_never_calls_back_to_the_host():
    names = {*primitives(jax.make_jaxpr(partial(train, CONFIG))(Hyperparams(), KEYS[0]).jaxpr)}
    assert {"scan", "dot_general", "tanh"} <= names  # the search went into the loops
    assert not [name for name in names if "callback" in name or "print" in name or "feed" in name]


def test_a_callback_deep_in_a_loop_would_be_found():
    def talk(carry, _):
        jax.debug.print("{}", carry)
        return carry, None

    looped = jax.make_jaxpr(lambda x: jax.lax.scan(jax.jit(talk), x, length=2))(1.0)
    assert any("callback" in name or "print" in name for name in primitives(looped.jaxpr))


# Metrics


def test_metrics_are_one_scalar_per_update_of_the_documented_type(singles):
    _, metrics = singles[0]
    chex.assert_shape(metrics, (U,))
    types = dict.fromkeys(Metrics._fields, np.float32) | dict.fromkeys(INTEGERS, np.int32)
    types["env_steps"] = np.int64
    assert {name: np.asarray(column).dtype for name, column in metrics._asdict().items()} == types


def test_environment_steps_are_counted_from_the_first_update(singles):
    state, metrics = singles[0]
    assert metrics.env_steps.tolist() == [32 * update for update in range(1, U + 1)]
    assert int(state.num_updates) == CONFIG.num_updates == U


def test_metrics_are_finite_unless_there_is_nothing_to_average(singles):
    for _, metrics in singles:
        nothing_ended = np.asarray(metrics.episodes) == 0
        averages = [metrics.episode_return, metrics.episode_length]
        assert not metrics.dead_ends.any()
        others = metrics._asdict().keys() - {"episode_return", "episode_length", "return_window"}
        assert all((np.isnan(average) == nothing_ended).all() for average in averages)
        chex.assert_tree_all_finite([getattr(metrics, name) for name in others])
    assert np.isnan(metrics.return_window).all()  # 256 steps are fewer than 100 episodes


def test_the_learning_rate_that_is_reported_falls_linearly_and_once_per_update(singles):
    _, metrics = singles[0]
    np.testing.assert_allclose(metrics.learning_rate, 2.5e-4 * (1 - np.arange(U) / U), rtol=1e-6)


def test_the_metrics_report_the_hyperparameters_that_an_update_was_given(singles):
    _, metrics = singles[0]
    for name in ("clip_epsilon", "entropy_coefficient", "kl_coefficient"):
        np.testing.assert_array_equal(
            getattr(metrics, name), np.full(U, getattr(Hyperparams(), name), np.float32)
        )
    assert metrics.num_epochs.tolist() == [CONFIG.num_epochs] * U


def test_an_episode_continues_from_one_update_to_the_next(singles):
    """In CartPole a return is a length, and a mean length above T needs more than one update."""
    longest = max(float(np.nanmax(metrics.episode_length)) for _, metrics in singles)
    assert longest > CONFIG.num_steps
    for _, metrics in singles:
        np.testing.assert_array_equal(metrics.episode_return, metrics.episode_length)


# A function of its arguments alone


def test_the_same_key_gives_the_same_bits(run, singles):
    assert digest(run(Hyperparams(), KEYS[0])) == digest(singles[0])


def test_twenty_seeds_give_twenty_different_runs(singles):
    assert len({digest(state.learner.params) for state, _ in singles}) == SEEDS
    assert len({digest(metrics) for _, metrics in singles}) == SEEDS


@pytest.mark.long
def test_another_process_gives_the_same_bits(singles):
    program = """
import jax
from ppo_jax.config import Hyperparams
from ppo_jax.algorithm.train import train
from tests.support.bits import digest
from tests.algorithm.test_train import CONFIG, KEYS
print(digest(jax.jit(train, static_argnums=0)(CONFIG, Hyperparams(), KEYS[0])))
"""
    assert python(program, timeout=240) == digest(singles[0])


# vmap


@pytest.fixture(scope="module")
def many():
    """As many runs in one program, each with its own key and its own hyperparameters."""
    hypers = Hyperparams(*[np.full(SEEDS, value, np.float32) for value in Hyperparams()])
    hypers = hypers._replace(
        learning_rate=np.linspace(1e-4, 1e-2, SEEDS, dtype=np.float32),
        clip_epsilon=np.where(np.arange(SEEDS) % 2, np.inf, 0.1).astype(np.float32),
    )
    return hypers, *jax.jit(jax.vmap(partial(train, CONFIG)))(hypers, KEYS)


def test_each_row_of_a_vmap_over_keys_and_hyperparameters_is_the_single_run(run, many):
    """Up to rounding: with a batch axis XLA fuses sums differently, and the last bit may differ.

    Everything that is counted, and every episode, is the same to the bit.
    """
    hypers, states, metrics = many
    for row, key in enumerate(KEYS):
        take = partial(jax.tree.map, lambda x, row=row: x[row])
        state, single = run(take(hypers), key)
        exact = ("episode_return", "episode_length", "learning_rate", *INTEGERS)
        for name in exact:
            np.testing.assert_array_equal(getattr(take(metrics), name), getattr(single, name))
        chex.assert_trees_all_close(take(metrics), single, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(take(states.learner), state.learner, rtol=1e-4, atol=1e-5)


def test_a_vmap_of_a_whole_run_over_64_seeds_ends():
    """Some versions of jaxlib hang here without a word, so a process of its own is given a limit."""
    program = """
import jax
from ppo_jax.config import Config, Hyperparams
from ppo_jax.algorithm.train import train
config = Config(num_envs=4, num_steps=32, total_timesteps=2048)
runs = jax.jit(jax.vmap(train, (None, None, 0)), static_argnums=0)
_, metrics = runs(config, Hyperparams(), jax.random.split(jax.random.key(0), 64))
print(*metrics.env_steps.shape)
"""
    assert python(program, timeout=240) == "64 16"


# Chunks


@pytest.fixture(scope="module")
def chunk():
    """`chunk(state, num_updates)`, compiled once for any number of updates up to U."""
    go = jax.jit(partial(advance, make_ppo(CONFIG), U))
    return lambda state, num_updates: go(Hyperparams(), state, num_updates)


@pytest.fixture(scope="module")
def first_state():
    return jax.jit(make_ppo(CONFIG).init)(Hyperparams(), KEYS[0])


@pytest.mark.parametrize("sizes", [(1,) * 8, (2,) * 4, (5, 3), (1, 2, 5), (8,)])
def test_any_division_into_chunks_gives_the_bits_of_one_run(chunk, first_state, singles, sizes):
    state, rows = first_state, []
    for size in sizes:
        state, metrics = chunk(state, size)
        rows.append(jax.tree.map(lambda x, size=size: np.asarray(x[:size]), metrics))
    history = jax.tree.map(lambda *parts: np.concatenate(parts), *rows)
    assert digest((state, history)) == digest(singles[0])


def test_every_update_leaves_another_key_for_the_next(chunk, first_state):
    assert len({digest(chunk(first_state, updates)[0].key) for updates in range(5)}) == 5


def test_there_are_no_metrics_beyond_the_updates_that_were_asked_for(chunk, first_state):
    _, metrics = chunk(first_state, 3)
    assert metrics.env_steps.tolist() == [32, 64, 96, 0, 0, 0, 0, 0]


def test_no_updates_leave_the_state_as_it_is(chunk, first_state):
    state, metrics = chunk(first_state, 0)
    assert digest(state) == digest(first_state)
    assert not metrics.env_steps.any()


# Parts of the caller's own


def test_a_caller_may_train_a_network_of_their_own():
    """It is made to fit the environment, and learns to choose by the sign that is shown."""
    asked = []

    def make_network(*arguments):
        asked.append(arguments)
        return make_linear_network(*arguments)

    environment = probes.policy_and_value()._replace(privileged_space=Box((2,)))
    first = make_ppo(CONFIG, environment, make_network).init(HYPER, KEYS[0]).learner.params
    state, _ = train(CONFIG, Hyperparams(learning_rate=0.1), KEYS[0], environment, make_network)
    assert asked == [(CONFIG, Box((1,)), Discrete(2), Box((2,)))] * 2
    chex.assert_trees_all_equal_shapes_and_dtypes(state.learner.params, first)
    before, after = (np.diff(params["actor"]).item() for params in (first, state.learner.params))
    assert after > before + 0.5


# Mistakes


@pytest.mark.parametrize("entry", [make_ppo, lambda config: train(config, Hyperparams(), KEYS[0])])
def test_a_bad_config_is_a_usage_error_before_anything_is_made_or_traced(entry, monkeypatch):
    module = sys.modules["ppo_jax.algorithm.train"]  # by attribute, the name is that of the function
    monkeypatch.setattr(module, "make_environment", lambda *_: pytest.fail("too late"))
    with pytest.raises(UsageError) as error:
        entry(dataclasses.replace(CONFIG, num_epochs=0, num_minibatches=-1))
    assert len(error.value.problems) == 2


def test_a_bad_config_is_a_usage_error_under_jit_too():
    with pytest.raises(UsageError, match="num_envs = 0"):
        jax.jit(train, static_argnums=0)(Config(num_envs=0), Hyperparams(), KEYS[0])


# Collecting apart from learning


def collect_on_the_host(config, network, params, key):
    """T steps of N environments in NumPy, which pay 1 for action 1 and -1 for action 0, and end at once."""
    observation = np.ones((config.num_envs, 1), np.float32)
    memory = network.init_memory(config.num_envs)
    start = np.ones(config.num_envs, bool)
    steps = []
    for step_key in jax.random.split(key, config.num_steps):
        seen, prediction = act(network, Agent(params), memory, observation, start)
        action = prediction.policy.sample(step_key)
        steps.append(
            Trajectory(
                observation=seen,
                action=action,
                policy=prediction.policy,
                final_observation=seen,
                reward=np.where(np.asarray(action) == 1, 1, -1).astype(np.float32),
                terminated=start,
                done=start,
                start=start,
                memory=prediction.memory,
            )
        )
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *steps)  # [T, N, ...]


def test_a_host_environment_can_replace_collecting_and_keep_learning():
    config = dataclasses.replace(CONFIG, num_epochs=4)
    hyper = Hyperparams(learning_rate=3e-2)
    network = make_linear_network(config, Box((1,)), Discrete(2), None)
    learner = init_learner(network, hyper, jax.random.key(0))
    update = jax.jit(partial(learn, config, network, hyper))
    for key in jax.random.split(jax.random.key(1), 12):
        trajectory = collect_on_the_host(config, network, learner.params, key)
        learner, info, explained = update(key, learner, trajectory)
    assert np.exp(network.policy(learner.params, jnp.ones(1)).log_probs)[1] > 0.9
    assert float(info.num_epochs) == 4
    assert np.isnan(explained) or explained <= 1


def test_an_iteration_is_collecting_and_learning():
    ppo = make_ppo(CONFIG)
    state = ppo.init(HYPER, jax.random.key(0))
    environment = make_environment(CONFIG.env)
    network = network_for(CONFIG, environment, make_network)

    @jax.jit
    def by_hand(state):
        key, collect_key, learn_key = jax.random.split(state.key, 3)
        hyper = at_update(CONFIG, HYPER, state.learner.steering, jnp.float32(0))
        params = state.learner.params
        collector, trajectory, _ = collect(
            CONFIG, environment, network, hyper, collect_key, params, state.collector
        )
        learner, _, _ = learn(CONFIG, network, hyper, learn_key, state.learner, trajectory)
        return learner, collector, key

    after, _ = jax.jit(ppo.step)(HYPER, state)
    chex.assert_trees_all_close(by_hand(state)[:2], (after.learner, after.collector), rtol=1e-6)
    assert digest(by_hand(state)[2]) == digest(after.key)
