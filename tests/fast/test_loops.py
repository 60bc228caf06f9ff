"""Each fast loop gives the values of the plain form that it says it equals."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.fast import loops
from ppo_jax.fast.loops import map_in_cache, map_where, scan_drawn, scan_until

T, N, D = 6, 4, 3
RANDOM = np.random.default_rng(0)
INPUTS = {"a": jnp.asarray(RANDOM.normal(size=(T, N, D))), "b": jnp.asarray(RANDOM.normal(size=(T, N)))}
OTHERWISE = jnp.asarray(RANDOM.normal(size=(T, N)))
MASKS = {
    "nowhere": np.zeros((T, N), bool),
    "everywhere": np.ones((T, N), bool),
    "in one place": np.arange(T * N).reshape(T, N) == 13,
    "in N places": np.arange(T * N).reshape(T, N) % T == 2,
    "in N + 1 places": np.arange(T * N).reshape(T, N) < N + 1,
    "here and there": RANDOM.random((T, N)) < 0.4,
}
every_mask = pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS.keys())


def weigh(inputs):
    return jnp.tanh(inputs["a"].sum(axis=-1)) * inputs["b"]


@every_mask
def test_map_where_equals_where_of_the_mapped_values(mask):
    plain = jnp.where(mask, weigh(INPUTS), OTHERWISE)
    fast = jax.jit(lambda mask, inputs: map_where(mask, weigh, inputs, OTHERWISE))(jnp.asarray(mask), INPUTS)
    np.testing.assert_allclose(fast, plain, rtol=1e-6)


def test_map_where_of_several_agents_is_that_of_each():
    masks = jnp.stack(list(MASKS.values()))
    fast = jax.vmap(lambda mask: map_where(mask, weigh, INPUTS, OTHERWISE))(masks)
    np.testing.assert_allclose(fast, jnp.where(masks, weigh(INPUTS), OTHERWISE), rtol=1e-6)


@every_mask
def test_map_where_reads_nothing_that_the_mask_leaves_out(mask):
    unseen = jax.tree.map(lambda x: jnp.where(mask[(...,) + (None,) * (x.ndim - 2)], x, jnp.nan), INPUTS)
    assert np.isfinite(map_where(jnp.asarray(mask), weigh, unseen, OTHERWISE)).all()


def add(carry, x):
    return carry + x, {"total": carry + x, "count": jnp.ones((), jnp.int32)}


@pytest.mark.parametrize(("limit", "steps"), [(0.5, 1), (3.0, 2), (9.5, 4), (100.0, 5)])
def test_scan_until_stops_after_the_step_that_says_so_and_returns_zeros_for_the_rest(limit, steps):
    xs = jnp.arange(1.0, 6.0)
    carry, ys = jax.jit(lambda xs: scan_until(lambda y: y["total"] >= limit, add, jnp.float32(0), xs))(xs)
    expected_carry, expected = jax.lax.scan(add, jnp.float32(0), xs[:steps])
    assert float(carry) == float(expected_carry)
    assert ys["count"].tolist() == [1] * steps + [0] * (5 - steps)
    np.testing.assert_array_equal(ys["total"][:steps], expected["total"])
    np.testing.assert_array_equal(ys["total"][steps:], 0)


def test_scan_until_does_not_run_the_steps_that_it_skips():
    ran = []

    def body(carry, x):
        jax.debug.callback(lambda x: ran.append(int(x)), x, ordered=True)
        return carry, x

    jax.block_until_ready(scan_until(lambda y: y >= 2, body, jnp.int32(0), jnp.arange(6)))
    jax.effects_barrier()
    assert ran == [0, 1, 2]


def draw(num_steps, keys):
    return jax.random.normal(keys[0], (num_steps, N)), jax.random.uniform(keys[1], (num_steps,))


def walk(carry, drawn):
    noise, scale = drawn
    return carry + noise * scale, (carry, noise)


@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize(("room", "block"), [(1, 1), (3 * (N + 1) * 4, 3), (2**20, 12)])
def test_scan_drawn_is_a_scan_over_the_draws_of_all_blocks_in_order(monkeypatch, room, block, unroll):
    monkeypatch.setattr(loops, "DRAWN_BYTES", room)
    key, start = jax.random.key(7), jnp.zeros(N)
    fast = jax.jit(lambda start: scan_drawn(draw, walk, start, key, length=12, unroll=unroll))(start)
    keys = jax.random.split(key, (12 // block, 2))
    drawn = jax.tree.map(lambda *xs: jnp.concatenate(xs), *[draw(block, pair) for pair in keys])
    chex.assert_trees_all_close(fast, jax.lax.scan(walk, start, drawn), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cached", [1, 7, 12, 24, 100])
def test_map_in_cache_equals_the_function_whatever_fits_into_the_cache(monkeypatch, cached):
    monkeypatch.setattr(loops, "CACHED_SAMPLES", cached)
    fast = jax.jit(lambda inputs: map_in_cache(lambda x: (weigh(x), x["a"] * 2), inputs))(INPUTS)
    chex.assert_trees_all_close(fast, (weigh(INPUTS), INPUTS["a"] * 2), rtol=1e-6)


@pytest.mark.parametrize(("platform", "in_pieces"), [("cpu", True), ("cuda", False)])
def test_map_in_cache_takes_pieces_on_a_cpu_only(monkeypatch, platform, in_pieces):
    monkeypatch.setattr(loops, "CACHED_SAMPLES", 4)
    traced = jax.jit(lambda inputs: map_in_cache(weigh, inputs)).trace(INPUTS)
    assert ("while" in traced.lower(lowering_platforms=(platform,)).as_text()) == in_pieces
