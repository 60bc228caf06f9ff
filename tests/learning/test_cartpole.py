"""The promise of the CartPole preset: every seed solves it, soon, and then never drops the pole."""

from functools import partial

import jax
import numpy as np
import pytest

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.train import train
from ppo_jax.envs.registry import solved_return
from ppo_jax.presets import preset

SEEDS = 20


@pytest.mark.slow
def test_twenty_of_twenty_seeds_solve_cartpole_and_then_balance_without_a_fault():
    config, hyper = preset("CartPole-v1")
    assert config.total_timesteps <= 150_000
    keys = jax.random.split(jax.random.key(0), SEEDS)
    states, metrics = jax.jit(jax.vmap(partial(train, config, hyper)))(keys)

    solved = np.asarray(metrics.return_window) >= solved_return("CartPole-v1")  # NaN compares false
    assert solved.any(axis=1).sum() == SEEDS
    steps_to_solved = metrics.env_steps[np.arange(SEEDS), solved.argmax(axis=1)]
    print(f"\nsteps to solved: median {np.median(steps_to_solved):.0f}, worst {steps_to_solved.max()}")
    assert np.median(steps_to_solved) <= 60_000

    episodes = jax.jit(jax.vmap(partial(evaluate, config)))(keys, states.learner.params)
    assert episodes.finished.all()
    np.testing.assert_array_equal(episodes.episode_return, np.full((SEEDS, 100), 500.0))
