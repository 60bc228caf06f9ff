"""Every environment keeps to the contract and can be trained on; the check finds each planted violation."""

import dataclasses
import itertools
import math
import urllib.error
from functools import partial
from typing import NamedTuple

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import spaces as gymnax_spaces
from gymnax.utils import load_mnist

from ppo_jax.algorithm.rollout import FEW_ENVS
from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.conformance import check
from ppo_jax.conformance.behaviour import COMPILER_OPTIONS
from ppo_jax.envs.environment import (
    Dynamics,
    Observation,
    Transition,
    draw_keys,
    make_batched,
    unchanged,
)
from ppo_jax.envs.gymnax import wrap
from ppo_jax.envs.make import make_environment
from ppo_jax.envs.registry import ENVIRONMENTS
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete, MultiDiscrete
from tests.support import probes
from tests.support.marks import first_long

NUM_ENVS = FEW_ENVS + 2  # so many that the rollout does not unroll its loop: it compiles in half the time
CONFIG = Config(
    num_envs=NUM_ENVS,
    num_steps=8,
    total_timesteps=3 * NUM_ENVS * 8,
    num_epochs=2,
    num_minibatches=2,
    hidden_sizes=(16,),
)


# What the default run leaves to the long one: programs that take seconds to compile, and trainings that
# resemble one of these.
TRAINED_AT_ONCE = {  # one of each kind: classic control, a Box of actions, an image, one-hot numbers, data
    "CartPole-v1",
    "Pendulum-v1",
    "Breakout-MinAtar",
    "FrozenLake-misc",
    "MNISTBandit-bsuite",
}


RESEMBLE_OTHERS = {"Freeway-MinAtar", "Seaquest-MinAtar"}  # other images, and the longest to compile


def mark_of_contract(name):
    """Each kind is checked in the default run, and nearly all of the rest in continuous integration."""
    if name in TRAINED_AT_ONCE:
        return ()
    return pytest.mark.slow if name in RESEMBLE_OTHERS else pytest.mark.long


@pytest.fixture
def tiny_mnist(monkeypatch):
    """Stands in for the download: 50 images of noise."""
    random = np.random.default_rng(0)
    images = random.integers(-128, 128, (50, 28, 28)).astype(np.int8)
    labels = random.integers(0, 10, 50).astype(np.uint8)
    monkeypatch.setattr(load_mnist, "load_mnist", lambda: ((images, labels), (images, labels)))


def assert_trains(config, environment=None):
    """Three updates change the parameters, and all that they leave behind is finite."""
    run = jax.jit(partial(train, config, environment=environment), compiler_options=COMPILER_OPTIONS)
    state, metrics = jax.device_get(run(Hyperparams(), jax.random.key(0)))
    chex.assert_tree_all_finite(state.learner)
    chex.assert_tree_all_finite((metrics.policy_loss, metrics.value_loss, metrics.entropy, metrics.approx_kl))
    assert (metrics.grad_norm > 0).all()
    assert state.num_updates == 3


# The environments of gymnax


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark_of_contract(name)) for name in ENVIRONMENTS])
def test_an_environment_keeps_to_the_contract(name, tiny_mnist):
    check(make_environment(name))


def mark_of_training(name):
    """Each kind is trained on in continuous integration; `slow` tests train on the rest."""
    if name == "CartPole-v1":
        return ()
    return pytest.mark.long if name in TRAINED_AT_ONCE else pytest.mark.slow


@pytest.mark.parametrize("name", [pytest.param(name, marks=mark_of_training(name)) for name in ENVIRONMENTS])
def test_an_environment_can_be_trained_on(name, tiny_mnist):
    assert_trains(dataclasses.replace(CONFIG, env=name))


def test_an_environment_whose_data_cannot_be_downloaded_says_so_in_one_line(monkeypatch):
    def fail():
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(load_mnist, "load_mnist", fail)
    with pytest.raises(UsageError, match=r"MNISTBandit-bsuite.*could not be downloaded") as caught:
        make_environment("MNISTBandit-bsuite")
    assert len(str(caught.value).splitlines()) == 1


