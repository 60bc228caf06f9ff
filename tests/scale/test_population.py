"""Population-based training: the worst copy the best, and explore from what they copied."""

import zlib
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.train import advance, agent_of, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.scale.population import evolve, exploit, explore, inherit

KEY = jax.random.key(0)
RANGES = {"learning_rate": (1e-4, 1e-2, True), "gamma": (0.9, 0.99, False)}
SCORES = np.array([3, 9, 1, 7, 5, 2, 8, 4, 6, 0, 2.5, 3.5], np.float32)  # of which a quarter is three
BEST, WORST = [1, 6, 3], [5, 2, 9]


def values_of(size):
    return {
        "learning_rate": np.geomspace(1e-4, 1e-2, size, dtype=np.float32),
        "gamma": np.linspace(0.9, 0.99, size, dtype=np.float32),
    }


def key_of(name, member):
    return jax.random.fold_in(jax.random.fold_in(KEY, zlib.crc32(name.encode())), member)


def test_each_of_the_worst_copies_one_of_the_best_that_its_own_key_draws():
    expected = list(range(len(SCORES)))
    for member in WORST:
        expected[member] = BEST[int(jax.random.randint(key_of("parent", member), (), 0, len(BEST)))]
    np.testing.assert_array_equal(exploit(KEY, SCORES), expected)


def test_every_one_of_the_best_is_drawn_equally_often():
    parents = jax.vmap(partial(exploit, scores=SCORES))(jax.random.split(KEY, 3000))
    counts = np.stack([(np.asarray(parents)[:, WORST] == donor).sum(0) for donor in BEST])
    assert counts.sum() == 3000 * len(WORST)
    np.testing.assert_allclose(counts, 1000, atol=130)  # five standard deviations


def test_members_without_a_finite_score_copy_and_are_never_copied():
    scores = np.array([np.nan, 1, np.nan, np.inf, np.nan, 2, np.nan, -np.inf], np.float32)
    parents = jax.vmap(partial(exploit, scores=scores))(jax.random.split(KEY, 100))
    finite = [1, 5]
    assert set(np.unique(parents)) == set(finite)
    np.testing.assert_array_equal(np.asarray(parents)[:, finite], [finite] * 100)


@pytest.mark.parametrize("score", [500.0, np.nan])
def test_where_no_one_is_better_no_one_copies(score):
    np.testing.assert_array_equal(exploit(KEY, np.full(8, score, np.float32)), np.arange(8))


def explored_one(name, member, value):
    """What a member with this value comes to, in float64."""
    low, high, is_log = RANGES[name]
    turn, up, place = (float(jax.random.uniform(key)) for key in jax.random.split(key_of(name, member), 3))
    if turn < 0.25:
        return low * (high / low) ** place if is_log else low + place * (high - low)
    moved = (
        value * (0.8 if up < 0.5 else 1.25) if is_log else value + (0.1 if up >= 0.5 else -0.1) * (high - low)
    )
    return min(max(moved, low), high)


def test_exploring_is_what_the_oracle_says():
    old = values_of(40)
    explored = explore(KEY, old, RANGES)
    for name, values in explored.items():
        expected = [explored_one(name, member, float(value)) for member, value in enumerate(old[name])]
        np.testing.assert_allclose(values, expected, rtol=1e-5)
        low, high, _ = RANGES[name]
        assert values.min() >= np.float32(low)
        assert values.max() <= np.float32(high)
        assert len(np.unique(values / old[name])) > 10  # steps up and down, and values drawn anew


def test_another_hyperparameter_and_more_members_change_no_draw():
    old = values_of(12)
    alone = explore(KEY, {"gamma": old["gamma"]}, RANGES)
    np.testing.assert_array_equal(alone["gamma"], explore(KEY, old, RANGES)["gamma"])
    fewer = explore(KEY, {"gamma": old["gamma"][:5]}, RANGES)
    np.testing.assert_array_equal(fewer["gamma"], alone["gamma"][:5])


def test_a_copy_explores_from_the_values_of_its_parent_and_all_others_keep_theirs():
    old = values_of(len(SCORES))
    parents, values = jax.jit(lambda key: evolve(key, SCORES, old, RANGES))(KEY)
    for name in RANGES:
        for member in range(len(SCORES)):
            before = old[name][parents[member]]
            after = explored_one(name, member, float(before)) if member in WORST else before
            np.testing.assert_allclose(values[name][member], after, rtol=1e-5)
    stay = [member for member in range(len(SCORES)) if member not in WORST]
    np.testing.assert_array_equal(values["gamma"][np.array(stay)], old["gamma"][np.array(stay)])


CONFIG = Config(
    num_envs=2,
    num_steps=8,
    total_timesteps=16 * 4,
    num_epochs=1,
    num_minibatches=1,
    hidden_sizes=(4,),
    memory_size=2,
    normalize_observations=True,
    normalize_rewards=True,
)


@pytest.mark.long
def test_a_member_inherits_everything_but_the_key_and_then_goes_its_own_way():
    """The whole search in one jitted program, as a caller of the library would write it."""
    ppo, size = make_ppo(CONFIG), 4
    hyper = Hyperparams()._replace(learning_rate=np.geomspace(1e-4, 1e-2, size, dtype=np.float32))
    axes = Hyperparams(**{name: 0 if name == "learning_rate" else None for name in Hyperparams._fields})
    train = jax.vmap(partial(advance, ppo, 2), in_axes=(axes, 0))

    @jax.jit
    def search(key):
        state = jax.vmap(ppo.init, in_axes=(axes, 0))(hyper, jax.random.split(key, size))
        trained, _ = train(hyper, state)
        scores = jnp.array([1.0, 4.0, 2.0, 3.0])
        searched = {"learning_rate": hyper.learning_rate}
        parents, values = evolve(key, scores, searched, {"learning_rate": (1e-4, 1e-2, True)})
        copied = inherit(trained, parents)
        return trained, copied, train(hyper._replace(**values), copied)[0]

    trained, copied, after = search(KEY)
    of_parent = jax.tree.map(lambda x: x[1], trained)  # the only one of the best quarter
    of_copy = jax.tree.map(lambda x: x[0], copied)
    chex.assert_trees_all_equal(of_copy._replace(key=0), of_parent._replace(key=0))
    np.testing.assert_array_equal(jax.random.key_data(copied.key), jax.random.key_data(trained.key))
    params = jax.tree.leaves(agent_of(after).params)
    assert not all(np.array_equal(x[0], x[1]) for x in params)
