"""What an observation or an action looks like: static, hashable descriptions without any array."""

from typing import NamedTuple


class Discrete(NamedTuple):
    """Whole numbers 0, 1, ..., n - 1.

    Attributes:
        n: How many there are (A, where they are actions).
    """

    n: int


class Box(NamedTuple):
    """Arrays of real numbers of one shape.

    Attributes:
        shape: Shape of one of them, without batch axes.
    """

    shape: tuple[int, ...]


Space = Discrete | Box
