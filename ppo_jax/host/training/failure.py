"""Finds what can go wrong while training: numbers that are NaN or infinite, and bugs in the environment."""

from typing import NamedTuple

from ppo_jax.host.diagnosis.history import ALWAYS_FINITE
from ppo_jax.host.runs.records import Record

# The arrays of a state that the environment alone decides.
OF_THE_ENVIRONMENT = (
    *("collector/environment", "collector/observation"),
    *("collector/statistics", "collector/reward_scaler"),
)


class Failure(NamedTuple):
    """The first thing that went wrong.

    Attributes:
        update: The update in which it went wrong.
        text: The failure in words, and the advice.
        is_nonfinite: Whether a number is NaN or infinite.
    """

    update: int
    text: str
    is_nonfinite: bool


def find(records: list[Record], nonfinite: list[str]) -> Failure | None:
    """Returns the first failure in a chunk: it looks at the records in order, then at the state after them.

    Args:
        records: The records of the chunk.
        nonfinite: The paths of the arrays in the state that contain NaN or an infinity.
    """
    failures = (_in_record(record) for record in records)
    return next(filter(None, failures), None) or in_state(nonfinite, records[-1]["update"])


def in_state(nonfinite: list[str], update: int) -> Failure | None:
    """Returns a failure if the state contains NaN or an infinity, which records show only one update later.

    Args:
        nonfinite: The paths of the arrays in the state that contain NaN or an infinity.
        update: Updates done.
    """
    if not nonfinite:
        return None
    # Arrays of the environment come first, although the learner is listed before them: they break it.
    name = min(nonfinite, key=lambda path: not path.startswith(OF_THE_ENVIRONMENT))
    if name.startswith(OF_THE_ENVIRONMENT):
        text = _misbehaved(f"{name} is NaN or infinite", update)
    else:
        text = _diverged(name, update)
    return Failure(update, text, is_nonfinite=True)


def _in_record(record: Record) -> Failure | None:
    """Returns the failure that a record shows, if any; it looks for causes before their consequences."""
    update = record["update"]
    if count := record["nonfinite_observations"]:
        what = f"{count} numbers in observations are NaN or infinite"
        return Failure(update, _misbehaved(what, update), is_nonfinite=True)
    if count := record["nonfinite_rewards"]:
        return Failure(update, _misbehaved(f"{count} rewards are NaN or infinite", update), is_nonfinite=True)
    if missing := [name for name in ALWAYS_FINITE if record[name] is None]:
        return Failure(update, _diverged(missing[0], update), is_nonfinite=True)
    if count := record["dead_ends"]:
        text = (
            f"error in the environment: it allowed no action in {count} of the states of update {update}; "
            "correct its legal_actions"
        )
        return Failure(update, text, is_nonfinite=False)
    return None


def _misbehaved(what: str, update: int) -> str:
    return f"error in the environment: {what} at update {update}; correct its reset or step"


def _diverged(name: str, update: int) -> str:
    return f"diverged: {name} is not finite at update {update}; lower --learning-rate or --max-grad-norm"
