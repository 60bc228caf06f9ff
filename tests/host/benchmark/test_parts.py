"""The loops that are timed do new work in every turn, and are measured in turns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import Config
from ppo_jax.host.benchmark import parts, roofline

CONFIG = Config(num_envs=4, num_steps=8, total_timesteps=32, num_minibatches=2, hidden_sizes=(16,))
NAMES = ("training", "rollout", "environment", "update", "matrix products")


@pytest.fixture(scope="module")
def all_parts():
    towers = roofline.kernels(CONFIG)
    assert towers is not None
    loops = [*parts.make_parts(CONFIG, num_agents=1), roofline.products_part(CONFIG, towers)]
    return {part.name: part for part in loops}


@pytest.mark.long
def test_the_parts_have_the_names_that_are_reported(all_parts):
    assert tuple(all_parts) == NAMES


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_every_turn_of_a_loop_does_new_work(all_parts, name):
    """Otherwise the compiler could take it out of the loop."""
    part = all_parts[name]
    body = jax.jit(part.body)
    first = body(jnp.int32(0), part.carry)
    second = body(jnp.int32(1), first)
    for before, after in ((part.carry, first), (first, second)):
        pairs = zip(
            map(as_numbers, jax.tree.leaves(before)), map(as_numbers, jax.tree.leaves(after)), strict=True
        )
        assert not all(np.array_equal(a, b) for a, b in pairs)


def as_numbers(x):
    return jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x


def test_loops_are_measured_in_turns():
    seen = []

    class Fake:
        def __init__(self, name):
            self.name = name

        def __call__(self, turns, carry):
            seen.append(self.name)
            return carry

    loops = [
        parts.Timed(program=Fake(name), carry=0, steps=10, turns=1, compile_seconds=0.0, memory=0)
        for name in "ab"
    ]
    rates = parts.measure_in_turns(loops, 3)
    assert "".join(seen) == "ababab"
    assert [len(rate) for rate in rates] == [3, 3]
