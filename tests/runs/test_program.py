import chex
import jax

import ppo_jax
from ppo_jax.runs import program


def test_chunks_of_any_length_give_the_same_bits(monkeypatch):
    config = ppo_jax.Config(num_envs=2, num_steps=16, total_timesteps=32 * 9, num_minibatches=2)
    hyper = ppo_jax.Hyperparams()
    compiled = program.compile_program(config, hyper)
    results = []
    for size in (1, 2, 5, 9):
        monkeypatch.setattr(program, "_next_size", lambda *_, size=size: size)
        state = compiled.init(hyper, jax.random.key(3))
        *_, last = program.chunks(compiled, config, hyper, state)
        results.append(last.state)
    for state in results[1:]:
        chex.assert_trees_all_equal(state, results[0])


def test_chunks_aim_at_the_same_time_and_grow_gently():
    assert program._next_size(8, program.CHUNK_SECONDS) == 8
    assert program._next_size(8, 4 * program.CHUNK_SECONDS) == 2
    assert program._next_size(1, 60.0) == 1
    assert program._next_size(8, 1e-6) == 32
    assert program._next_size(program.CAPACITY, 1e-6) == program.CAPACITY
