"""Which values of a diagnostic are healthy, what the others mean, and what to try.

Rules of thumb of practice, not of the paper: a table of them, at the end.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ppo_jax.config import Config
from ppo_jax.host.diagnosis.history import COLLAPSED, Columns, History

HEALTHY, LOOK, BAD, UNKNOWN = VERDICTS = ("healthy", "look", "bad", "unknown")
STANDSTILL = 1e-3  # nats of KL that hardly change a policy
INF = math.inf


class Band(NamedTuple):
    """The healthy range of a diagnostic.

    Attributes:
        low: Lower end.
        high: Upper end.
    """

    low: float
    high: float

    def verdict(self, value: float) -> str:
        """Says where a value lies: "low", "healthy" or "high"."""
        if value < self.low:
            return "low"
        return "high" if value > self.high else "healthy"


# Below its band the step hardly moves the policy; above, much of each batch has stopped contributing
# gradients.
CLIP_FRACTION = Band(0.05, 0.30)


class Reading(NamedTuple):
    """What a diagnostic says about a training, in plain words.

    Attributes:
        value: What was measured, and over which updates.
        verdict: One of VERDICTS.
        meaning: The rest of the sentence.
        advice: What to try, as the rest of "Try ..."; empty if nothing.
    """

    value: str
    verdict: str
    meaning: str
    advice: str


class Level(NamedTuple):
    """What a measured value means.

    Attributes:
        limit: Highest value this is said of.
        verdict: See `Reading`, as for the others.
        meaning: In words.
        advice: Flags by their names on the command line.
    """

    limit: float
    verdict: str
    meaning: str
    advice: str = ""


def _always(history: History) -> bool:
    return True


class Rule(NamedTuple):
    """How one diagnostic is read.

    Attributes:
        metric: The diagnostic.
        value: What was measured in words: a format of `value` and of `History.words`.
        measure: Makes one number of a history.
        levels: What that number means: the first level whose limit it does not exceed.
        applies: Whether to read this history so; of a metric's rules the first that applies counts.
    """

    metric: str
    value: str
    measure: Callable[[History], float]
    levels: tuple[Level, ...]
    applies: Callable[[History], bool] = _always


def read(columns: Columns, config: Config) -> dict[str, Reading]:
    """Reads the diagnostics of a training.

    Args:
        columns: Its metrics, [U] each, NaN where there was no value.
        config: Of the training.

    Returns:
        Readings by metric, in the order of RULES; without those that a run of an older version lacks.
    """
    history = History(columns, config)
    rules: dict[str, Rule] = {}
    for rule in RULES:
        if rule.metric in columns and rule.metric not in rules and rule.applies(history):
            rules[rule.metric] = rule
    return {metric: _apply(rule, history) for metric, rule in rules.items()}


def _apply(rule: Rule, history: History) -> Reading:
    measured = rule.measure(history)
    if not math.isfinite(measured):
        return Reading("no value", UNKNOWN, "there was nothing to measure", "")
    level = next(level for level in rule.levels if measured <= level.limit)
    value = rule.value.format(value=measured, **history.words)
    return Reading(value, level.verdict, level.meaning, level.advice)


def _clips_without_moving(history: History) -> bool:
    is_high = history.mean_in_earnest("clip_fraction") > CLIP_FRACTION.high
    return is_high and history.mean_in_earnest("approx_kl") < STANDSTILL


# The table

_CLIP = "{value:.2f} over {in_earnest}"
_KL = "{value:.2g} nats over {in_earnest}"
_SMALLER_STEP = "a lower --learning-rate, fewer --num-epochs, or more environments per batch (--num-envs)"

RULES = (
    *(
        Rule(
            metric,
            "not judged",
            History.nonfinite,
            (Level(INF, UNKNOWN, "the training has diverged, see the value loss"),),
            History.has_diverged,
        )
        for metric in ("clip_fraction", "entropy", "approx_kl", "explained_variance")
    ),
    Rule(
        "return_window",
        "{value:.0f} episodes",
        partial(History.total, metric="episodes"),
        (
            Level(
                INF,
                LOOK,
                "no episode has ended yet, so there is no return to judge",
                "a larger --num-steps or --total-timesteps",
            ),
        ),
        History.has_no_episodes,
    ),
    Rule(
        "return_window",
        "{value:.4g} of late",
        History.return_lately,
        (Level(INF, UNKNOWN, "too few updates to tell a trend from noise"),),
        History.is_short,
    ),
    Rule(
        "return_window",
        "{value:.4g} of late",
        History.return_lately,
        (Level(INF, HEALTHY, "the last 100 episodes reach the mark at which the task counts as solved"),),
        History.is_solved,
    ),
    Rule(
        "return_window",
        "{value:.4g} of late",
        History.return_lately,
        (
            Level(
                INF,
                LOOK,
                "no better than at the start, which is fine only if it was good then",
                "a larger --total-timesteps; then whatever the other diagnostics say; then a larger "
                "--entropy-coefficient, in case good rewards are never met",
            ),
        ),
        History.is_flat,
    ),
    Rule(
        "return_window",
        "{value:.0%} of what had been gained is still there",
        History.return_kept,
        (
            Level(0.5, BAD, "the policy has forgotten most of what it had learned", _SMALLER_STEP),
            Level(
                0.85,
                LOOK,
                "the return has risen, and then fallen; some of that is noise",
                "--learning-rate-schedule linear, or a lower --learning-rate",
            ),
            Level(INF, HEALTHY, "the return has risen, and is at or near its best"),
        ),
    ),
    Rule(
        "clip_fraction",
        _CLIP,
        partial(History.mean_in_earnest, metric="clip_fraction"),
        (Level(INF, UNKNOWN, "this objective clips nothing; the KL says how large the steps are"),),
        History.clips_nothing,
    ),
    Rule(
        "clip_fraction",
        _CLIP,
        partial(History.mean_in_earnest, metric="clip_fraction"),
        (
            Level(
                INF,
                BAD,
                "many samples hit the limit although the policy hardly moves: the clip range is too narrow",
                "a larger --clip-epsilon, such as 0.2",
            ),
        ),
        _clips_without_moving,
    ),
    Rule(
        "clip_fraction",
        _CLIP,
        partial(History.mean_in_earnest, metric="clip_fraction"),
        (
            Level(
                math.nextafter(CLIP_FRACTION.low, 0),  # the band includes its ends
                LOOK,
                "the steps hardly move the policy; as it should be once there is nothing left to learn, "
                "and a waste of samples before",
                "a higher --learning-rate or more --num-epochs",
            ),
            Level(
                CLIP_FRACTION.high,
                HEALTHY,
                "the share of samples that reach the limit of the step is as it should be",
            ),
            Level(0.4, LOOK, "the steps are rather large", "a lower --learning-rate or fewer --num-epochs"),
            Level(
                INF,
                BAD,
                "the step is too large: much of each batch has stopped contributing gradients",
                _SMALLER_STEP,
            ),
        ),
    ),
    Rule(
        "entropy",
        "{value:.1%} of its highest value over {lately}",
        History.entropy_left,
        (
            Level(
                INF,
                BAD,
                "the policy always does the same, and its return has not risen: nothing new is tried, so "
                "nothing can be learned any more",
                "a lower --learning-rate, or a larger --entropy-coefficient such as 0.01",
            ),
        ),
        History.is_stuck,
    ),
    Rule(
        "entropy",
        "{value:.2f} nats less than at its highest, over {lately}",
        History.entropy_lost,
        (
            Level(
                INF,
                UNKNOWN,
                "the entropy of a density has no lowest value to compare with; it should fall steadily "
                "while the return rises",
            ),
        ),
        History.is_a_density,
    ),
    Rule(
        "entropy",
        "{value:.1%} of its highest value over {lately}",
        History.entropy_left,
        (
            Level(
                COLLAPSED,
                LOOK,
                "the policy is all but deterministic: fine where the task is mastered, else too early, as "
                "nothing new is tried",
                "a larger --entropy-coefficient such as 0.01, or a lower --learning-rate",
            ),
            Level(0.95, HEALTHY, "the policy has become more decided, and still tries other actions"),
            Level(
                INF,
                LOOK,
                "the policy is as undecided as ever: as at the beginning of any training, but not at its end",
                "a larger --total-timesteps, a higher --learning-rate, or a smaller --entropy-coefficient",
            ),
        ),
    ),
    Rule(
        "approx_kl",
        _KL,
        partial(History.mean_in_earnest, metric="approx_kl"),
        (
            Level(
                1e-6,
                LOOK,
                "the policy does not move at all",
                "a look at the entropy, which may be gone too; else a higher --learning-rate",
            ),
            Level(
                0.02,
                HEALTHY,
                "each update stays near the policy that collected its data; a mean over the gradient steps, "
                "so the last of them is farther",
            ),
            Level(
                0.1,
                LOOK,
                "each update goes far from the policy that collected its data, and farther than this mean "
                "over the gradient steps says",
                "a lower --learning-rate, fewer --num-epochs, or --target-kl 0.02",
            ),
            Level(
                INF,
                BAD,
                "the updates leave the region where the data of the old policy says anything",
                "a much lower --learning-rate, such as a tenth; or --target-kl 0.02",
            ),
        ),
    ),
    Rule(
        "explained_variance",
        "not judged",
        History.nonfinite,
        (
            Level(
                INF,
                UNKNOWN,
                "the value's targets hardly vary, as where every episode is perfect: nothing is left "
                "to explain, and the number has lost its meaning",
            ),
        ),
        History.targets_stand_still,
    ),
    Rule(
        "explained_variance",
        "not judged",
        History.nonfinite,
        (Level(INF, UNKNOWN, "too few updates: a critic begins by knowing nothing"),),
        History.is_short,
    ),
    Rule(
        "explained_variance",
        "{value:.2f}, the median of {lately}",
        partial(History.median_lately, metric="explained_variance"),
        (
            Level(
                0,
                BAD,
                "the critic is no better than a constant, so that advantages are mostly noise",
                "a larger --value-coefficient, more --num-epochs, or --normalize-rewards if they are large",
            ),
            Level(
                0.4,
                LOOK,
                "the critic foresees little, as early in a training, or where rewards are mostly chance",
                "a larger --value-coefficient, or larger --hidden-sizes",
            ),
            Level(INF, HEALTHY, "the critic foresees most of what the returns do; 1 would be all"),
        ),
    ),
    Rule(
        "value_loss",
        "{value:.0f} numbers that are not finite",
        History.nonfinite,
        (
            Level(
                INF,
                BAD,
                "losses, entropy, KL or gradient are NaN or infinite: the training has diverged",
                "a much lower --learning-rate; a --max-grad-norm such as 0.5; --normalize-observations and "
                "--normalize-rewards if their numbers are large",
            ),
        ),
        History.has_diverged,
    ),
    Rule(
        "value_loss",
        "{value:.2g} times its median over the whole training, over {lately}",
        partial(History.growth, metric="value_loss"),
        (
            Level(10, HEALTHY, "it does not run away; its size depends on that of the returns"),
            Level(
                INF,
                LOOK,
                "it has grown, as it does where returns grow; else the critic falls behind",
                "--normalize-rewards, or a lower --learning-rate",
            ),
        ),
    ),
    Rule(
        "grad_norm",
        "the largest is {value:.2g} times the median over {lately}",
        partial(History.spike, metric="grad_norm"),
        (
            Level(
                10, HEALTHY, "no gradient stands out; --max-grad-norm scales down those that are too large"
            ),
            Level(
                INF,
                LOOK,
                "single gradients stand out by far; --max-grad-norm scales them down, but look for rare, "
                "extreme rewards or observations",
                "--normalize-rewards or --normalize-observations",
            ),
        ),
    ),
    Rule(
        "clamp_fraction",
        "at most {value:.2g} of the samples of any update",
        partial(History.highest, metric="clamp_fraction"),
        (
            Level(0, HEALTHY, "no log-ratio had to be held within +-20"),
            Level(
                1e-3,
                LOOK,
                "now and then an update made an action e^20 times more or less probable",
                "a lower --learning-rate",
            ),
            Level(
                INF,
                BAD,
                "updates made actions e^20 times more or less probable: far too large a step",
                "a much lower --learning-rate, such as a tenth",
            ),
        ),
    ),
    Rule(
        "num_epochs",
        "{value:.0%} of the epochs were done over {lately}",
        History.epochs_done,
        (
            Level(
                0.5,
                LOOK,
                "the KL stops most updates early: the step is too large for --target-kl",
                "a lower --learning-rate or fewer --num-epochs, which also saves time",
            ),
            Level(INF, HEALTHY, "the KL stops an update now and then, as --target-kl is there to do"),
        ),
        History.stops_early,
    ),
    Rule(
        "dead_ends",
        "{value:.0f} states",
        partial(History.total, metric="dead_ends"),
        (
            Level(0, HEALTHY, "the environment always allowed some action"),
            Level(INF, BAD, "the environment allowed no action at all there", "correcting its legal_actions"),
        ),
    ),
    *(
        Rule(
            f"nonfinite_{what}",
            "{value:.0f} numbers",
            partial(History.total, metric=f"nonfinite_{what}"),
            (
                Level(0, HEALTHY, f"all {what} were finite"),
                Level(
                    INF,
                    BAD,
                    f"the environment gave {what} that are NaN or infinite",
                    "correcting the environment",
                ),
            ),
        )
        for what in ("observations", "rewards")
    ),
)
