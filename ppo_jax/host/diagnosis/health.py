"""Reads the diagnostics of a run: finds the rule that applies to each, and puts it into words."""

import math
from typing import NamedTuple

from ppo_jax.config import Config
from ppo_jax.host.diagnosis.history import Columns, History, summarize
from ppo_jax.host.diagnosis.rules import RULES, Rule
from ppo_jax.host.diagnosis.verdicts import CLIP_FRACTION, UNKNOWN

__all__ = ["CLIP_FRACTION", "Reading", "read"]


class Reading(NamedTuple):
    """The reading of one diagnostic of a run.

    Attributes:
        value: The measured value, and the updates over which it was measured, in words.
        verdict: One of `verdicts.VERDICTS`.
        meaning: The meaning of the value, as the rest of the sentence.
        advice: The advice, as the rest of "Try ..."; empty if there is none.
    """

    value: str
    verdict: str
    meaning: str
    advice: str


def read(columns: Columns, config: Config) -> dict[str, Reading]:
    """Reads the diagnostics of a run.

    Args:
        columns: The metrics, [U] each, NaN where there was no value.
        config: The configuration of the run.

    Returns:
        The readings by metric, in the order of RULES, without metrics that a run of an older version lacks.
    """
    history = summarize(columns, config)

    def applies(rule: Rule) -> bool:
        if isinstance(rule.when, str):
            return getattr(history.facts, rule.when)
        return not getattr(history.numbers, rule.measure.number) > rule.when  # in this form, NaN applies too

    chosen = {metric: next(filter(applies, rules), None) for metric, rules in RULES.items()}
    return {metric: _word(rule, history) for metric, rule in chosen.items() if rule and metric in columns}


def _word(rule: Rule, history: History) -> Reading:
    value = getattr(history.numbers, rule.measure.number)
    if not math.isfinite(value):
        return Reading(value="no value", verdict=UNKNOWN, meaning="there was nothing to measure", advice="")
    words = {"value": value, "recent": history.recent, "before_decay": history.before_decay}
    return Reading(
        value=rule.measure.words.format(**words),
        verdict=rule.verdict,
        meaning=rule.meaning,
        advice=rule.advice,
    )
