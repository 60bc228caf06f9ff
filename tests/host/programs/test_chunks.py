import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

import ppo_jax
from ppo_jax.algorithm.train import advance
from ppo_jax.host.programs import chunks
from ppo_jax.host.runs.checkpoints import arrays
from tests.host.conftest import EVERYTHING
from tests.support.bits import digest


def test_chunks_aim_at_the_same_time_and_grow_gently():
    assert chunks.next_size(8, chunks.CHUNK_SECONDS) == 8
    assert chunks.next_size(8, 4 * chunks.CHUNK_SECONDS) == 2
    assert chunks.next_size(1, 60.0) == 1
    assert chunks.next_size(8, 1e-6) == 32
    assert chunks.next_size(chunks.CAPACITY, 1e-6) == chunks.CAPACITY


CONFIG, HYPER = EVERYTHING.config, EVERYTHING.hyper


@pytest.fixture(scope="module")
def program():
    return chunks.compile_program(CONFIG, HYPER)


@pytest.fixture
def another_cache(tmp_path):
    """Keeps programs in an empty directory, and afterwards where they were kept before."""
    names = [name for name in jax.config.values if "compilation_cache" in name or "persistent_cache" in name]
    before = {name: jax.config.values[name] for name in names}
    chunks.keep_compiled(tmp_path)
    yield tmp_path
    for name, value in before.items():
        jax.config.update(name, value)
    reset_cache()


def test_runs_of_any_length_seed_and_hyperparameters_compile_nothing_new(another_cache):
    """Another process, or another run in this one, finds every program in the cache."""

    def train_all(config, hyper, seed):
        jax.clear_caches()
        program = chunks.compile_program(config, hyper)
        advance_to(begin(program, config, hyper, seed), 3)
        return {file for file in another_cache.iterdir() if file.name.endswith("-cache")}

    short = dataclasses.replace(CONFIG, memory_size=0, total_timesteps=256 * 4)
    kept = train_all(short, HYPER, 0)
    assert kept
    longer = dataclasses.replace(short, total_timesteps=256 * 50)
    assert train_all(longer, HYPER._replace(learning_rate=1e-3, clip_epsilon=0.1), 7) == kept


def test_options_that_the_user_sets_in_xla_flags_are_left_to_them(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=128 --xla_dump_to=here")
    assert chunks.compiler_options() == {"xla_backend_optimization_level": "1"}
    monkeypatch.delenv("XLA_FLAGS")
    assert chunks.compiler_options() == chunks.CPU_OPTIONS


def test_a_program_of_one_length_moves_its_schedules_over_another(program):
    config = dataclasses.replace(CONFIG, total_timesteps=256 * 8)
    hyper = HYPER._replace(clip_epsilon=0.8, final_clip_epsilon=0.0)
    bounds = advance_to(begin(program, config, hyper, seed=0), 8)["clip_epsilon"]
    np.testing.assert_allclose(bounds, 0.8 - 0.1 * np.arange(8), rtol=1e-5)


def test_a_chunk_brings_metrics_and_flags_to_the_host_and_leaves_the_state_on_the_device(
    program, monkeypatch
):
    fetched, device_get = [], jax.device_get

    def noting(tree):
        fetched.append(tree)
        return device_get(tree)

    training = begin(program, CONFIG, HYPER, seed=0)
    monkeypatch.setattr(jax, "device_get", noting)
    chunk = training.advance(4)
    ((metrics, finite),) = fetched
    assert isinstance(metrics, ppo_jax.Metrics)
    assert finite.shape == ()
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(chunk.state))
    assert (chunk.first_update, chunk.num_updates, chunk.finite) == (1, 1, True)


def test_a_chunk_that_runs_while_the_one_before_is_fetched_gives_the_same_bits(program):
    checked = []

    def check(state):
        checked.append(state)
        return program.check(state)

    alone, training = (begin(program, CONFIG, HYPER, seed=0) for _ in range(2))
    expected = advance_to(alone, 5)
    training.program = program._replace(check=check)
    rows, running = [], training.dispatch(5)
    while running:
        following = training.dispatch(5) if training.update < 5 else None
        chunk = training.fetch(running)
        assert chunk.first_update == len(rows) + 1
        assert chunk.start <= chunk.end <= training.seconds
        for row in range(chunk.num_updates):
            rows.append(jax.tree.map(lambda column, row=row: column[row], chunk.metrics))
        running = following
    assert digest(chunk.state) == digest(alone.state)
    assert checked == [chunk.state]  # of the others, the next chunk would have had to be waited for
    got = jax.tree.map(lambda *values: np.stack(values), *rows)._asdict()
    assert digest(got) == digest(expected)


