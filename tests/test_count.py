"""Counts of 64 bits against Python's ints, which never wrap; and as the arrays that users take them for."""

from functools import partial

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest

from ppo_jax.count import Count, add_up_to_limit
from ppo_jax.errors import UsageError

EDGES = [edge + d for edge in (2**16, 2**24, 2**31, 2**32, 2**48, 2**53, 2**62) for d in (-2, -1, 0, 1, 2)]
MOST = 2**63 - 1


def numbers(limit, size=400):
    """Edges, and random numbers of all magnitudes below a limit."""
    rng = np.random.default_rng(0)
    drawn = [int(2**power * rng.random()) for power in rng.uniform(0, 63, size)]
    return [x for x in [0, 1, 2, *EDGES, MOST, *drawn] if x < limit]


VALUES = numbers(MOST + 1)
COUNTS = jax.tree.map(jnp.asarray, Count.of(np.array(VALUES)))
SMALL, LARGE = (jax.tree.map(jnp.asarray, Count.of([512, 1024, last])) for last in (1536, 2**40 + 512))


def exact(count):
    """The value of counts by their definition, as Python's ints, also above 2^63."""
    words = zip(np.asarray(count.high).tolist(), np.asarray(count.low).tolist(), strict=True)
    return [high * 2**32 + low for high, low in words]


def test_whole_numbers_come_back():
    assert exact(COUNTS) == COUNTS.tolist() == VALUES
    assert [int(count) for count in COUNTS] == VALUES
    assert Count.of(7, (2, 3)).tolist() == [[7] * 3] * 2
    assert Count.of(np.array([5, 2**31 - 1], np.int32)).tolist() == [5, 2**31 - 1]


def test_sums_are_those_of_python():
    for number in [*numbers(MOST)[:60], 2**64 - 1]:
        assert exact(COUNTS.plus(number)) == [(value + number) % 2**64 for value in VALUES]


def test_products_are_those_of_python():
    for number in [*numbers(2**32)[:60], 2 * 10**9, 2**32 - 1]:
        assert exact(COUNTS.times(number)) == [value * number % 2**64 for value in VALUES]


@pytest.mark.parametrize("wide", [False, True])
def test_inside_of_a_program_they_are_the_same(wide):
    def step(count):
        return jax.lax.fori_loop(0, 3, lambda _, count: count.plus(2**31 - 1), count).times(513)

    with jax.enable_x64(wide):
        found = jax.jit(jax.vmap(step))(COUNTS)
    assert found.low.dtype == found.high.dtype == np.uint32
    assert exact(found) == [(value + 3 * (2**31 - 1)) * 513 % 2**64 for value in VALUES]


def test_a_float_is_the_nearest_or_next_to_it_and_that_of_int32_for_all_that_it_held():
    floats = np.asarray(COUNTS.as_float())
    assert floats.dtype == np.float32
    errors = [abs(int(x) - value) for x, value in zip(floats, VALUES, strict=True)]
    assert all(error <= value * 2**-23 for error, value in zip(errors, VALUES, strict=True))
    for value, found in zip(VALUES, floats, strict=True):
        if value < 2**31:
            assert found == np.float32(jnp.float32(jnp.int32(value)))


def test_outside_of_a_program_they_are_an_array_of_int64():
    values = np.array([512, 1024, 2**40 + 512])
    assert np.asarray(LARGE).dtype == LARGE.dtype == np.int64
    assert (LARGE.shape, LARGE.ndim, LARGE.size, len(LARGE)) == ((3,), 1, 3, 3)
    assert LARGE.max() == int(LARGE[-1]) == 2**40 + 512
    assert (f"{LARGE[-1]:,}", str(LARGE[0])) == ("1,099,511,628,288", "512")
    for function in (
        lambda x: x * 1.0,
        lambda x: 3 * x + 1,
        lambda x: x / 1e6,
        lambda x: x[1:] - x[:-1],
        lambda x: x >= 1024,
        lambda x: np.float32(2) * x,
        lambda x: x[np.array([True, False, True])],
        lambda x: np.where(x > 600, x, 0),
        lambda x: np.stack([x, x]),
        lambda x: np.diff(x) // 512,
    ):
        found, expected = np.asarray(function(LARGE)), function(values)
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.asarray(LARGE, float), values.astype(float))


def test_matplotlib_draws_over_them():
    matplotlib.use("Agg")
    from matplotlib import pyplot

    _, ax = pyplot.subplots()
    (line,) = ax.plot(LARGE, jnp.arange(3.0))
    assert line.get_xdata().tolist() == [512, 1024, 2**40 + 512]
    ax.fill_between(LARGE, [0, 1, 2], [1, 2, 3])
    pyplot.close()


def test_jax_takes_what_fits_into_its_integers_and_refuses_the_rest():
    assert (jnp.asarray(SMALL) + 1).tolist() == [513, 1025, 1537]
    assert (jnp.arange(3) * SMALL).tolist() == [0, 1024, 3072]
    for function in (jnp.asarray, lambda x: jnp.arange(3) * x):
        with pytest.raises(UsageError, match=r"64 bits.*as_float\(\).*NumPy"):
            function(LARGE)
    with jax.enable_x64(True):
        assert jnp.asarray(LARGE).tolist() == LARGE.tolist()


@pytest.mark.parametrize(
    "function", [np.asarray, lambda x: x * 2, lambda x: x > 3, lambda x: jnp.ones(3) * x]
)
def test_a_program_has_no_numbers_of_64_bits_and_says_so(function):
    with pytest.raises(UsageError, match=r"64 bits.*as_float\(\)"):
        jax.jit(function)(SMALL)
    assert jax.jit(lambda x: x[1:].as_float() * 2)(SMALL).tolist() == [2048.0, 3072.0]


def test_nothing_is_there_that_arrays_have_not():
    with pytest.raises(AttributeError, match="no attribute 'meen'"):
        _ = SMALL.meen
    assert not hasattr(SMALL, "_data")


@pytest.mark.parametrize("dtype", [np.uint32, np.int32])
def test_a_count_that_has_reached_its_limit_stays_there(dtype):
    limit = int(np.iinfo(dtype).max)
    counts = jnp.array([0, 5, limit - 3, limit - 2, limit], dtype)
    added = jax.jit(partial(add_up_to_limit, number=3))(counts)
    assert added.dtype == dtype
    assert added.tolist() == [3, 8, limit, limit, limit]
