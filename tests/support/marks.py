"""Marks that divide the parameters of a test between the runs of different lengths."""

from collections.abc import Iterable
from typing import Any

import pytest


def first_long(parameters: Iterable[Any], count: int) -> list[Any]:
    """Marks the first few as long, for continuous integration; the others, which resemble them, as slow."""
    return [
        pytest.param(one, marks=pytest.mark.long if place < count else pytest.mark.slow)
        for place, one in enumerate(parameters)
    ]
