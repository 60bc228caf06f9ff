"""An environment is what it was given as: honoured with all that is around it, or refused by name."""

from collections import OrderedDict
from functools import partial
from typing import NamedTuple

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax.environments import environment, spaces
from gymnax.wrappers.purerl import (
    FlattenObservationWrapper,
    GymnaxWrapper,
    LogWrapper,
    StickyActionWrapper,
)

import ppo_jax
from ppo_jax.conformance import check
from ppo_jax.envs.environment import Dynamics, Environment, Transition, checked, make_batched
from ppo_jax.envs.gymnax import wrap
from ppo_jax.networks.distributions import num_outputs
from ppo_jax.spaces import Box, Discrete

LONG = pytest.mark.long
CONFIG = ppo_jax.Config("given", 4, 16, 256, num_minibatches=2, hidden_sizes=(4,))
FLOAT_MAX = float(np.finfo(np.float32).max)


def train(env, **fields):
    config = ppo_jax.Config(**{**vars(CONFIG), **fields})
    _, metrics = jax.jit(partial(ppo_jax.train, config, environment=env))(
        ppo_jax.Hyperparams(), jax.random.key(0)
    )
    return metrics


# Wrappers


class Rich(GymnaxWrapper):
    """Multiplies rewards by 100."""

    def step(self, key, state, action, params=None):
        observation, state, reward, *rest = self._env.step(key, state, action, params)
        return observation, state, 100 * reward, *rest


class Sevens(GymnaxWrapper):
    """Shows nothing but sevens."""

    def reset(self, key, params=None):
        observation, state = self._env.reset(key, params)
        return jnp.full_like(observation, 7), state

    def step(self, key, state, action, params=None):
        observation, *rest = self._env.step(key, state, action, params)
        return jnp.full_like(observation, 7), *rest


CARTPOLE, PARAMS = gymnax.make("CartPole-v1")
SHORT = PARAMS.replace(max_steps_in_episode=5)


def play(env, actions, num_envs=1):
    state, first = env.reset(num_envs, jax.random.key(0))
    steps = []
    for action in actions:
        drawn = env.draw_one(num_envs, jax.random.key(len(steps)))
        state, time_step = env.step(drawn, state, jnp.full(num_envs, action))
        steps.append(time_step)
    return first, steps


@LONG
def test_a_wrapper_that_multiplies_rewards_is_honoured():
    _, plain = play(wrap(CARTPOLE, PARAMS), [1, 1])
    _, rich = play(wrap(Rich(CARTPOLE), PARAMS), [1, 1])
    assert [100 * one.reward for one in plain] == [one.reward for one in rich]
    returns = [train(wrap(env, SHORT)).episode_return for env in (CARTPOLE, Rich(CARTPOLE))]
    np.testing.assert_allclose(returns[1], 100 * returns[0])


def test_a_wrapper_that_changes_observations_is_honoured_at_every_place():
    first, steps = play(wrap(Sevens(CARTPOLE), SHORT), [1] * 6)
    assert (first == 7).all()
    assert all((one.observation == 7).all() and (one.final_observation == 7).all() for one in steps)


def test_sticky_actions_stick():
    """With probability 1 the first action, 0, is repeated for ever."""
    _, right = play(wrap(StickyActionWrapper(CARTPOLE, 1.0), PARAMS), [1, 1])
    _, left = play(wrap(CARTPOLE, PARAMS), [0, 0])
    np.testing.assert_array_equal(right[-1].final_observation, left[-1].final_observation)


def test_a_flattened_observation_is_flat():
    env, params = gymnax.make("Catch-bsuite")
    flat = wrap(FlattenObservationWrapper(env), params)
    assert flat.observation_space.shape == (50,)
    first, _ = play(flat, [])
    assert first.shape == (1, 50)


@pytest.mark.parametrize(
    "wrapper", [Rich, Sevens, LogWrapper, StickyActionWrapper, lambda env: Rich(Rich(env))]
)
def test_behind_a_wrapper_the_successor_and_the_time_limit_are_right(wrapper):
    plain, wrapped = wrap(CARTPOLE, SHORT), wrap(wrapper(CARTPOLE), SHORT)
    _, steps = play(wrapped, [0, 1, 0, 1, 0])
    assert [bool(one.truncated[0]) for one in steps] == [False] * 4 + [True]
    assert not any(one.terminated[0] for one in steps)
    check(wrapped)
    if wrapper is not Sevens:
        _, expected = play(plain, [0, 1, 0, 1, 0])
        np.testing.assert_array_equal(steps[-1].final_observation, expected[-1].final_observation)


@LONG
def test_a_wrapper_can_be_registered_and_trained_from_its_name(tmp_path):
    ppo_jax.register("rich", Rich(CARTPOLE))
    config = ppo_jax.Config("rich", 4, 16, 128, env_args={"max_steps_in_episode": 5}, hidden_sizes=(4,))
    run = ppo_jax.run(config, run_dir=tmp_path / "run", quiet=True)
    assert run.summary["evaluation"]["mean"] == 500