def test_every_array_of_floats_that_is_not_finite_is_named(program):
    """One number of one array at a time, in the learner, the environments and the statistics."""
    state = begin(program, CONFIG, HYPER, seed=0).state
    assert program.check(state)
    names = list(chunks.float_arrays(program.template))
    leaves, structure = jax.tree.flatten(state)
    positions = [i for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    for kind in ("params/", "optimizer/", "collector/environment/", "collector/statistics/"):
        assert any(kind in name for name in names)
    for name, position, value in zip(
        names, positions, np.resize([np.nan, np.inf, -np.inf], len(positions)), strict=True
    ):
        leaf = leaves[position]
        broken = [*leaves[:position], leaf.at[(-1,) * leaf.ndim].set(value), *leaves[position + 1 :]]
        state = jax.tree.unflatten(structure, broken)
        assert not program.check(state)
        assert chunks.find_nonfinite(state) == [name]
        assert arrays.nonfinite(arrays.leaves(state)) == [name]  # what would be saved is named alike


LANES, CAPACITY = 3, 5


@pytest.fixture(scope="module")
def lanes():
    """The first states of three members, and the function that advances them all."""
    ppo = ppo_jax.make_ppo(CONFIG)
    hyper = HYPER._replace(learning_rate=jnp.array([1e-3, 1e-2, 1e-4]))
    axes = ppo_jax.Hyperparams(**dict.fromkeys(HYPER._fields))._replace(learning_rate=0)
    keys = jax.vmap(jax.random.key)(jnp.arange(LANES))

    def run(hyper, state, num_updates):
        state, metrics = advance(ppo, CAPACITY, hyper, state, num_updates)
        return state, metrics, chunks.is_finite(state)

    init, run = jax.vmap(ppo.init, in_axes=(axes, 0)), jax.vmap(run, in_axes=(axes, 0, None))
    states = chunks.compile_ahead(init, hyper, keys)(hyper, keys)
    compiled = chunks.compile_ahead(run, hyper, states, np.int32(0))
    return states, lambda states, num_updates: compiled(hyper, states, np.int32(num_updates))


@pytest.mark.long
def test_lanes_advance_together_and_chunks_of_any_length_give_the_same_bits(lanes):
    states, run = lanes
    whole, metrics, finite = run(states, 5)
    for column in metrics:
        assert column.shape == (LANES, CAPACITY)
    assert finite.all()
    half, first, _ = run(states, 3)
    again, second, _ = run(half, 2)
    assert digest(again) == digest(whole)
    joined = jax.tree.map(lambda one, two: np.concatenate([one[:, :3], two[:, :2]], axis=1), first, second)
    jax.tree.map(np.testing.assert_array_equal, joined, metrics)
    for rest, done in ((first, 3), (second, 2)):
        jax.tree.map(lambda x, done=done: np.testing.assert_array_equal(x[:, done:], 0), rest)


@pytest.mark.long
def test_each_lane_is_the_member_that_trains_alone(lanes, program):
    states, run = lanes
    _, metrics, _ = run(states, 4)
    for lane, learning_rate in enumerate([1e-3, 1e-2, 1e-4]):
        alone = begin(program, CONFIG, HYPER._replace(learning_rate=learning_rate), seed=lane)
        for name, column in advance_to(alone, 4).items():
            np.testing.assert_allclose(getattr(metrics, name)[lane, :4], column, rtol=1e-3, atol=1e-5)


@pytest.mark.long
def test_it_is_known_for_each_lane_whether_it_is_finite(lanes):
    states, run = lanes
    value = states.collector.statistics.mean.at[1].set(jnp.nan)
    statistics = states.collector.statistics._replace(mean=value)
    broken = states._replace(collector=states.collector._replace(statistics=statistics))
    assert jax.vmap(chunks.is_finite)(broken).tolist() == [True, False, True]
    assert chunks.find_nonfinite(jax.tree.map(lambda x: x[1], broken)) == ["collector/statistics/mean"]
    _, _, finite = run(broken, 1)  # a lane that is broken leaves the others as they are
    assert finite.tolist() == [True, False, True]


def begin(program, config, hyper, seed):
    state, nonfinite = chunks.begin(program, hyper, seed)
    assert nonfinite == []
    return chunks.Training(program, config, hyper, state)


def advance_to(training, update):
    """Trains up to an update, and returns the metrics by name, [U]."""
    rows = []
    while training.update < update:
        chunk = training.advance(update)
        rows.append(jax.tree.map(lambda column, n=chunk.num_updates: column[:n], chunk.metrics))
    return jax.tree.map(lambda *columns: np.concatenate(columns), *rows)._asdict()
