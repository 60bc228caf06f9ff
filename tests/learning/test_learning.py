"""What the presets promise beyond CartPole: every seed reaches the mark, and a memory is worth having."""

import dataclasses
from functools import partial

import gymnax
import jax
import numpy as np
import pytest

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.gymnax import wrap
from ppo_jax.presets import preset

SEEDS = 20
MEMORY_LENGTH = 20


def greedy_return(config, hyper, environment, key):
    """Mean return of 100 greedy episodes of the policy trained from one seed."""
    state, _ = train(config, hyper, key, environment)
    key = jax.random.fold_in(key, 1)
    statistics = state.collector.statistics
    episodes = evaluate(config, key, state.learner.params, environment=environment, statistics=statistics)
    return episodes.episode_return.mean()


def returns_of_seeds(config: Config, hyper: Hyperparams, num_seeds: int, environment=None) -> np.ndarray:
    program = jax.jit(partial(greedy_return, config, hyper, environment))
    return np.array([program(key) for key in jax.random.split(jax.random.key(0), num_seeds)])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("Acrobot-v1", -100.0),
        ("Pendulum-v1", -250.0),
        ("MountainCarContinuous-v0", 90.0),
        ("Catch-bsuite", 1.0),
    ],
)
def test_twenty_of_twenty_seeds_reach_the_mark(name, mark):
    returns = returns_of_seeds(*preset(name), SEEDS)
    print(f"\n{name}: worst {returns.min():.4g}, median {np.median(returns):.4g}")
    assert (returns >= mark).sum() == SEEDS


@pytest.mark.slow
def test_a_memory_solves_a_long_chain_on_which_an_mlp_is_at_chance():
    env, params = gymnax.make("MemoryChain-bsuite")
    environment = wrap(env, params.replace(memory_length=MEMORY_LENGTH))
    config, hyper = preset("MemoryChain-bsuite")
    config = dataclasses.replace(config, total_timesteps=400_000)
    with_memory = returns_of_seeds(config, hyper, 5, environment)
    without = returns_of_seeds(dataclasses.replace(config, memory_size=0), hyper, 5, environment)
    print(f"\nchain of {MEMORY_LENGTH}: GRU {with_memory}, MLP {without}")
    np.testing.assert_array_equal(with_memory, np.ones(5))
    assert np.abs(without).max() < 0.5  # 100 episodes of +-1: five deviations of chance
