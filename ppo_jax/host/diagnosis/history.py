"""Sums up the metrics of one run in a few numbers and facts, from which its health is read."""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.host.diagnosis.verdicts import CLIP_FRACTION

ALWAYS_FINITE = ("policy_loss", "value_loss", "entropy", "approx_kl", "grad_norm")
RECENT = 30  # updates
FEW = 10  # updates with finished episodes: too few to tell a trend from noise
COLLAPSED = 0.05  # share of the highest entropy at which a policy counts as deterministic
STANDSTILL = 1e-3  # nats; a smaller KL hardly changes a policy
_EVERY = slice(None)
_TINY = float(np.finfo(float).tiny)  # in place of a divisor of 0

Columns = Mapping[str, np.ndarray]


class Numbers(NamedTuple):
    """Measurements of one run without its non-finite values; NaN where there was nothing to measure.

    "Recent" means the last 30 updates. "Before the decay" means the last 30 updates whose learning rate was
    at least half of its highest value: at the end of a schedule no policy moves much, which says nothing
    about the steps before. If the learning rate is adaptive, it means the same as "recent".

    Attributes:
        recent_return: The mean return of the last stretch of updates.
        return_kept: The share of the gain in return, from the worst stretch to the best, that is left.
        episodes: The number of episodes that ended.
        clip_fraction: The mean before the decay.
        approx_kl: The mean before the decay, in nats.
        entropy_left: The recent mean as a share of the highest value.
        entropy_lost: The distance of the recent mean below the highest value, in nats.
        explained_variance: The recent median.
        value_loss_growth: The recent median as a multiple of the median of the whole run.
        grad_norm_spike: The largest recent value as a multiple of the recent median.
        clamp_fraction: The highest value.
        epochs_done: The recent share of the epochs that were not skipped.
        dead_ends: The total of the run.
        nonfinite_observations: The total of the run.
        nonfinite_rewards: The total of the run.
        not_finite: The number of values of the metrics in ALWAYS_FINITE that are NaN or infinite.
        repeated_starts: The share of the episodes that began in a used state of the pool.
    """

    recent_return: float
    return_kept: float
    episodes: float
    clip_fraction: float
    approx_kl: float
    entropy_left: float
    entropy_lost: float
    explained_variance: float
    value_loss_growth: float
    grad_norm_spike: float
    clamp_fraction: float
    epochs_done: float
    dead_ends: float
    nonfinite_observations: float
    nonfinite_rewards: float
    not_finite: float
    repeated_starts: float


class Facts(NamedTuple):
    """The facts about one run, each true or false.

    Attributes:
        has_diverged: A metric that is always finite in a healthy run was not finite.
        has_no_episodes: No episode has ended.
        is_short: There are too few updates to tell a trend from noise.
        is_solved: The last 100 episodes reach the return at which the task counts as solved.
        is_flat: The return has neither risen nor fallen since the start by more than its noise.
        is_stuck: The policy is deterministic and its return is flat.
        has_density: The entropy was negative, which only the entropy of continuous actions can be.
        clips_nothing: The objective does not use the clip range.
        clips_without_moving: Many samples are clipped although the updates hardly change the policy.
        explains_nothing: The value's targets hardly vary any more, so there is no variance to explain.
        stops_early: The KL ended at least one update early.
    """

    has_diverged: bool
    has_no_episodes: bool
    is_short: bool
    is_solved: bool
    is_flat: bool
    is_stuck: bool
    has_density: bool
    clips_nothing: bool
    clips_without_moving: bool
    explains_nothing: bool
    stops_early: bool


class History(NamedTuple):
    """One run summed up.

    Attributes:
        numbers: The measurements.
        facts: The facts.
        recent: The name of the recent updates in a sentence, such as "the last 30 updates".
        before_decay: The name of the updates before the decay.
    """

    numbers: Numbers
    facts: Facts
    recent: str
    before_decay: str


def summarize(columns: Columns, config: Config) -> History:
    """Sums up the metrics of a run.

    Args:
        columns: The metrics, an array [U] for each, NaN where there was no value. Runs of older versions may
            lack some.
        config: The configuration of the run.
    """
    rates = columns["learning_rate"]
    is_fast = np.full(len(rates), True) if config.adapts_learning_rate else rates >= rates.max() / 2
    recent, before_decay = np.arange(len(rates))[-RECENT:], np.flatnonzero(is_fast)[-RECENT:]

    def name(updates: np.ndarray) -> str:
        return "the only update" if len(updates) == 1 else f"the last {len(updates)} updates"

    decayed = "" if np.array_equal(recent, before_decay) else " before the learning rate had halved"
    numbers = _measure(columns, config, recent, before_decay)
    return History(
        numbers=numbers,
        facts=_find_facts(columns, config, recent, numbers),
        recent=name(recent),
        before_decay=f"{name(before_decay)}{decayed}",
    )


