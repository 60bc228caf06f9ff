"""The table of rules: which values of a diagnostic are healthy, what the others mean, and what to try.

These are rules of thumb from practice, not from the paper.
"""

import math
from typing import NamedTuple

from ppo_jax.host.diagnosis.history import COLLAPSED
from ppo_jax.host.diagnosis.verdicts import BAD, CLIP_FRACTION, HEALTHY, LOOK, UNKNOWN

INF = math.inf


class Measure(NamedTuple):
    """A number and how it is worded.

    Attributes:
        number: A field of `history.Numbers`.
        words: A format string with `value`, the number, and with `recent` or `before_decay`, the names of
            the updates over which it was measured.
    """

    number: str
    words: str


class Rule(NamedTuple):
    """A row of the table: what a diagnostic says in one case.

    Attributes:
        measure: The number to look at.
        when: The case: a field of `history.Facts` that has to be true, or the highest value of the number.
        verdict: One of `verdicts.VERDICTS`.
        meaning: The meaning of this case, in words.
        advice: The advice, with flags by their names on the command line; empty if there is none.
    """

    measure: Measure
    when: str | float
    verdict: str
    meaning: str
    advice: str = ""


_RETURN = Measure("recent_return", "{value:.4g} recently")
_GAIN = Measure("return_kept", "{value:.0%} of the gain in return is still there")
_EPISODES = Measure("episodes", "{value:.0f} episodes")
_CLIP = Measure("clip_fraction", "{value:.2f} over {before_decay}")
_ENTROPY = Measure("entropy_left", "{value:.1%} of its highest value over {recent}")
_DENSITY = Measure("entropy_lost", "{value:.2f} nats below its highest value, over {recent}")
_KL = Measure("approx_kl", "{value:.2g} nats over {before_decay}")
_EXPLAINED = Measure("explained_variance", "{value:.2f}, the median of {recent}")
_GROWTH = Measure("value_loss_growth", "the median of {recent} is {value:.2g} times that of the whole run")
_SPIKE = Measure("grad_norm_spike", "the largest is {value:.2g} times the median over {recent}")
_CLAMPED = Measure("clamp_fraction", "at most {value:.2g} of the samples of any update")
_EPOCHS = Measure("epochs_done", "{value:.0%} of the epochs were done over {recent}")
_DEAD_ENDS = Measure("dead_ends", "{value:.0f} states")
_BAD_OBSERVATIONS = Measure("nonfinite_observations", "{value:.0f} numbers")
_BAD_REWARDS = Measure("nonfinite_rewards", "{value:.0f} numbers")
_REPEATED = Measure("repeated_starts", "{value:.1%} of the episodes")
_NOT_FINITE = Measure("not_finite", "{value:.0f} numbers that are not finite")
_NOT_JUDGED = Measure("not_finite", "not judged")

_BELOW_CLIP_BAND = math.nextafter(CLIP_FRACTION.low, 0)  # the band includes its ends
_SMALLER_STEP = "a lower --learning-rate, fewer --num-epochs, or more environments per batch (--num-envs)"

_DIVERGED = Rule(_NOT_JUDGED, "has_diverged", UNKNOWN, "the run has diverged; see the value loss")