# Environments of every kind behind gymnax's interface


class Clock(NamedTuple):
    """A state: what an episode shows, and its time."""

    cell: jax.Array  # [] int32, one of 3
    time: jax.Array  # [] int32


class Custom(gymnax.environments.environment.Environment):
    """Shows the same thing in any form; the reward is the sum of all the numbers in an action."""

    def __init__(self, observation_space, action_space, show):
        self._spaces = observation_space, action_space
        self._show = show

    @property
    def default_params(self):
        return gymnax.EnvParams(max_steps_in_episode=4)

    def reset_env(self, key, params):
        state = Clock(cell=jax.random.randint(key, (), 0, 3), time=0)
        return self._show(state), state

    def step_env(self, key, state, action, params):
        reward = sum(jnp.sum(part) for part in jax.tree.leaves(action))
        state = state._replace(time=state.time + 1)
        return self._show(state), state, reward, state.time > 10, {}

    def observation_space(self, params):
        return self._spaces[0]

    def action_space(self, params):
        return self._spaces[1]


TREE = gymnax_spaces.Dict(
    {
        "time": gymnax_spaces.Discrete(5),
        "both": gymnax_spaces.Tuple((gymnax_spaces.Discrete(3), gymnax_spaces.Box(0, 2, (2, 1), jnp.int32))),
    }
)
PLAIN = gymnax_spaces.Box(0, 9, (2,))


def show_tree(state):
    return {"time": state.time, "both": (state.cell, jnp.full((2, 1), state.cell, jnp.int32))}


def show_plain(state):
    return jnp.stack([state.cell, state.time])


KINDS = {
    "a PyTree with Discrete leaves": Custom(TREE, gymnax_spaces.Discrete(2), show_tree),
    "a number out of n": Custom(
        gymnax_spaces.Discrete(3), gymnax_spaces.Discrete(2), lambda state: state.cell
    ),
    "a scalar": Custom(gymnax_spaces.Box(0, 9, ()), gymnax_spaces.Discrete(2), lambda state: state.time),
    "a Tuple of Discrete actions": Custom(
        PLAIN, gymnax_spaces.Tuple([gymnax_spaces.Discrete(2), gymnax_spaces.Discrete(3)]), show_plain
    ),
    "a Box of actions of rank 2": Custom(PLAIN, gymnax_spaces.Box(-1, 1, (2, 3)), show_plain),
    "a number as action": Custom(PLAIN, gymnax_spaces.Box(-1, 1, ()), show_plain),
}


def wrapped(kind):
    return wrap(KINDS[kind], KINDS[kind].default_params)


@pytest.mark.parametrize("kind", KINDS)
def test_spaces_of_every_kind_keep_to_the_contract(kind):
    check(wrapped(kind))


@pytest.mark.parametrize(
    "kind",
    first_long(
        ["a Tuple of Discrete actions", "a PyTree with Discrete leaves", "a Box of actions of rank 2"], 1
    ),
)
def test_spaces_of_every_kind_can_be_trained_on(kind):
    assert_trains(CONFIG, wrapped(kind))


def test_a_pytree_becomes_one_axis_with_sorted_keys_and_one_hot_numbers():
    environment = wrapped("a PyTree with Discrete leaves")
    assert environment.observation_space.shape == (3 + 2 + 5,)
    state, _ = environment.reset(6, jax.random.key(0))
    drawn = environment.draw_one(6, jax.random.key(1))
    _, time_step = environment.step(drawn, state, jnp.zeros(6, int))
    expected = [[*np.eye(3)[cell], cell, cell, *np.eye(5)[1]] for cell in np.asarray(state.cell)]
    np.testing.assert_array_equal(time_step.observation, expected)
    assert len(np.unique(state.cell)) > 1