def _measure(columns: Columns, config: Config, recent: np.ndarray, before_decay: np.ndarray) -> Numbers:
    def statistic(function: Callable, metric: str, updates: np.ndarray | slice = _EVERY) -> float:
        values = _finite(columns[metric][updates]) if metric in columns else ()
        return float(function(values)) if len(values) else math.nan

    means = _stretch_means(_finite(columns["episode_return"]))
    value_loss = statistic(np.median, "value_loss", recent)
    largest_norm = statistic(np.max, "grad_norm", recent)
    entropy, highest_entropy = statistic(np.mean, "entropy", recent), statistic(np.max, "entropy")
    return Numbers(
        recent_return=float(means[-1]),
        return_kept=1 - float((means.max() - means[-1]) / max(np.ptp(means), _TINY)),
        episodes=statistic(np.sum, "episodes"),
        clip_fraction=statistic(np.mean, "clip_fraction", before_decay),
        approx_kl=statistic(np.mean, "approx_kl", before_decay),
        entropy_left=entropy / max(highest_entropy, _TINY),
        entropy_lost=highest_entropy - entropy,
        explained_variance=statistic(np.median, "explained_variance", recent),
        value_loss_growth=value_loss / max(statistic(np.median, "value_loss"), _TINY),
        grad_norm_spike=largest_norm / max(statistic(np.median, "grad_norm", recent), _TINY),
        clamp_fraction=statistic(np.max, "clamp_fraction"),
        epochs_done=statistic(np.mean, "num_epochs", recent) / config.num_epochs,
        dead_ends=statistic(np.sum, "dead_ends"),
        nonfinite_observations=statistic(np.sum, "nonfinite_observations"),
        nonfinite_rewards=statistic(np.sum, "nonfinite_rewards"),
        not_finite=float(sum(np.sum(~np.isfinite(columns[name])) for name in ALWAYS_FINITE)),
        repeated_starts=statistic(np.sum, "repeated_starts") / max(statistic(np.sum, "episodes"), 1),
    )


def _find_facts(columns: Columns, config: Config, recent: np.ndarray, numbers: Numbers) -> Facts:
    returns = _finite(columns["episode_return"])
    mark = registry.solved_return(config.env, config.env_args)
    is_short = len(returns) < FEW
    is_solved = mark is not None and bool(columns["return_window"][-1] >= mark)
    is_flat = not is_short and not is_solved and _is_within_noise(returns)
    is_clipped = numbers.clip_fraction > CLIP_FRACTION.high
    explained, value_loss = columns["explained_variance"], columns["value_loss"]
    return Facts(
        has_diverged=numbers.not_finite > 0,
        has_no_episodes=len(returns) == 0,
        is_short=is_short,
        is_solved=is_solved,
        is_flat=is_flat,
        is_stuck=is_flat and numbers.entropy_left <= COLLAPSED,
        has_density=bool((columns["entropy"] < 0).any()),
        clips_nothing=config.objective != "clipped",
        clips_without_moving=is_clipped and numbers.approx_kl < STANDSTILL,
        explains_nothing=_has_no_variance(explained, value_loss, recent),
        stops_early="num_epochs" in columns and bool((columns["num_epochs"] < config.num_epochs).any()),
    )


def _is_within_noise(returns: np.ndarray) -> bool:
    """Whether the return has neither risen nor fallen since the first stretch by more than its noise."""
    means = _stretch_means(returns)
    width = len(returns) - len(means) + 1
    noise = np.std(returns) / math.sqrt(width)  # the standard deviation of a stretch's mean
    change = max(means.max() - means[0], means[0] - means[-1])
    # As many as 5 standard deviations, because the maximum is taken over many stretches.
    return bool(change <= 5 * noise)


def _has_no_variance(explained: np.ndarray, value_loss: np.ndarray, recent: np.ndarray) -> bool:
    """Whether the value's targets do not vary at all, or vary far less than they did.

    The variance of the targets follows from the explained variance, 1 - Var(target - V) / Var(target), and
    the value loss, which is nearly Var(target - V).
    """
    if not np.isfinite(explained[recent]).any():
        return True
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = value_loss / (1 - explained)
    usual, now = _finite(variance), _finite(variance[recent])
    return len(now) > 0 and bool(np.median(now) < 1e-3 * np.percentile(usual, 95))


def _stretch_means(returns: np.ndarray) -> np.ndarray:
    """Returns the mean return of every stretch of successive updates; a single NaN if there are no returns.

    A stretch is at most a third of the run, so that even a short run has several.
    """
    if len(returns) == 0:
        return np.array([math.nan])
    width = max(1, min(RECENT, len(returns) // 3))
    return sliding_window_view(returns, width).mean(axis=-1)


def _finite(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]
