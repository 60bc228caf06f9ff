"""The metrics of one training, boiled down to the numbers and facts that its health is read from."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ppo_jax.config import Config
from ppo_jax.envs import registry

LATELY = 30  # updates that "of late" means
COLLAPSED = 0.05  # share of the highest entropy at which a policy counts as deterministic
FEW = 10  # updates that are too few to tell a trend from noise
ALWAYS_FINITE = ("policy_loss", "value_loss", "entropy", "approx_kl", "grad_norm")
_TINY = float(np.finfo(float).tiny)  # in place of a divisor of 0

Columns = Mapping[str, np.ndarray]


class History(NamedTuple):
    """The metrics of one training. What there is no value for is left out of every statistic.

    Attributes:
        columns: One array [U] per metric, NaN where there was no value.
        config: Of the training.
    """

    columns: Columns
    config: Config

    # Which updates

    @property
    def lately(self) -> np.ndarray:
        """The last updates, as indices."""
        return np.arange(len(self.columns["learning_rate"]))[-LATELY:]

    @property
    def in_earnest(self) -> np.ndarray:
        """The last updates whose learning rate was at least half of its highest value, as indices.

        At the end of a schedule any policy stands still, which says nothing of the steps before. An
        adaptive rate goes its own ways: there the last updates count.
        """
        if self.config.adapts_learning_rate:
            return self.lately
        rates = self.columns["learning_rate"]
        return np.flatnonzero(rates >= rates.max() / 2)[-LATELY:]

    @property
    def words(self) -> dict[str, str]:
        """How both selections of updates are called."""
        lately, in_earnest = self.lately, self.in_earnest
        end = "" if np.array_equal(lately, in_earnest) else " before the learning rate had halved"
        return {"lately": _count(lately), "in_earnest": f"{_count(in_earnest)}{end}"}

    # Numbers

    def mean_in_earnest(self, metric: str) -> float:
        """Returns the mean over the updates in earnest."""
        return _statistic(np.mean, self.columns[metric][self.in_earnest])

    def median_lately(self, metric: str) -> float:
        """Returns the median of late."""
        return _statistic(np.median, self.columns[metric][self.lately])

    def highest(self, metric: str) -> float:
        """Returns the highest value of the whole training."""
        return _statistic(np.max, self.columns[metric])

    def total(self, metric: str) -> float:
        """Returns the sum over the whole training."""
        return _statistic(np.sum, self.columns[metric])

    def growth(self, metric: str) -> float:
        """Returns the median of late over that of the whole training."""
        return self.median_lately(metric) / max(_statistic(np.median, self.columns[metric]), _TINY)

    def spike(self, metric: str) -> float:
        """Returns the largest value of late over the median."""
        largest = _statistic(np.max, self.columns[metric][self.lately])
        return largest / max(self.median_lately(metric), _TINY)

    def nonfinite(self) -> float:
        """Returns how many numbers are missing that a training always has."""
        return float(sum(np.sum(~np.isfinite(self.columns[name])) for name in ALWAYS_FINITE))

    def epochs_done(self) -> float:
        """Returns the share of the epochs that were done of late."""
        return float(np.mean(self.columns["num_epochs"][self.lately])) / self.config.num_epochs

    def entropy_left(self) -> float:
        """Returns the entropy of late as a share of its highest value."""
        late = _statistic(np.mean, self.columns["entropy"][self.lately])
        return late / max(self.highest("entropy"), _TINY)

    def entropy_lost(self) -> float:
        """Returns how far the entropy of late is below its highest value, in nats."""
        return self.highest("entropy") - _statistic(np.mean, self.columns["entropy"][self.lately])

    def return_lately(self) -> float:
        """Returns the mean return of the last stretch."""
        return float(self._stretches[-1])

    def return_kept(self) -> float:
        """Returns the share of what had been gained, from the worst stretch to the best, that is left."""
        means = self._stretches
        return 1 - float((means.max() - means[-1]) / max(np.ptp(means), _TINY))

    # Facts

    def has_no_episodes(self) -> bool:
        """Whether no episode has ended."""
        return len(self._returns) == 0

    def is_short(self) -> bool:
        """Whether there is too little to tell a trend from noise."""
        return len(self._returns) < FEW

    def is_solved(self) -> bool:
        """Whether the last 100 episodes reach the mark of the environment, if it has one."""
        mark = registry.solved_return(self.config.env)
        return mark is not None and bool(self.columns["return_window"][-1] >= mark)

    def is_flat(self) -> bool:
        """Whether the return has neither risen from that of the first stretch, nor fallen, beyond the noise.

        The bound is of five deviations of a stretch's mean: the highest of many is looked at.
        """
        if self.is_short() or self.is_solved():
            return False
        means, noise = self._stretches, np.std(self._returns) / math.sqrt(self._width)
        return bool(max(means.max() - means[0], means[0] - means[-1]) <= 5 * noise)

    def is_stuck(self) -> bool:
        """Whether a policy without entropy has nothing to show for it."""
        return self.entropy_left() <= COLLAPSED and self.is_flat()

    def is_a_density(self) -> bool:
        """Whether the entropy can only be that of continuous actions."""
        return bool((self.columns["entropy"] < 0).any())

    def clips_nothing(self) -> bool:
        """Whether the clip range has no part in the objective."""
        return self.config.objective != "clipped"

    def targets_stand_still(self) -> bool:
        """Whether the value's targets vary not at all, or far less than they did.

        Their variance follows from the explained variance 1 - Var(target - V) / Var(target) and the value
        loss, which is nearly Var(target - V).
        """
        explained = self.columns["explained_variance"]
        if len(_known(explained[self.lately])) == 0:
            return True
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = self.columns["value_loss"] / (1 - explained)
        late = _statistic(np.median, variance[self.lately])
        return bool(late < 1e-3 * _statistic(partial(np.percentile, q=95), variance))

    def has_diverged(self) -> bool:
        """Whether numbers are missing that a training always has."""
        return self.nonfinite() > 0

    def stops_early(self) -> bool:
        """Whether epochs were left out."""
        return bool((self.columns["num_epochs"] < self.config.num_epochs).any())

    @property
    def _returns(self) -> np.ndarray:
        return _known(self.columns["episode_return"])

    @property
    def _width(self) -> int:
        """Updates in a stretch: few enough that a short training has several."""
        return max(1, min(LATELY, len(self._returns) // 3))

    @property
    def _stretches(self) -> np.ndarray:
        """The mean return of every stretch of updates in which episodes ended."""
        if self.has_no_episodes():
            return self._returns
        return sliding_window_view(self._returns, self._width).mean(axis=-1)


def _count(updates: np.ndarray) -> str:
    return "the only update" if len(updates) == 1 else f"the last {len(updates)} updates"


def _known(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def _statistic(function: Callable, values: np.ndarray) -> float:
    """Returns a statistic of what is known, NaN if nothing is."""
    known = _known(values)
    return float(function(known)) if len(known) else math.nan