@pytest.mark.parametrize(
    ("kind", "space", "action"),
    [
        ("a Tuple of Discrete actions", MultiDiscrete((2, 3)), [[1, 2], [0, 1]]),
        ("a Box of actions of rank 2", Box((6,), (-1.0,) * 6, (1.0,) * 6), [[1.0] * 6, [0.5] * 6]),
        ("a number as action", Box((1,), (-1.0,), (1.0,)), [[1.0], [0.5]]),
    ],
)
def test_the_environment_receives_actions_in_its_own_shape(kind, space, action):
    environment = wrapped(kind)
    assert environment.action_space == space
    state, _ = environment.reset(2, jax.random.key(0))
    drawn = environment.draw_one(2, jax.random.key(1))
    _, time_step = environment.step(drawn, state, jnp.asarray(action))
    np.testing.assert_array_equal(time_step.reward, np.sum(action, axis=1))


def test_frozen_lake_shows_its_cell_as_a_single_one():
    environment = make_environment("FrozenLake-misc")
    _, observation = environment.reset(2, jax.random.key(0))
    np.testing.assert_array_equal(observation, np.eye(observation.shape[1])[[0, 0]])
    assert environment.observation_space == Box((observation.shape[1],), 0.0, 1.0)


# An environment that uses every part of the contract, and what can be wrong with one


class Walk(NamedTuple):
    """A random walk that ends beyond 2, or after 8 steps."""

    position: jax.Array  # [] float32, begins between -1 and 1
    time: jax.Array  # [] int32


def observe(walk):
    return Observation(
        features=jnp.stack([walk.position, walk.time.astype(jnp.float32)]),
        legal_actions=jnp.stack([walk.position < 1.5, jnp.array(True)]),
        privileged=walk.position[None],
    )


def reset_walk(key):
    walk = Walk(jax.random.uniform(key, minval=-1, maxval=1), jnp.zeros((), jnp.int32))
    return walk, observe(walk)


def step_walk(key, walk, action):
    walk = Walk(walk.position + 0.1 * jax.random.normal(key) + 0.4 * action, walk.time + 1)
    return walk, Transition(observe(walk), walk.position, walk.position > 2, walk.time >= 8)


DYNAMICS = Dynamics(reset_walk, step_walk, Box((2,), -10.0, 10.0), Discrete(2), Box((1,)))
GOOD = make_batched(DYNAMICS)


def continuous():
    """A good environment with a Box of two actions, one of them bounded on one side only."""

    def reset(key):
        walk, observation = reset_walk(key)
        return walk, observation.privileged

    def step(key, walk, action):
        walk, transition = step_walk(key, walk, action.sum())
        return walk, transition._replace(observation=transition.observation.privileged)

    return make_batched(Dynamics(reset, step, Box((1,)), Box((2,), (-1.0, 0.0), (1.0, math.inf))))


def with_reset(change):
    """Changes what `reset` returns: `change(state, observation)`."""
    return GOOD._replace(reset=lambda num_envs, key: change(*GOOD.reset(num_envs, key)))


def with_step(change):
    """Changes what `step` returns: `change(state, time_step)`."""
    return GOOD._replace(step=lambda *arguments: change(*GOOD.step(*arguments)))


def with_time_step(**changes):
    """Changes fields of the time step, each by a function of the whole of it."""

    def change(state, time_step):
        return state, time_step._replace(**{name: function(time_step) for name, function in changes.items()})

    return with_step(change)


def with_final(**changes):
    """Changes fields of the final observation, each by a function of its array."""

    def change(time_step):
        final = time_step.final_observation
        return final._replace(**{name: f(getattr(final, name)) for name, f in changes.items()})

    return with_time_step(final_observation=change)


def with_draw(change):
    """Changes what `draw` returns: `change(num_steps, drawn)`."""

    def draw(num_steps, num_envs, key):
        return change(num_steps, GOOD.draw_steps(num_steps, num_envs, key))

    return GOOD._replace(draw=draw, prepare=unchanged)


