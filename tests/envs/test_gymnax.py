"""gymnax behind the contract, against gymnax itself, one copy and one step at a time."""

import subprocess
import sys
from functools import partial
from urllib.error import URLError

import chex
import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib import pyplot

from ppo_jax.envs import gymnax as adapter
from ppo_jax.envs.gymnax import make_visualizer
from ppo_jax.envs.make import make_dynamics, make_environment
from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete
from tests.support.stepping import step

N, T = 3, 60
LEFT, RIGHT = 0, 1
ENVIRONMENT = make_environment("CartPole-v1")
ENV, PARAMS = gymnax.make("CartPole-v1")
STEP = jax.jit(partial(step, ENVIRONMENT))


@pytest.fixture(scope="module")
def played():
    """A state and its time step for each of T steps of random actions, time-major."""
    reset_key, action_key, step_key = jax.random.split(jax.random.key(0), 3)
    state, observation = ENVIRONMENT.reset(N, reset_key)
    actions = np.asarray(jax.random.randint(action_key, (T, N), 0, 2))
    history = []
    for action, key in zip(actions, jax.random.split(step_key, T), strict=True):
        next_state, time_step = STEP(key, state, action)
        history.append((state, observation, action, time_step, next_state))
        state, observation = next_state, time_step.observation
    return history


def at(state, **values):
    """Sets fields of all copies of a CartPole state."""
    filled = {name: jnp.full_like(getattr(state, name), value) for name, value in values.items()}
    return state.replace(**filled)


def step_from(action=LEFT, **values):
    state, _ = ENVIRONMENT.reset(N, jax.random.key(0))
    return STEP(jax.random.key(1), at(state, **values), jnp.full(N, action))


def test_cartpole_has_four_numbers_to_see_and_two_actions():
    assert (ENVIRONMENT.observation_space, ENVIRONMENT.action_space) == (Box((4,)), Discrete(2))


def test_every_step_of_every_copy_is_the_step_of_gymnax(played):
    step_env = jax.jit(ENV.step_env)
    unused_key = jax.random.key(9)  # CartPole's steps are deterministic
    for state, _, action, time_step, next_state in played:
        for copy in range(N):
            take = partial(jax.tree.map, lambda x, copy=copy: x[copy])
            observation, successor, reward, terminated, _ = step_env(
                unused_key, take(state), action[copy], PARAMS
            )
            mine = take(time_step)
            np.testing.assert_allclose(mine.final_observation, observation, rtol=1e-6, atol=1e-7)
            assert (mine.reward, mine.terminated, mine.truncated) == (reward, terminated, False)
            if not mine.done:
                chex.assert_trees_all_close(take(next_state), successor, rtol=1e-6, atol=1e-7)


def test_a_random_policy_drops_the_pole_and_every_episode_starts_anew(played):
    done = np.array([time_step.done for _, _, _, time_step, _ in played])
    assert done.any(axis=0).all()
    for _, _, _, time_step, next_state in played:
        started = np.asarray(next_state.time) == 0
        np.testing.assert_array_equal(started, time_step.done)
        assert (np.abs(time_step.observation[started]) <= 0.05).all()


def test_the_observation_acted_on_next_belongs_to_the_state(played):
    for _, _, _, time_step, state in played:
        shown = np.stack([state.x, state.x_dot, state.theta, state.theta_dot], axis=-1)
        # XLA computes both, and may round differently what it computes twice.
        np.testing.assert_allclose(time_step.observation, shown, rtol=1e-6)


def test_copies_start_from_different_states():
    _, observation = ENVIRONMENT.reset(N, jax.random.key(0))
    assert len(np.unique(observation)) == N * 4


def test_observations_and_rewards_are_float32_and_flags_are_bool(played):
    _, observation, _, time_step, _ = played[0]
    chex.assert_type([observation, *time_step[:5]], [jnp.float32] * 4 + [bool] * 2)


@pytest.mark.parametrize(("time", "truncated"), [(0, False), (498, False), (499, True)])
def test_step_500_truncates_and_does_not_terminate(time, truncated):
    _, time_step = step_from(time=time, x=0.0, x_dot=0.0, theta=0.0, theta_dot=0.0)
    assert time_step.truncated.tolist() == [truncated] * N
    assert time_step.terminated.tolist() == [False] * N
    assert time_step.done.tolist() == [truncated] * N


