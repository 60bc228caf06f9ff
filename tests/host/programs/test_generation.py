"""Between generations: all members are scored by the same episodes."""

import jax
import numpy as np

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.train import agent_of, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.programs import generation

CONFIG = Config(num_envs=2, num_steps=8, total_timesteps=16, num_minibatches=1, hidden_sizes=(4,))
RANGES = (("gamma", (0.9, 0.99, False)),)


def test_the_score_is_the_mean_return_of_the_same_sampled_episodes_for_all_members():
    key, ppo = jax.random.key(3), make_ppo(CONFIG)
    seeds = np.array([0, 1, 0, 2])  # the third is the first
    agents = agent_of(jax.vmap(lambda seed: ppo.init(Hyperparams(), jax.random.key(seed)))(seeds))
    agents = jax.tree.map(lambda x: 30 * x, agents)  # a fresh policy is nearly uniform, whatever the seed
    failed = np.array([False, False, False])
    values = {"gamma": np.full(3, 0.95, np.float32)}
    found = generation.end(CONFIG, 5, RANGES, key, agents, failed, values)
    score_key, _ = jax.random.split(key)
    for member, score in enumerate(found.scores):
        params = jax.tree.map(lambda x, member=member: x[member], agents.params)
        played = evaluate(CONFIG, score_key, params, 5, greedy=False)
        assert score == played.episode_return.mean()
        assert found.steps[member] == played.episode_length.sum()
    assert found.scores[0] == found.scores[2] != found.scores[1]
    assert len(found.scores) == 3  # the fourth lane has no member


def test_a_member_that_failed_has_no_score():
    ppo = make_ppo(CONFIG)
    agents = agent_of(jax.vmap(lambda seed: ppo.init(Hyperparams(), jax.random.key(seed)))(np.arange(4)))
    values = {"gamma": np.full(4, 0.95, np.float32)}
    found = generation.end(CONFIG, 2, RANGES, jax.random.key(0), agents, np.arange(4) == 1, values)
    assert np.isnan(found.scores).tolist() == [False, True, False, False]
    assert found.parents[1] != 1
