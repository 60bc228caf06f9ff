"""Counting traces: how often Python goes through a function that is compiled."""

from collections.abc import Callable
from typing import Any

import jax


class Counted:
    """A function compiled with `jax.jit`, and how often it was traced."""

    def __init__(self, function: Callable):
        self.traces = 0
        self.run = jax.jit(self._call)
        self._function = function

    def _call(self, *arguments: Any) -> Any:
        self.traces += 1
        return self._function(*arguments)