def one_key_per_step():
    """A good environment that draws nothing but one key for each step, and everything else in the step."""

    def step(key, state, action):
        return GOOD.step(GOOD.draw_one(len(action), key), state, action)

    return GOOD._replace(step=step, draw=draw_keys, prepare=unchanged)


def shared_state():
    """A good environment whose state is more than a row for each copy: a key and a clock for all."""

    def reset(num_envs, key):
        state, observation = GOOD.reset(num_envs, key)
        return (state, key, jnp.zeros((), int)), observation

    def step(drawn, state, action):
        stepped, time_step = GOOD.step(drawn, state[0], action)
        return (stepped, jax.random.fold_in(*state[1:]), state[2] + 1), time_step

    return GOOD._replace(reset=reset, step=step)


def many_starts():
    """Episodes of one step that begin in one cell of 3,000, most of which are never seen twice."""

    def reset(key):
        return jnp.int32(0), jax.nn.one_hot(jax.random.randint(key, (), 0, 3_000), 3_000)

    def step(key, state, action):
        return state, Transition(jnp.zeros(3_000), jnp.float32(1), jnp.array(True), jnp.array(False))

    return make_batched(Dynamics(reset, step, Box((3_000,)), Discrete(2)))


@pytest.mark.parametrize(
    "environment",
    [
        GOOD,
        one_key_per_step(),
        continuous(),
        shared_state(),
        many_starts(),
        probes.policy_and_value(),
        probes.counter(time_limit=3),
        probes.endless_reward(),
    ],
    ids=[
        "every part",
        "one key per step",
        "continuous",
        "shared state",
        "many starts",
        "one step",
        "nothing random",
        "endless",
    ],
)
def test_an_environment_that_keeps_to_the_contract_passes(environment):
    check(environment)


@pytest.mark.parametrize(
    ("spaces", "message"),
    [
        ({"observation_space": Discrete(4)}, "observation_space = .* is not a Box"),
        ({"observation_space": None}, "observation_space = None is not a Box"),
        ({"privileged_space": MultiDiscrete((2,))}, "privileged_space = .* is not a Box"),
        ({"observation_space": Box((2,), 1.0, 1.0)}, "lower bound that is not below"),
        ({"observation_space": Box((2,), (0.0,) * 3, 1.0)}, "3 and 1 bounds; give one, or one for each of 2"),
        ({"observation_space": Box([2])}, "shape of observation_space .* is not a tuple of ints"),
        ({"action_space": None}, "action_space = None is not a Discrete, a MultiDiscrete or a Box"),
        ({"action_space": Discrete(0)}, "action_space .* does not hold ints of at least 1"),
        ({"action_space": Discrete(2.0)}, "action_space .* does not hold ints of at least 1"),
        ({"action_space": MultiDiscrete(())}, "action_space .* does not hold ints of at least 1"),
        ({"action_space": MultiDiscrete([2, 3])}, "action_space .* does not hold ints of at least 1"),
        ({"action_space": Box((2, 3))}, "action_space .* is not of rank 1"),
        ({"action_space": Box((1,), math.nan)}, "lower bound that is not below"),
    ],
)
def test_a_space_that_nothing_fits_is_found(spaces, message):
    with pytest.raises(UsageError, match=message):
        check(GOOD._replace(**spaces))