class Locked:
    """Keeps its environment under another name."""

    def __init__(self, env):
        self.inside = env

    def __getattr__(self, name):
        return getattr(self.inside, name)


class Overriding(type(CARTPOLE)):
    """Changes what is not used."""

    def step(self, key, state, action, params=None):
        return super().step(key, state, action, params)


@pytest.mark.parametrize(
    ("env", "problem"),
    [
        (Locked(CARTPOLE), "Locked is neither an environment of gymnax nor a wrapper that keeps one as _env"),
        (Overriding(), "Overriding overrides step, which is not used; override step_env instead"),
        (Rich(Overriding()), "Overriding overrides step"),
        (3, "int is neither"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(env, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem):
        wrap(env, PARAMS)


# Spaces


class Named(NamedTuple):
    pos: jax.Array
    kind: jax.Array


@struct.dataclass
class Struct:
    pos: jax.Array
    kind: jax.Array


class Showing(environment.Environment):
    """Shows the same thing for ever."""

    def __init__(self, observation, space, action_space=None, state=None, seen=None):
        self.given = observation, space, action_space or spaces.Discrete(2), state, seen

    def reset_env(self, key, params):
        return self.given[0], self.given[3] or environment.EnvState(time=0)

    def step_env(self, key, state, action, params):
        if self.given[4] is not None:
            self.given[4].append(action)
        later = state.replace(time=state.time + 1) if hasattr(state, "replace") else state
        return self.given[0], later, 1.0, jnp.array(False), {}

    def observation_space(self, params):
        return self.given[1]

    def action_space(self, params):
        return self.given[2]


POS, KIND = jnp.float32(2.7), jnp.int32(1)
DICT = spaces.Dict({"pos": spaces.Box(-9.0, 9.0, ()), "kind": spaces.Discrete(4)})
LIMIT = gymnax.EnvParams(max_steps_in_episode=5)


@pytest.mark.parametrize(
    "observation",
    [
        {"pos": POS, "kind": KIND},
        OrderedDict(pos=POS, kind=KIND),
        Named(POS, KIND),
        Struct(pos=POS, kind=KIND),
    ],
)
def test_parts_of_an_observation_belong_to_the_spaces_of_their_names(observation):
    env = wrap(Showing(observation, DICT), LIMIT)
    first, _ = play(env, [])
    np.testing.assert_allclose(first, [[0, 1, 0, 0, 2.7]])
    check(env)


@pytest.mark.parametrize(
    ("observation", "problem"),
    [
        ({"pos": POS}, "an observation has the parts pos, but its space has kind, pos"),
        ({"pos": POS, "kind": KIND, "more": POS}, "has the parts pos, kind, more"),
        (OrderedDict(position=POS, kind=KIND), "has the parts position, kind"),
        ((POS, KIND), "an observation of a Dict space is a tuple; give a dictionary"),
    ],
)
def test_parts_that_have_no_space_are_refused(observation, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem):
        play(wrap(Showing(observation, DICT), LIMIT), [])


@pytest.mark.parametrize(
    ("number", "is_in"),
    [
        (0, True),
        (3, True),
        pytest.param(4, False, marks=LONG),
        pytest.param(7, False, marks=LONG),
        pytest.param(-1, False, marks=LONG),
    ],
)
def test_a_number_that_is_not_in_its_space_is_noticed(number, is_in):
    env = wrap(Showing(jnp.int32(number), spaces.Discrete(4)), LIMIT)
    first, _ = play(env, [])
    assert bool(np.isfinite(first).all()) == is_in
    if is_in:
        assert first.tolist() == [np.eye(4)[number].tolist()]
    else:
        assert train(env).nonfinite_observations[0] > 0
        with pytest.raises(ppo_jax.UsageError, match="not finite"):
            check(env)


def test_whole_actions_arrive_as_whole_numbers():
    seen = []
    env = wrap(
        Showing(jnp.zeros(1), spaces.Box(-1.0, 1.0, (1,)), spaces.Box(0, 4, (1,), jnp.int32), seen=seen),
        LIMIT,
    )
    state, _ = env.reset(1, jax.random.key(0))
    env.step(env.draw_one(1, jax.random.key(0)), state, jnp.array([[2.6]]))
    assert {action.dtype for action in seen} == {jnp.dtype("int32")}
    check(env)


def test_a_shape_may_be_a_number_and_must_not_be_empty():
    assert wrap(Showing(jnp.zeros(3), spaces.Box(-1.0, 1.0, 3)), LIMIT).observation_space.shape == (3,)
    for space in (spaces.Box(-1.0, 1.0, (0,)), spaces.Discrete(0)):
        with pytest.raises(ppo_jax.UsageError, match="with a size of 0; give at least 1"):
            wrap(Showing(jnp.zeros(0), space), LIMIT)
        with pytest.raises(ppo_jax.UsageError, match="with a size of 0; give at least 1"):
            wrap(Showing(jnp.zeros(1), spaces.Box(-1.0, 1.0, (1,)), space), LIMIT)


class Timeless(NamedTuple):
    place: int = 0


def test_an_environment_without_a_clock_is_refused_by_name():
    env = wrap(Showing(jnp.zeros(1), spaces.Box(-1.0, 1.0, (1,)), state=Timeless()), LIMIT)
    with pytest.raises(ppo_jax.UsageError, match=r"Showing has no time limit.*(override is_truncated|time)"):
        train(env)


# What is given as `environment`


def dynamics(observation=None, action_space=None, shape=(1,)):
    seen = jnp.zeros(1) if observation is None else observation

    def step(key, state, action):
        return state + 1, Transition(seen, jnp.float32(1), state > 8, jnp.array(False))

    return Dynamics(lambda key: (jnp.int32(0), seen), step, Box(shape), action_space or Discrete(2))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        (CARTPOLE, r"environment is a CartPole, not an Environment.*gymnax\.wrap\(env, params\)"),
        (dynamics(), r"environment is a Dynamics, not an Environment; give .*make_batched of it"),
        ((CARTPOLE, PARAMS), "environment is a tuple"),
        ((), "environment is a tuple"),
        ("CartPole-v1", "environment is a str"),
    ],
)
def test_something_else_than_an_environment_is_refused_with_the_fix(given, problem):
    params = {}
    for act in (
        lambda: ppo_jax.train(CONFIG, ppo_jax.Hyperparams(), jax.random.key(0), given),
        lambda: ppo_jax.evaluate(CONFIG, jax.random.key(0), params, environment=given),
        lambda: ppo_jax.make_ppo(CONFIG, given),
        lambda: check(given),
    ):
        with pytest.raises(ppo_jax.UsageError, match=problem):
            act()


def test_observations_of_another_shape_than_their_space_are_refused():
    with pytest.raises(ppo_jax.UsageError, match=r"the shape \[1\], but its observation_space is Box\(shape"):
        train(make_batched(dynamics(shape=(3,))))


@pytest.mark.parametrize("bound", [FLOAT_MAX, *(pytest.param(x, marks=LONG) for x in (1e10, 2e6))])
def test_bounds_that_are_absurdly_wide_count_as_missing_and_are_warned_about(bound):
    env = make_batched(dynamics(action_space=Box((1,), -bound, bound)))
    with pytest.warns(UserWarning, match=r"are more than 1e\+06 apart and count as missing"):
        metrics = train(env)
    assert np.isfinite(metrics.policy_loss).all()
    unbounded = train(make_batched(dynamics(action_space=Box((1,)))))
    np.testing.assert_array_equal(metrics.entropy, unbounded.entropy)


@pytest.mark.parametrize("bound", [1.0, 1e5])
def test_bounds_that_may_be_meant_are_taken_as_they_are(bound):
    assert num_outputs(Box((1,), -bound, bound)) == 1


KINDS = ("uint8", "bool", "int8", "uint32", "int32", "float16")


@LONG
@pytest.mark.parametrize("dtype", KINDS)
def test_numbers_of_every_kind_are_normalized_as_floats(dtype):
    values = jnp.array([[1], [0], [1]] if dtype == "bool" else [[100], [10], [90]])

    def reset(key):
        index = jax.random.randint(key, (), 0, 3)
        return index, values[index].astype(dtype)

    def step(key, state, action):
        index = (state + 1) % 3
        return index, Transition(
            values[index].astype(dtype), jnp.float32(1), jnp.array(False), jnp.array(False)
        )

    env = make_batched(Dynamics(reset, step, Box((1,)), Discrete(2)))
    config = ppo_jax.Config("numbers", 3, 30, 90, num_minibatches=1, normalize_observations=True)
    state, metrics = ppo_jax.train(config, ppo_jax.Hyperparams(), jax.random.key(0), env)
    statistics = state.collector.statistics
    assert statistics.mean.dtype == jnp.float32
    np.testing.assert_allclose(statistics.mean, np.asarray(values, float).mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(statistics.variance, np.asarray(values, float).var(axis=0), rtol=1e-3)
    assert np.isfinite(metrics.value_loss).all()


CHANGES = {
    "dtype": (lambda state: state.astype(jnp.int32), r"state is float32\[2\] before and int32\[2\] after it"),
    "shape": (lambda state: state[:1], r"state is float32\[2\] before and float32\[1\] after it"),
    "structure": (lambda state: {"x": state}, r"state is float32\[2\] before and missing after it"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_that_changes_the_kind_of_the_state_is_refused(change):
    changed, problem = CHANGES[change]

    environment = checked(
        Environment(
            reset=lambda num_envs, key: (jnp.ones(2), jnp.ones((num_envs, 2))),
            step=lambda drawn, state, action: (changed(state), None),
            observation_space=Box((2,)),
            action_space=Discrete(2),
        )
    )
    with pytest.raises(ppo_jax.UsageError, match=f"changes the kind of its state: {problem}"):
        environment.step(None, jnp.ones(2), jnp.zeros(1, jnp.int32))
