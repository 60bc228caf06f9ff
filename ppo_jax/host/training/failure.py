"""What can go wrong in a training: numbers that are NaN or infinite, and errors of the environment."""

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
        text: What went wrong, and what to do.
        is_nonfinite: Whether a number is NaN or infinite.
    """

    update: int
    text: str
    is_nonfinite: bool


def find(records: list[Record], nonfinite: list[str]) -> Failure | None:
    """Looks through a chunk: the records in their order, then the state that it led to.

    Args:
        records: The records of the chunk.
        nonfinite: The paths of the arrays in the state that are NaN or infinite somewhere.
    """
    failures = (_in_record(record) for record in records)
    return next(filter(None, failures), None) or in_state(nonfinite, records[-1]["update"])


def in_state(nonfinite: list[str], update: int) -> Failure | None:
    """Finds what no record shows yet: had it been there one update earlier, the losses would show it.

    Args:
        nonfinite: The paths of the arrays in the state that are NaN or infinite somewhere.
        update: Updates done.
    """
    if not nonfinite:
        return None
    # What the environment decides comes first: it breaks the learner, and the learner is listed before it.
    name = min(nonfinite, key=lambda path: not path.startswith(OF_THE_ENVIRONMENT))
    if name.startswith(OF_THE_ENVIRONMENT):
        text = _misbehaved(f"{name} is NaN or infinite", update)
    else:
        text = _diverged(name, update)
    return Failure(update, text, is_nonfinite=True)


def _in_record(record: Record) -> Failure | None:
    """Looks for causes before their consequences."""
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
            f"error of the environment: it allowed no action in {count} of the states of update {update}; "
            "correct its legal_actions"
        )
        return Failure(update, text, is_nonfinite=False)
    return None


def _misbehaved(what: str, update: int) -> str:
    return f"error of the environment: {what} at update {update}; correct its reset or step"


def _diverged(name: str, update: int) -> str:
    return f"diverged: {name} is not finite at update {update}; lower --learning-rate or --max-grad-norm"
