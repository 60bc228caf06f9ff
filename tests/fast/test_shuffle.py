"""A keyed bijection in place of a random permutation: nothing lost, and as random as minibatches need."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ppo_jax.fast.shuffle import shuffle

SIZES = (*range(1, 66), 97, 127, 128, 256, 509, 512, 1000, 1023, 4096, 8191, 65_536, 100_003)
SURE = 1e-4  # a correct shuffle fails a test at this level once in 10,000


def orders(size: int, num_keys: int, seed: int = 0) -> np.ndarray:
    keys = jax.random.split(jax.random.key(seed), num_keys)
    return np.asarray(jax.jit(jax.vmap(partial(shuffle, size=size)))(keys))


def p_value(counts: np.ndarray) -> float:
    return stats.chisquare(counts.reshape(-1)).pvalue


@pytest.mark.parametrize(
    "size", [size if size % 8 < 2 else pytest.param(size, marks=pytest.mark.long) for size in SIZES]
)
def test_no_sample_is_lost_or_doubled(size):
    for order in orders(size, 3):
        np.testing.assert_array_equal(np.sort(order), np.arange(size))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_all_orders_of_a_few_samples_are_equally_likely(size):
    drawn = orders(size, 120_000)
    index = {order: number for number, order in enumerate(itertools.permutations(range(size)))}
    numbers = [index[tuple(order)] for order in drawn.tolist()]
    assert p_value(np.bincount(numbers, minlength=len(index))) > SURE


@pytest.mark.parametrize("size", [7, 16, 24, 31, 64, 100])
def test_every_sample_is_equally_likely_in_every_place(size):
    drawn = orders(size, 40_000)
    counts = np.stack([np.bincount(column, minlength=size) for column in drawn.T])
    # Rows and columns add up to the number of orders, so there are (size - 1)^2 degrees of freedom.
    expected = len(drawn) / size
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert SURE < stats.chi2.sf(statistic, (size - 1) ** 2) < 1 - SURE


@pytest.mark.parametrize("size", [15, *(pytest.param(size, marks=pytest.mark.long) for size in (8, 30, 64))])
@pytest.mark.parametrize("places", [(0, 1), (2, 5), (0, -1)])
def test_every_pair_of_samples_is_equally_likely_in_a_pair_of_places(size, places):
    drawn = orders(size, 200_000)
    first, second = (drawn[:, place] for place in places)
    counts = np.bincount(first * size + second, minlength=size**2).reshape(size, size)
    assert not counts.diagonal().any()
    assert p_value(counts[~np.eye(size, dtype=bool)]) > SURE


@pytest.mark.parametrize("size", [512, 8192])
def test_neighbours_are_spread_over_the_minibatches(size):
    num_minibatches, num_keys = 4, 2_000
    minibatch = orders(size, num_keys).argsort(axis=1) // (size // num_minibatches)
    together = (minibatch[:, 1:] == minibatch[:, :-1]).sum(axis=1)
    chance = (size // num_minibatches - 1) / (size - 1)
    deviation = np.sqrt(chance * (1 - chance) / (num_keys * (size - 1)))
    assert abs(together.mean() / (size - 1) - chance) < 5 * deviation


def test_minibatch_means_vary_as_those_of_random_permutations():
    size, num_keys = 1024, 3_000
    values = np.sort(np.random.default_rng(0).normal(size=size))  # in order: the worst case
    ours = values[orders(size, num_keys)[:, :128]].mean(axis=1)
    keys = jax.random.split(jax.random.key(1), num_keys)
    theirs = values[np.asarray(jax.vmap(partial(jax.random.permutation, x=size))(keys))[:, :128]].mean(axis=1)
    assert stats.ks_2samp(ours, theirs).pvalue > SURE


def test_another_key_gives_another_order():
    drawn = orders(512, 1_000)
    assert len({order.tobytes() for order in drawn}) == 1_000
    agreement = (drawn[1:] == drawn[:-1]).sum(axis=1)  # expected: 1 in each
    assert abs(agreement.mean() - 1) < 5 / np.sqrt(len(agreement))


def test_the_same_key_gives_the_same_order_inside_a_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    alone = np.stack([shuffle(key, 1000) for key in keys])
    np.testing.assert_array_equal(alone, orders(1000, 3))


def test_the_order_is_int32():
    assert shuffle(jax.random.key(0), 10).dtype == jnp.int32