def test_all_wrong_spaces_are_found_in_one_pass():
    with pytest.raises(UsageError) as caught:
        check(GOOD._replace(observation_space=None, action_space=None))
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (GOOD._replace(reset=lambda *arguments: GOOD.reset(*arguments)[1]), "reset does not return"),
        (with_step(lambda state, time_step: (state, *time_step)), "step does not return"),
        (with_step(lambda state, time_step: (state, tuple(time_step))), "step does not return"),
        (with_reset(lambda state, x: (state, {"x": x})), "reset, features is a dict; give an array"),
        (with_time_step(reward=lambda t: t.reward > 0), r"step, reward is bool\[1\], not float32\[1\]"),
        (with_time_step(reward=lambda t: t.reward[:, None]), r"step, reward is float32\[1, 1\], not"),
        (with_time_step(reward=lambda t: 0.0), "step, reward is float32.., not"),
        (with_time_step(terminated=lambda t: t.reward), "step, terminated is float32.* not bool"),
        (with_time_step(truncated=lambda t: t.terminated.any()), "step, truncated is bool.., not"),
        (GOOD._replace(observation_space=Box((3,))), "features is .*1, 2., not float32.1, 3"),
        (GOOD._replace(action_space=Discrete(3)), r"legal_actions is bool\[1, 2\], not bool\[1, 3\]"),
        (
            GOOD._replace(action_space=MultiDiscrete((2, 2))),
            r"legal_actions is bool\[1, 2\], not bool\[1, 4\]",
        ),
        (GOOD._replace(action_space=Box((2,))), "legal_actions are given for a Box"),
        (with_final(features=lambda x: x.astype(int)), "step, final_observation, features is int32"),
        (with_final(legal_actions=lambda x: x.astype(int)), "final_observation, legal_actions is int32"),
        (with_final(legal_actions=lambda x: None), "observation from step has another structure"),
        (with_final(privileged=lambda x: x[:, :0]), r"privileged is float32\[1, 0\]"),
        (with_final(privileged=lambda x: None), "privileged and privileged_space go together"),
        (GOOD._replace(privileged_space=None), "privileged and privileged_space go together"),
        (with_time_step(observation=lambda t: t.observation.features), "observation from step has another"),
        (with_step(lambda s, t: (s._replace(time=t.reward), t)), "state from step .*float32.* not .*int32"),
        (with_step(lambda s, t: (tuple(s), t)), "state from step has another structure"),
        (with_reset(lambda s, x: (s._replace(time=s.time[:1]), x)), "step cannot be compiled"),
        (
            with_draw(lambda num_steps, drawn: jax.tree.map(lambda x: x[0], drawn)),
            r"draw\(7, 1, key\) returns .*\[1\], whose first axis is not that of the 7 steps",
        ),
        (
            with_draw(lambda num_steps, drawn: (drawn, jnp.zeros(()))),
            r"draw\(7, 1, key\) returns float32\[\], whose first axis is not that of the 7 steps",
        ),
        (
            with_draw(lambda num_steps, drawn: (drawn, jnp.zeros((num_steps, num_steps)))),
            r"one step of draw\(7, 1, key\) has another structure.*float32\[7\].*not.*float32\[1\]",
        ),
    ],
)
def test_a_wrong_shape_or_dtype_is_found(environment, message):
    with pytest.raises(UsageError, match=message):
        check(environment)


def test_what_is_right_for_one_copy_only_is_found():
    with pytest.raises(UsageError, match=r"step, reward is float32\[1\], not float32\[3\]"):
        check(with_time_step(reward=lambda t: t.reward[:1]))


COUNT = itertools.count()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (with_time_step(reward=lambda t: 1.0 if t.reward[0] > 0 else 0.0), "step cannot be compiled: Tracer"),
        (with_time_step(reward=lambda t: t.reward + next(COUNT)), "step is not a pure function"),
        (
            with_reset(lambda s, x: (s, x._replace(privileged=x.privileged + np.random.rand(1, 1)))),
            "reset is not",
        ),
        (
            with_time_step(reward=lambda t: t.reward + np.random.rand(*t.reward.shape).astype(np.float32)),
            "step is not a pure function",
        ),
        (with_draw(lambda num_steps, drawn: (drawn, np.random.rand(num_steps))), "draw is not a pure"),
        (
            with_draw(lambda num_steps, drawn: drawn if drawn.state.time[0, 0] == 0 else None),
            "draw cannot be compiled: Tracer",
        ),
    ],
)
def test_what_cannot_be_compiled_or_changes_on_the_host_is_found(environment, message):
    with pytest.raises(UsageError, match=message):
        check(environment)


