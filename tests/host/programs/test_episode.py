from functools import partial

import gymnax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax import registered
from ppo_jax.algorithm.normalization import normalize_observation
from ppo_jax.envs import registry
from ppo_jax.envs.make import make_dynamics, make_environment
from ppo_jax.host.programs import evaluation
from ppo_jax.host.programs.episode import LONGEST, play
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import network_for
from tests.support.agents import Config, init_agent

FOUR_ROOMS, REACHER = Config(env="FourRooms-misc"), Config(env="Reacher-misc")


@pytest.fixture(scope="module")
def walk():
    """A greedy episode where one step in three goes astray."""
    return play(FOUR_ROOMS, init_agent(FOUR_ROOMS), seed=3)


def assert_evaluated(episode, config, greedy):
    result = evaluation.run(config, init_agent(config), 1, greedy, seed=3)
    assert (episode.env, episode.finished) == (config.env, True)
    assert episode.steps == len(episode.states.time) - 1 == result.mean_length
    assert episode.returns[-1] == pytest.approx(result.mean, rel=1e-5)


def test_the_episode_is_the_one_that_an_evaluation_of_one_plays(walk):
    assert_evaluated(walk, FOUR_ROOMS, greedy=True)


def test_a_sampled_episode_is_that_of_an_evaluation_and_its_actions_are_clipped():
    """Reacher would take any action as it is, and an untrained policy gives many that are too large."""
    assert_evaluated(play(REACHER, init_agent(REACHER), 3, greedy=False), REACHER, greedy=False)


def test_an_episode_with_a_pool_of_first_states_is_that_of_an_evaluation(monkeypatch):
    monkeypatch.setattr(registered, "ENVIRONMENTS", {})
    registry.register("PooledPole", make_dynamics("CartPole-v1")._replace(reset_pool=4))
    config = Config(env="PooledPole")
    episode = play(config, init_agent(config), seed=3, greedy=False)
    assert_evaluated(episode, config, greedy=False)
    assert episode.states.x.shape == (episode.steps + 1,)


def test_the_states_are_those_that_the_steps_led_to(walk):
    moves = np.abs(np.diff(walk.states.pos, axis=0)).sum(axis=-1)
    assert {*moves.tolist()} == {0, 1}
    at_the_goal = (walk.states.pos == walk.states.goal).all(axis=-1)
    np.testing.assert_array_equal(at_the_goal, walk.returns == 1)
    np.testing.assert_array_equal(walk.states.time, np.arange(walk.steps + 1))


REMEMBERING = Config(env="Pendulum-v1", normalize_observations=True, memory_size=5)
T = 40


def loop(config, agent, seed):
    """States and returns of T steps of a greedy episode, a step of gymnax at a time."""
    env, params = gymnax.make(config.env)
    environment = make_environment(config.env)
    network = network_for(config, environment, make_network)

    @jax.jit
    def step(state, memory, observation, start):
        normal = normalize_observation(agent.statistics, observation[None])
        policy, _, memory = network.apply(agent.params, memory, normal, start[None])
        action = jnp.clip(policy.mode()[0], -2, 2)
        observation, state, reward, *_ = env.step_env(
            jax.random.key(0), state, action, params
        )  # chance has no part
        return state, memory, observation, reward

    reset_key = jax.random.split(jax.random.fold_in(jax.random.key(seed), 1))[0]
    observation, state = env.reset_env(jax.random.split(reset_key, 1)[0], params)
    states, returns, memory = [state], [0.0], network.init_memory(1)
    for number in range(T):
        state, memory, observation, reward = step(state, memory, observation, np.array(number == 0))
        states.append(state)
        returns.append(returns[-1] + float(reward))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states), returns


def test_an_episode_with_memory_and_statistics_is_that_of_a_loop_through_gymnax():
    """Each action is a number that depends on all that has been seen."""
    agent = init_agent(REMEMBERING)
    rng = np.random.default_rng(0)
    large = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), agent.params)
    agent = agent._replace(params=large)
    episode = play(REMEMBERING, agent, 4, max_steps=T)
    states, returns = loop(REMEMBERING, agent, 4)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-3), episode.states, states)
    np.testing.assert_allclose(episode.returns, returns, rtol=1e-4, atol=1e-4)


def test_the_state_that_the_last_step_led_to_is_a_part_of_the_episode():
    config = Config(env="Catch-bsuite")
    catch = play(config, init_agent(config), seed=0)
    np.testing.assert_array_equal(catch.states.ball_y, np.arange(10))
    np.testing.assert_array_equal(catch.returns[:-1], np.zeros(9))
    assert catch.returns[-1] in (-1, 1)


def test_an_episode_is_cut_off_and_says_so():
    config = Config(env="Catch-bsuite")
    episode = play(config, init_agent(config), 0, max_steps=3)
    assert (episode.steps, episode.finished) == (3, False)
    np.testing.assert_array_equal(episode.states.ball_y, np.arange(4))


@pytest.mark.parametrize("max_steps", [0, -1, LONGEST + 1])
def test_a_number_of_steps_that_makes_no_sense_is_refused(max_steps):
    with pytest.raises(ppo_jax.UsageError, match=f"max_steps = {max_steps} is not between 1 and"):
        play(Config(), None, 0, max_steps=max_steps)  # pyright: ignore[reportArgumentType]
