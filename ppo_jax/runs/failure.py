"""What goes wrong in a training: numbers that are NaN or infinite, and environments in error."""

from typing import NamedTuple

from ppo_jax.runs import arrays
from ppo_jax.runs.history import ALWAYS_FINITE
from ppo_jax.runs.program import Chunk
from ppo_jax.runs.records import Record


class Failure(NamedTuple):
    """The first thing that went wrong.

    Attributes:
        update: In which update.
        text: What, and what to do.
        is_nonfinite: Whether a number is NaN or infinite.
    """

    update: int
    text: str
    is_nonfinite: bool


def find(chunk: Chunk) -> Failure | None:
    """Looks through a chunk: records in their order, then the state it led to."""
    failures = (_in_record(record) for record in chunk.records)
    return next(filter(None, failures), None) or _in_state(chunk)


def _in_record(record: Record) -> Failure | None:
    """Looks for causes before their consequences."""
    update = record["update"]
    if record["nonfinite_observations"]:
        text = f"{record['nonfinite_observations']} numbers in observations are NaN or infinite"
        return Failure(update, f"error of the environment: {text} at update {update}; correct its step", True)
    if record["nonfinite_rewards"]:
        text = f"{record['nonfinite_rewards']} rewards are NaN or infinite"
        return Failure(update, f"error of the environment: {text} at update {update}; correct its step", True)
    if nonfinite := [name for name in ALWAYS_FINITE if record[name] is None]:
        return Failure(update, _diverged(nonfinite, update), True)
    if record["dead_ends"]:
        text = (
            f"error of the environment: it allowed no action in {record['dead_ends']} of the states of "
            f"update {update}; correct its legal_actions"
        )
        return Failure(update, text, False)
    return None


def _in_state(chunk: Chunk) -> Failure | None:
    """Looks for what no record shows yet: had it been there one update earlier, losses would."""
    nonfinite = arrays.nonfinite(arrays.leaves(chunk.state))
    update = chunk.records[-1]["update"]
    return Failure(update, _diverged(nonfinite[:1], update), True) if nonfinite else None


def _diverged(names: list[str], update: int) -> str:
    return (
        f"diverged: {', '.join(names)} is not finite at update {update}; "
        "lower --learning-rate or --max-grad-norm"
    )
