import dataclasses

import jax
import numpy as np

import ppo_jax
from ppo_jax.host.programs import chunks


def test_chunks_aim_at_the_same_time_and_grow_gently():
    assert chunks._next_size(8, chunks.CHUNK_SECONDS) == 8
    assert chunks._next_size(8, 4 * chunks.CHUNK_SECONDS) == 2
    assert chunks._next_size(1, 60.0) == 1
    assert chunks._next_size(8, 1e-6) == 32
    assert chunks._next_size(chunks.CAPACITY, 1e-6) == chunks.CAPACITY


SHORT = ppo_jax.Config(num_envs=2, num_steps=16, total_timesteps=32 * 4, num_minibatches=2)


def test_runs_of_any_length_seed_and_hyperparameters_compile_nothing_new(tmp_path):
    """Another process, or another run in this one, finds every program in the cache."""
    others = (
        (SHORT, ppo_jax.Hyperparams(learning_rate=1e-3, clip_epsilon=0.1), 0),
        (dataclasses.replace(SHORT, total_timesteps=32 * 50), ppo_jax.Hyperparams(), 7),
    )
    chunks.keep_compiled(tmp_path)
    jax.clear_caches()
    try:
        train_all(SHORT, ppo_jax.Hyperparams(), 0)
        kept = set(tmp_path.iterdir())
        assert kept
        for config, hyper, seed in others:
            jax.clear_caches()
            train_all(config, hyper, seed)
        assert {file for file in tmp_path.iterdir() if file.name.endswith("-cache")} <= kept
    finally:
        jax.config.update("jax_compilation_cache_dir", None)


def test_a_program_of_one_length_moves_its_schedules_over_another():
    config = dataclasses.replace(SHORT, total_timesteps=32 * 8)
    compiled = chunks.compile_program(SHORT, ppo_jax.Hyperparams())
    hyper = ppo_jax.Hyperparams(learning_rate=0.8)
    training = begin(compiled, config, hyper, seed=0)
    rates = [row["learning_rate"] for row in advance_to(training, 8)]
    np.testing.assert_allclose(rates, 0.8 - 0.1 * np.arange(8), rtol=1e-5)


def train_all(config, hyper, seed):
    compiled = chunks.compile_program(config, hyper)
    training = begin(compiled, config, hyper, seed)
    advance_to(training, config.num_updates)
    return training.state


def advance_to(training, update):
    records = []
    while training.update < update:
        records += training.advance(update).records
    return records


def begin(compiled, config, hyper, seed):
    state = chunks.begin(compiled, config, hyper, seed)
    return chunks.Training(compiled, config, hyper, state)