# The first rule of a metric that applies is used. A metric to which none applies has no reading.
RULES: dict[str, tuple[Rule, ...]] = {
    "return_window": (
        Rule(
            _EPISODES,
            "has_no_episodes",
            LOOK,
            "no episode has ended yet, so there is no return to judge",
            "a larger --num-steps or --total-timesteps",
        ),
        Rule(_RETURN, "is_short", UNKNOWN, "too few updates to tell a trend from noise"),
        Rule(
            _RETURN,
            "is_solved",
            HEALTHY,
            "the last 100 episodes reach the return at which the task counts as solved",
        ),
        Rule(
            _RETURN,
            "is_flat",
            LOOK,
            "no better than at the start, which is fine only if the policy was good from the start",
            "a larger --total-timesteps; then the advice of the other diagnostics; then a larger "
            "--entropy-coefficient, in case good rewards are never found",
        ),
        Rule(_GAIN, 0.5, BAD, "the policy has forgotten most of what it had learned", _SMALLER_STEP),
        Rule(
            _GAIN,
            0.85,
            LOOK,
            "the return rose and then fell; some of that is noise",
            "--learning-rate-schedule linear, or a lower --learning-rate",
        ),
        Rule(_GAIN, INF, HEALTHY, "the return has risen and is at or near its best"),
    ),
    "clip_fraction": (
        _DIVERGED,
        Rule(
            _CLIP,
            "clips_nothing",
            UNKNOWN,
            "this objective does not clip; the KL says how large the steps are",
        ),
        Rule(
            _CLIP,
            "clips_without_moving",
            BAD,
            "many samples are clipped although the policy hardly moves: the clip range is too narrow",
            "a larger --clip-epsilon, such as 0.2",
        ),
        Rule(
            _CLIP,
            _BELOW_CLIP_BAND,
            LOOK,
            "the steps hardly move the policy, which is right once there is nothing left to learn, but "
            "wastes samples before that",
            "a higher --learning-rate or more --num-epochs",
        ),
        Rule(
            _CLIP,
            CLIP_FRACTION.high,
            HEALTHY,
            "the share of samples that are clipped is as it should be",
        ),
        Rule(_CLIP, 0.4, LOOK, "the steps are rather large", "a lower --learning-rate or fewer --num-epochs"),
        Rule(
            _CLIP,
            INF,
            BAD,
            "the steps are too large: much of each batch has stopped contributing gradients",
            _SMALLER_STEP,
        ),
    ),
    "entropy": (
        _DIVERGED,
        Rule(
            _ENTROPY,
            "is_stuck",
            BAD,
            "the policy always does the same thing, and its return has not risen: it tries nothing new, so "
            "it cannot learn any more",
            "a lower --learning-rate, or a larger --entropy-coefficient such as 0.01",
        ),
        Rule(
            _DENSITY,
            "has_density",
            UNKNOWN,
            "the entropy of continuous actions has no lowest value to compare with; it should fall steadily "
            "while the return rises",
        ),
        Rule(
            _ENTROPY,
            COLLAPSED,
            LOOK,
            "the policy is almost deterministic, which is fine if it has mastered the task; otherwise it is "
            "too early, because the policy tries nothing new",
            "a larger --entropy-coefficient such as 0.01, or a lower --learning-rate",
        ),
        Rule(_ENTROPY, 0.95, HEALTHY, "the policy has become less random and still tries other actions"),
        Rule(
            _ENTROPY,
            INF,
            LOOK,
            "the policy is as random as at the start, which is normal early in a run but not at its end",
            "a larger --total-timesteps, a higher --learning-rate, or a smaller --entropy-coefficient",
        ),
    ),
    "approx_kl": (
        _DIVERGED,
        Rule(
            _KL,
            1e-6,
            LOOK,
            "the policy does not move at all",
            "checking the entropy, which may have vanished too; otherwise a higher --learning-rate",
        ),
        Rule(
            _KL,
            0.02,
            HEALTHY,
            "each update stays near the policy that collected its data; this is a mean over the gradient "
            "steps, so the update ends farther away",
        ),
        Rule(
            _KL,
            0.1,
            LOOK,
            "each update moves far from the policy that collected its data; this is a mean over the gradient "
            "steps, so the update ends even farther away",
            "a lower --learning-rate, fewer --num-epochs, or --target-kl 0.02",
        ),
        Rule(
            _KL,
            INF,
            BAD,
            "the updates move so far that the data of the old policy says nothing about the new one",
            "a much lower --learning-rate, such as a tenth of it; or --target-kl 0.02",
        ),
    ),
    "explained_variance": (
        _DIVERGED,
        Rule(
            _NOT_JUDGED,
            "explains_nothing",
            UNKNOWN,
            "the value's targets hardly vary, for instance because every episode is perfect: there is "
            "nothing to explain, and the number has no meaning",
        ),
        Rule(_NOT_JUDGED, "is_short", UNKNOWN, "too few updates: at the start the critic knows nothing"),
        Rule(
            _EXPLAINED,
            0,
            BAD,
            "the critic is no better than a constant, so the advantages are mostly noise",
            "a larger --value-coefficient, more --num-epochs, or --normalize-rewards if rewards are large",
        ),
        Rule(
            _EXPLAINED,
            0.4,
            LOOK,
            "the critic predicts little, which is normal early in a run, or if rewards are mostly chance",
            "a larger --value-coefficient, or larger --hidden-sizes",
        ),
        Rule(
            _EXPLAINED, INF, HEALTHY, "the critic predicts most of how the returns vary; 1 would be all of it"
        ),
    ),
    "value_loss": (
        Rule(
            _NOT_FINITE,
            "has_diverged",
            BAD,
            "losses, entropy, KL or gradient are NaN or infinite: the run has diverged",
            "a much lower --learning-rate; a --max-grad-norm such as 0.5; --normalize-observations and "
            "--normalize-rewards if observations and rewards are large",
        ),
        Rule(_GROWTH, 10, HEALTHY, "it is under control; its size depends on the size of the returns"),
        Rule(
            _GROWTH,
            INF,
            LOOK,
            "it has grown, which is normal while returns grow; otherwise the critic is falling behind",
            "--normalize-rewards, or a lower --learning-rate",
        ),
    ),
    "grad_norm": (
        Rule(
            _SPIKE,
            10,
            HEALTHY,
            "no gradient stands out; --max-grad-norm scales down those that are too large",
        ),
        Rule(
            _SPIKE,
            INF,
            LOOK,
            "a few gradients are far larger than the others; --max-grad-norm scales them down, but look for "
            "rare, extreme rewards or observations",
            "--normalize-rewards or --normalize-observations",
        ),
    ),
    "clamp_fraction": (
        Rule(_CLAMPED, 0, HEALTHY, "no log-ratio had to be clamped to +-20"),
        Rule(
            _CLAMPED,
            1e-3,
            LOOK,
            "now and then an update made an action e^20 times more or less probable",
            "a lower --learning-rate",
        ),
        Rule(
            _CLAMPED,
            INF,
            BAD,
            "updates made actions e^20 times more or less probable: the steps are far too large",
            "a much lower --learning-rate, such as a tenth of it",
        ),
    ),
    "num_epochs": (
        Rule(
            _EPOCHS,
            0.5,
            LOOK,
            "the KL ends most updates early: the steps are too large for --target-kl",
            "a lower --learning-rate or fewer --num-epochs, which also saves time",
        ),
        Rule(
            _EPOCHS,
            "stops_early",
            HEALTHY,
            "the KL ends an update early now and then, which is what --target-kl is for",
        ),
    ),
    "dead_ends": (
        Rule(_DEAD_ENDS, 0, HEALTHY, "the environment always allowed at least one action"),
        Rule(
            _DEAD_ENDS,
            INF,
            BAD,
            "the environment allowed no action at all in these states",
            "correcting its legal_actions",
        ),
    ),
    "nonfinite_observations": (
        Rule(_BAD_OBSERVATIONS, 0, HEALTHY, "all observations were finite"),
        Rule(
            _BAD_OBSERVATIONS,
            INF,
            BAD,
            "the environment returned observations that are NaN or infinite",
            "correcting the environment",
        ),
    ),
    "repeated_starts": (
        Rule(_REPEATED, 0, HEALTHY, "the pool of first states was always large enough"),
        Rule(
            _REPEATED,
            INF,
            LOOK,
            "these episodes began in the same first state as another episode of the same rollout",
            "a larger reset_pool of the environment",
        ),
    ),
    "nonfinite_rewards": (
        Rule(_BAD_REWARDS, 0, HEALTHY, "all rewards were finite"),
        Rule(
            _BAD_REWARDS,
            INF,
            BAD,
            "the environment returned rewards that are NaN or infinite",
            "correcting the environment",
        ),
    ),
}
