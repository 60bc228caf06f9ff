from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.count import Count
from ppo_jax.host.runs.checkpoints import arrays
from ppo_jax.host.runs.checkpoints.arrays import SaveError
from ppo_jax.host.runs.checkpoints.manifest import DamageError


class State(NamedTuple):
    """One leaf of every kind that a state may hold."""

    params: Any
    keys: jax.Array
    nothing: None
    flags: jax.Array
    empty: jax.Array
    count: Count


def make_state(key):
    return State(
        params={"kernel": jnp.arange(6.0).reshape(2, 3), "half": jnp.full(3, 0.1, jnp.bfloat16)},
        keys=jax.random.split(key, 4),
        nothing=None,
        flags=jnp.array([True, False]),
        empty=jnp.zeros((4, 0)),
        count=Count.of(2**40 + 7, (2,)),
    )


STATE = make_state(jax.random.key(3))
TEMPLATE = jax.eval_shape(make_state, jax.random.key(0))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "state"
    arrays.write(path, arrays.leaves(STATE))
    return path


def test_a_state_comes_back_to_the_bit(written):
    restored = arrays.read(written, TEMPLATE)
    assert jax.tree.structure(restored) == jax.tree.structure(STATE)
    for found, given in zip(jax.tree.leaves(restored), jax.tree.leaves(STATE), strict=True):
        assert (found.dtype, found.shape) == (given.dtype, given.shape)
    found, given = arrays.leaves(restored), arrays.leaves(STATE)
    assert {name: x.tobytes() for name, x in found.items()} == {
        name: x.tobytes() for name, x in given.items()
    }


def test_a_template_describes_the_arrays_of_its_states(written):
    described = arrays.describe(arrays.leaves(STATE))
    assert arrays.expected(TEMPLATE, {}) == arrays.expected(TEMPLATE, described) == described
    assert described["keys"] == {"shape": [4, 2], "dtype": "uint32"}
    assert described["count"] == {"shape": [2], "dtype": "int64"}


def test_counts_that_an_earlier_version_wrote_are_read_but_no_other_arrays_that_look_like_them(tmp_path):
    written = arrays.leaves(STATE) | {"count": np.array([5, 2**31 - 1], np.int32)}
    arrays.write(tmp_path / "earlier", written)
    restored = arrays.read(tmp_path / "earlier", TEMPLATE)
    assert restored.count.tolist() == [5, 2**31 - 1]
    assert restored.count.low.dtype == np.uint32
    for other in (np.zeros(3, np.int32), np.zeros(2, np.uint32), np.zeros(2, np.float32)):
        arrays.write(tmp_path / f"{other.dtype}{other.size}", written | {"count": other})
        with pytest.raises(DamageError, match="not those of this run"):
            arrays.read(tmp_path / f"{other.dtype}{other.size}", TEMPLATE)


OTHERS = {
    "another shape": {"params": {"kernel": jnp.zeros((2, 4)), "half": STATE.params["half"]}},
    "another dtype": {"flags": jnp.array([1, 0])},
    "a leaf more": {"nothing": jnp.zeros(2)},
    "a leaf less": {"flags": None},
    "another name": {"params": {"kernel": STATE.params["kernel"], "full": STATE.params["half"]}},
}


@pytest.mark.parametrize("changes", OTHERS.values(), ids=OTHERS)
def test_another_template_is_refused(written, changes):
    with pytest.raises(DamageError, match="not those of this run"):
        arrays.read(written, jax.eval_shape(lambda: STATE._replace(**changes)))


def test_keys_of_another_implementation_are_refused(written):
    with (
        jax.default_prng_impl("unsafe_rbg"),
        pytest.raises(DamageError, match="key<fry>, not those of jax_default_prng_impl"),
    ):
        arrays.read(written, TEMPLATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_arrays_that_are_not_finite_are_named(value, dtype):
    bad = np.zeros((3, 4), dtype)
    bad[1, 2] = value
    good = {"flags": np.array([True]), "count": np.arange(3), "half": np.zeros(2, jnp.bfloat16)}
    assert arrays.nonfinite(good | {"bad": bad}) == ["bad"]


def test_arrays_that_cannot_be_written_are_one_error_whatever_the_cause(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError):
        arrays.write(tmp_path / "file" / "state", arrays.leaves(STATE))


def test_arrays_that_are_missing_are_damaged(tmp_path):
    with pytest.raises(DamageError):
        arrays.read(tmp_path / "nothing", TEMPLATE)
