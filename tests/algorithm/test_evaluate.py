"""Evaluation runs exactly one whole episode in each fresh environment."""

import dataclasses
import sys
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.normalization import Statistics
from ppo_jax.config import Config
from ppo_jax.envs.make import make_environment
from ppo_jax.errors import UsageError
from ppo_jax.networks.flax import make_network
from tests.support import probes
from tests.support.linear import make_linear_network
from tests.support.stepping import step

E = 7
CONFIG = Config(hidden_sizes=(8,))
CARTPOLE = make_environment("CartPole-v1")


def network_of(environment):
    """A network, and parameters whose policy is neither uniform nor certain."""
    network = make_network(CONFIG, environment.observation_space, environment.action_space)
    return network, jax.tree.map(lambda x: x * 5, network.init(jax.random.key(0)))


def run(environment, key=0, **options):
    _, params = network_of(environment)
    return jax.jit(partial(evaluate, CONFIG, environment=environment, **options))(jax.random.key(key), params)


def loop(key, greedy):
    """Returns and lengths of E episodes of CartPole, one step at a time, in Python."""
    network, params = network_of(CARTPOLE)
    act, take_step = jax.jit(network.policy), jax.jit(partial(step, CARTPOLE))
    reset_key, key = jax.random.split(jax.random.key(key))
    state, observation = CARTPOLE.reset(E, reset_key)
    returns, ended = np.zeros(E), np.full(E, -1)
    for time in range(1, 1000):
        key, action_key, environment_key = jax.random.split(key, 3)
        policy = act(params, observation)
        action = policy.logits.argmax(-1) if greedy else policy.sample(action_key)
        state, time_step = take_step(environment_key, state, action)
        observation = time_step.observation
        returns += np.where(ended < 0, time_step.reward, 0)
        ended = np.where((ended < 0) & np.asarray(time_step.done), time, ended)
        if (ended > 0).all():
            return returns, ended
    raise AssertionError("an episode of CartPole did not end")


@pytest.mark.parametrize("greedy", [True, False])
def test_returns_and_lengths_are_those_of_a_loop(greedy):
    episodes = run(CARTPOLE, key=5, num_episodes=E, greedy=greedy)
    returns, lengths = loop(5, greedy)
    np.testing.assert_array_equal(episodes.episode_return, returns)
    np.testing.assert_array_equal(episodes.episode_length, lengths)
    assert episodes.finished.all()
    assert len(np.unique(lengths)) > 1  # some had to wait for others


@pytest.mark.parametrize("num_episodes", [1, E])
def test_there_are_exactly_as_many_episodes_as_asked_for(num_episodes):
    episodes = run(probes.counter(time_limit=3), num_episodes=num_episodes)
    chex.assert_shape(episodes, (num_episodes,))
    chex.assert_type(episodes, [jnp.float32, jnp.int32, bool])
    np.testing.assert_array_equal(episodes.episode_return, [1 + 2 + 3] * num_episodes)
    np.testing.assert_array_equal(episodes.episode_length, [3] * num_episodes)


def test_a_hundred_episodes_are_the_default():
    _, params = network_of(CARTPOLE)
    episodes = jax.eval_shape(partial(evaluate, CONFIG), jax.random.key(0), params)
    chex.assert_shape(episodes, (100,))


def test_a_greedy_policy_takes_the_most_probable_action_and_a_sampled_one_takes_both():
    environment = probes.action_chooses_reward()  # 1 for action 1, -1 for action 0
    network, params = network_of(environment)
    probability = np.exp(network.policy(params, jnp.zeros(1)).log_probs)
    best = 2.0 * np.argmax(probability) - 1
    greedy = run(environment, num_episodes=200, greedy=True).episode_return
    sampled = run(environment, num_episodes=200, greedy=False).episode_return
    np.testing.assert_array_equal(greedy, np.full(200, best))
    assert {*sampled.tolist()} == {-1.0, 1.0}
    assert np.mean(sampled) == pytest.approx(probability[1] - probability[0], abs=5 / np.sqrt(200))


def test_a_truncated_episode_is_finished():
    episodes = run(probes.endless_reward(time_limit=4), num_episodes=2)
    assert episodes.finished.tolist() == [True, True]
    assert episodes.episode_length.tolist() == [4, 4]