def callback(time_step, **options):
    """Rewards that the host draws."""
    shape = jax.ShapeDtypeStruct(time_step.reward.shape, jnp.float32)
    return jax.pure_callback(
        lambda x: np.random.rand(*x.shape).astype(np.float32), shape, time_step.reward, **options
    )


def never_reset(flag):
    """Goes on although an episode was terminated, or truncated."""

    def step(drawn, state, action):
        stepped, transition = jax.vmap(DYNAMICS.step)(drawn.keys, state, action)
        reset, time_step = GOOD.step(drawn, state, action)
        kept = getattr(transition, flag)
        choose = lambda old, new: jnp.where(kept.reshape(-1, *[1] * (new.ndim - 1)), old, new)  # noqa: E731
        observation = jax.tree.map(choose, transition.observation, time_step.observation)
        return jax.tree.map(choose, stepped, reset), time_step._replace(
            observation=observation, final_observation=transition.observation
        )

    return GOOD._replace(step=step)


def one_key(key, num_envs):
    return jax.random.wrap_key_data(jnp.broadcast_to(jax.random.key_data(key), (num_envs, 2)))


def same_chance(drawn, state, action):
    """Steps all copies with the key of the first; the resets have a key each."""
    stepped, transition = jax.vmap(DYNAMICS.step, (None, 0, 0))(drawn.keys[0], state, action)
    dynamics = DYNAMICS._replace(step=lambda key, state, action: (state[0], state[1]))
    return make_batched(dynamics).step(drawn, (stepped, transition), action)


BROKEN = {
    "infinite rewards": (with_time_step(reward=lambda t: t.reward / 0), "a reward is not finite"),
    "NaN in a final observation": (
        with_final(features=lambda x: jnp.where(x > 1.9, jnp.nan, x)),
        "an observation is not finite",
    ),
    "features out of bounds": (
        GOOD._replace(observation_space=Box((2,), (-10, 0), (10, 7.5))),
        "within the bounds",
    ),
    "privileged out of bounds": (GOOD._replace(privileged_space=Box((1,), -1.0, 1.0)), "within the bounds"),
    "no action allowed": (
        with_time_step(
            observation=lambda t: t.observation._replace(
                legal_actions=t.observation.legal_actions & (t.observation.privileged < 1.9)
            )
        ),
        "allows no action",
    ),
    "the next observation is a reset's though the episode goes on": (
        GOOD._replace(
            step=lambda drawn, state, action: (
                GOOD.step(drawn, state, action)[0],
                GOOD.step(drawn, state, action)[1]._replace(observation=drawn.observation),
            )
        ),
        "observation is not final_observation although the episode goes on",
    ),
    "terminated episodes go on": (never_reset("terminated"), "after an episode was terminated"),
    "truncated episodes go on": (never_reset("truncated"), "after an episode was truncated"),
    "the final observation is a reset's": (
        with_time_step(final_observation=lambda t: t.observation),
        "final_observation is observation even where an episode ended",
    ),
    "copies begin alike": (
        GOOD._replace(reset=lambda num_envs, key: jax.vmap(reset_walk)(one_key(key, num_envs))),
        "all copies begin alike",
    ),
    "copies meet the same chance": (GOOD._replace(step=same_chance), "all copies meet the same chance"),
    "the host draws": (
        with_time_step(reward=partial(callback, vmap_method="expand_dims")),
        "the same key does not give the same episodes",
    ),
    "it cannot be vmapped": (with_time_step(reward=callback), "cannot be vmapped and scanned"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_wrong_behaviour_is_found(name):
    environment, message = BROKEN[name]
    with pytest.raises(UsageError, match=message):
        check(environment)
