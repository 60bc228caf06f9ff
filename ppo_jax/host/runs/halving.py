"""Successive halving: how long the points of a sweep are trained, and how many of them are left."""

from typing import NamedTuple


class Halving(NamedTuple):
    """Successive halving: all points start, and after each rung only the best of them go on.

    Source: Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification and Hyperparameter
    Optimization".

    Attributes:
        rungs: The number of rungs, R. Rung r ends after U / eta^(R - r) of the U updates of a run.
        eta: The factor by which each rung reduces the number of points.
    """

    rungs: int
    eta: int = 3

    def end_of(self, rung: int, num_updates: int) -> int:
        """Returns the updates that are done after a rung, counted from 0, of a run of so many."""
        return num_updates // self.eta ** (self.rungs - 1 - rung)

    def count_after(self, rung: int, num_points: int) -> int:
        """Returns how many points are left after a rung, counted from 0; at least one."""
        return max(1, num_points // self.eta ** (rung + 1))