def test_a_pole_that_is_balanced_for_500_steps_is_truncated_there():
    def balance(carry, key):
        state, observation = carry
        action = (observation @ jnp.array([0.1, 0.5, 2.0, 1.0]) > 0).astype(jnp.int32)
        state, time_step = step(ENVIRONMENT, key, state, action)
        return (state, time_step.observation), time_step

    carry = ENVIRONMENT.reset(N, jax.random.key(0))
    _, steps = jax.jit(partial(jax.lax.scan, balance))(carry, jax.random.split(jax.random.key(1), 1001))
    expected = np.isin(np.arange(1001), [499, 999])[:, None].repeat(N, axis=1)
    np.testing.assert_array_equal(steps.truncated, expected)
    assert not steps.terminated.any()
    assert (steps.reward == 1).all()


def test_a_pole_that_falls_at_step_500_is_terminated_and_truncated():
    state, time_step = step_from(time=499, theta=0.2, theta_dot=2.0)
    assert time_step.terminated.tolist() == time_step.truncated.tolist() == [True] * N
    assert (state.time == 0).all()
    assert (time_step.final_observation[:, 2] > 0.2).all()


def test_a_cart_that_leaves_the_track_is_terminated_only():
    _, time_step = step_from(action=RIGHT, x=2.39, x_dot=2.0, theta=0.0)
    assert time_step.terminated.tolist() == [True] * N
    assert time_step.truncated.tolist() == [False] * N


def test_a_single_copy_stays_in_its_last_state_instead_of_being_reset():
    states, _ = ENVIRONMENT.reset(N, jax.random.key(0))
    last = jax.tree.map(lambda x: x[0], at(states, time=499))
    dynamics = make_dynamics("CartPole-v1")
    successor, transition = dynamics.step(jax.random.key(1), last, jnp.int32(LEFT))
    assert (successor.time, transition.truncated) == (500, True)
    np.testing.assert_array_equal(
        transition.observation, [successor.x, successor.x_dot, successor.theta, successor.theta_dot]
    )


def test_the_visualizer_of_gymnax_draws_one_state_after_the_other():
    env, params = gymnax.make("Catch-bsuite")
    _, state = env.reset_env(jax.random.key(0), params)
    visualizer = make_visualizer("Catch-bsuite", {}, [state, state.replace(ball_y=7)])
    try:
        visualizer.init()
        _, ball = visualizer.im
        assert ball.xy == (state.ball_x, 0)
        visualizer.update(1)
        assert ball.xy == (state.ball_x, 7)
    finally:
        pyplot.close(visualizer.fig)


def test_a_space_of_another_kind_is_refused_by_name():
    env = type("Odd", (type(ENV),), {"action_space": lambda self, params: ENV.state_space(params)})()
    with pytest.raises(
        UsageError, match="actions are of kind Dict; give Discrete, Box or a Tuple of Discrete"
    ):
        adapter.adapt("Odd", env, {})


def test_data_that_cannot_be_downloaded_is_reported_as_one_clear_mistake(monkeypatch):
    def refuse(name):
        raise URLError("no route to host")

    monkeypatch.setattr(gymnax, "make", refuse)
    with pytest.raises(UsageError) as error:
        make_environment("MNISTBandit-bsuite")
    (problem,) = error.value.problems
    assert "env = 'MNISTBandit-bsuite' cannot be made" in problem
    assert "no route to host" in problem
    assert "connect to the network once, or choose another" in problem


FIRST_USE_IN_A_TRACE = """
import jax
import ppo_jax

def play(key):
    config = ppo_jax.Config(env="FrozenLake-misc", num_envs=2, num_steps=4, total_timesteps=16)
    state, _ = ppo_jax.train(config, ppo_jax.Hyperparams(), key)
    return ppo_jax.evaluate(config, key, state.learner.params, num_episodes=2).episode_return

for _ in range(2):
    print(jax.jit(lambda key: play(key))(jax.random.key(0)))
"""


@pytest.mark.long
def test_the_package_may_be_used_for_the_first_time_inside_a_trace():
    """FrozenLake makes arrays when it is imported, which must not belong to the trace."""
    run = [sys.executable, "-c", FIRST_USE_IN_A_TRACE]
    result = subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