def test_an_episode_that_never_ends_is_cut_off_and_reported_as_unfinished(monkeypatch):
    module = sys.modules["ppo_jax.algorithm.evaluate"]  # by attribute, the name is that of the function
    monkeypatch.setattr(module, "MAX_STEPS", 13)
    episodes = run(probes.endless_reward(), num_episodes=3)
    assert episodes.finished.tolist() == [False] * 3
    assert episodes.episode_length.tolist() == [13] * 3
    assert episodes.episode_return.tolist() == [13.0] * 3


def test_another_key_gives_other_episodes():
    first, second = (run(CARTPOLE, key=key, num_episodes=E).episode_length for key in (0, 1))
    assert first.tolist() != second.tolist()


def test_no_episodes_and_unknown_environments_are_refused():
    with pytest.raises(UsageError, match="num_episodes = 0"):
        evaluate(Config(), jax.random.key(0), {}, num_episodes=0)
    with pytest.raises(UsageError, match="did you mean 'CartPole-v1'"):
        evaluate(Config(env="CartPol-v1"), jax.random.key(0), {})


def test_normalized_observations_without_their_statistics_are_refused():
    with pytest.raises(UsageError, match=r"give statistics=state\.collector\.statistics"):
        evaluate(dataclasses.replace(CONFIG, normalize_observations=True), jax.random.key(0), {})


SIGN = {"actor": jnp.array([[-1.0, 1.0]]), "critic": jnp.zeros(1)}  # action 1 for what is positive


@pytest.mark.parametrize(
    ("mean", "variance", "returns"),
    [
        pytest.param(0.0, 1.0, {1.0, 2.0}, id="as it is"),
        pytest.param(0.9, 0.01, {1.0, 2.0}, id="both within the bounds"),
        pytest.param(5.0, 1.0, {1.0, 0.0}, id="all below the mean"),
        pytest.param(-5.0, 1.0, {0.0, 2.0}, id="all above the mean"),
    ],
)
def test_observations_are_normalized_by_the_statistics_from_training(mean, variance, returns):
    """The probe shows -1 or 1, and pays 1 for action 0 under the one and 2 for action 1 under the other."""
    statistics = Statistics(jnp.uint32(100), jnp.array([mean]), jnp.array([variance]))
    episodes = evaluate(
        dataclasses.replace(CONFIG, normalize_observations=True),
        jax.random.key(0),
        SIGN,
        environment=probes.policy_and_value(),
        make_network=make_linear_network,
        statistics=statistics,
    )
    assert {*episodes.episode_return.tolist()} == returns


WRONG = {
    "arguments in another order": ((jax.random.key(0), CONFIG, {}), "config is a PRNGKeyArray, not a Config"),
    "parameters in place of the key": ((CONFIG, {"actor": 1}, jax.random.key(0)), "key is .*, not one key"),
    "several keys": (
        (CONFIG, jax.random.split(jax.random.key(0), 3), None),
        r"key is an array of .*\[3\]",
    ),
    "half an episode": ((CONFIG, jax.random.key(0), None, 2.5), "num_episodes = 2.5 is not an int"),
    "a policy of another environment": (
        (CONFIG, jax.random.key(0), network_of(make_environment("Pendulum-v1"))[1]),
        r"params do not fit: params\['actor'\].* is \[3, 8\] and should be \[4, 8\]",
    ),
    "no parameters": ((CONFIG, jax.random.key(0), None), r"params\['actor'\].* is missing and should be"),
}


@pytest.mark.parametrize(("given", "problem"), WRONG.values(), ids=WRONG)
def test_wrong_arguments_are_named(given, problem):
    with pytest.raises(UsageError, match=problem):
        evaluate(*given)


def test_statistics_that_the_policy_was_not_trained_with_are_refused():
    _, params = network_of(CARTPOLE)
    statistics = Statistics(jnp.uint32(1), jnp.zeros(4), jnp.ones(4))
    with pytest.raises(UsageError, match="statistics are given, but normalize_observations = False"):
        evaluate(CONFIG, jax.random.key(0), params, statistics=statistics)
    normalizing = dataclasses.replace(CONFIG, normalize_observations=True)
    with pytest.raises(UsageError, match=r"statistics do not fit: statistics\.mean is \[3\]"):
        evaluate(normalizing, jax.random.key(0), params, statistics=statistics._replace(mean=jnp.zeros(3)))
