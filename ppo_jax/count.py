"""Counts to 2^64 where JAX has no integers of 64 bits: environment steps, and updates."""

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ppo_jax.errors import UsageError

WORD = 2**32
HALF, MASK = 16, 0xFFFF  # bits of half a word

_REFUSAL = (
    "a count of steps has 64 bits, and JAX has no integers of as many; call its method `as_float()` for a "
    "rounded number, or return it from functions that are traced and use NumPy instead of jax.numpy"
)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Count(np.lib.mixins.NDArrayOperatorsMixin):
    """Counts of 64 bits: high * 2^32 + low. They need no `JAX_ENABLE_X64`.

    Outside of a traced function they behave like an array of int64: `np.asarray(count)`, `int(count[-1])`,
    `count / 1e6`, `count.max()` and comparisons are exact, and Matplotlib draws them. Inside, `plus` and
    `times` are exact, and `as_float` rounds; all else says that it needs a number of 64 bits.

    Attributes:
        high: The upper 32 bits, [...] uint32.
        low: The lower 32 bits, [...] uint32.
    """

    high: Any
    low: Any
    dtype: ClassVar = np.dtype(np.int64)  # outside of a traced function

    @classmethod
    def of(cls, value: Any, shape: tuple[int, ...] = ()) -> "Count":
        """Makes counts from known whole numbers.

        Args:
            value: An int, or an array of NumPy, from 0 to 2^63 - 1.
            shape: The shape to broadcast it to.
        """
        wide = np.broadcast_to(np.asarray(value, np.int64), shape or np.shape(value))
        return cls(high=(wide >> 32).astype(np.uint32), low=(wide & (WORD - 1)).astype(np.uint32))

    def plus(self, number: int) -> "Count":
        """Adds a known number from 0 to 2^64 - 1, modulo 2^64."""
        high, low = divmod(number, WORD)
        total = self.low + jnp.uint32(low)
        carry = (total < self.low).astype(jnp.uint32)  # a sum that wraps is smaller
        return Count(
            high=self.high + jnp.uint32(high) + carry,
            low=total,
        )

    def times(self, number: int) -> "Count":
        """Multiplies by a known number from 0 to 2^32 - 1, modulo 2^64.

        It is long multiplication in halves of words, whose products fit into a word.
        """
        right, left = (jnp.uint32(half) for half in (number & MASK, number >> HALF))
        below, above = self.low & MASK, self.low >> HALF
        middle = (below * right >> HALF) + (below * left & MASK) + (above * right & MASK)
        carry = above * left + (below * left >> HALF) + (above * right >> HALF) + (middle >> HALF)
        return Count(
            high=self.high * jnp.uint32(number) + carry,
            low=middle << HALF | below * right & MASK,
        )

    def as_float(self) -> jax.Array:
        """Rounds to float32, [...], with a relative error below 2^-23; up to 2^24 there is none."""
        return self.high.astype(jnp.float32) * jnp.float32(WORD) + self.low.astype(jnp.float32)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the counts."""
        return self.high.shape

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """Returns the counts as int64, or as another dtype."""
        if isinstance(self.high, Tracer):
            raise UsageError(_REFUSAL)
        wide = np.asarray(self.high).astype(np.int64) << 32 | np.asarray(self.low)
        return np.asarray(wide, dtype)

    def __jax_array__(self) -> jax.Array:
        """Returns the counts for JAX if they fit: as int32, or int64 in the mode with 64 bits."""
        wide = np.asarray(self)
        array = jnp.asarray(wide)
        if not np.array_equal(array, wide):
            raise UsageError(_REFUSAL)
        return array

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """Computes with the counts as int64; all operators lead here."""
        plain = [np.asarray(x) if isinstance(x, Count | jax.Array) else x for x in inputs]
        return getattr(ufunc, method)(*plain, **options)

    def __getattr__(self, name: str) -> Any:
        """Returns what an array of int64 has under this name, such as `tolist`."""
        if name.startswith("_") or not hasattr(np.ndarray, name):
            raise AttributeError(f"a count has no attribute {name!r}")
        return getattr(np.asarray(self), name)

    def __getitem__(self, index: Any) -> "Count":
        return Count(high=self.high[index], low=self.low[index])

    def __len__(self) -> int:
        return len(self.high)

    def __iter__(self) -> Iterator["Count"]:
        return (self[index] for index in range(len(self)))

    def __int__(self) -> int:
        return int(np.asarray(self))

    __index__ = __int__

    def __format__(self, specification: str) -> str:
        return format(np.asarray(self), specification)

    def __repr__(self) -> str:
        if isinstance(self.high, np.ndarray | np.generic | jax.Array) and not isinstance(self.high, Tracer):
            return str(np.asarray(self))
        return f"Count(high={self.high}, low={self.low})"


def add_up_to_limit(count: jax.Array, number: int) -> jax.Array:
    """Adds a known number to counts, which stay at the largest number of their dtype once they reach it.

    Args:
        count: The counts, [...], of an integer dtype.
        number: The number to add, 0 or more.
    """
    total = count + np.array(number, count.dtype)
    most = np.array(np.iinfo(count.dtype).max, count.dtype)
    return jnp.where(total < count, most, total)  # a sum that wraps is smaller


jax.tree_util.register_dataclass(Count, data_fields=["high", "low"], meta_fields=[])
