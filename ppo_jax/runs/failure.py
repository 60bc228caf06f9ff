"""What goes wrong in a training: numbers that are NaN or infinite, and environments in error."""

from typing import Any, NamedTuple

from ppo_jax.runs import arrays
from ppo_jax.runs.history import ALWAYS_FINITE
from ppo_jax.runs.program import Chunk
from ppo_jax.runs.records import Record

# The leaves of a state that an environment alone decides.
ENVIRONMENTS = (
    *("collector/environment", "collector/observation"),
    *("collector/statistics", "collector/reward_scaler"),
)


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
    return next(filter(None, failures), None) or in_state(chunk.state, chunk.records[-1]["update"])


def in_state(state: Any, update: int) -> Failure | None:
    """Looks for what no record shows yet: had it been there one update earlier, losses would.

    Args:
        state: Of the training.
        update: Updates it has done.
    """
    nonfinite = arrays.nonfinite(arrays.leaves(state))
    if not nonfinite:
        return None
    if nonfinite[0].startswith(ENVIRONMENTS):
        return Failure(update, _misbehaved(f"{nonfinite[0]} is NaN or infinite", update), True)
    return Failure(update, _diverged(nonfinite[0], update), True)


def _in_record(record: Record) -> Failure | None:
    """Looks for causes before their consequences."""
    update = record["update"]
    if record["nonfinite_observations"]:
        what = f"{record['nonfinite_observations']} numbers in observations are NaN or infinite"
        return Failure(update, _misbehaved(what, update), True)
    if record["nonfinite_rewards"]:
        what = f"{record['nonfinite_rewards']} rewards are NaN or infinite"
        return Failure(update, _misbehaved(what, update), True)
    if nonfinite := [name for name in ALWAYS_FINITE if record[name] is None]:
        return Failure(update, _diverged(nonfinite[0], update), True)
    if record["dead_ends"]:
        text = (
            f"error of the environment: it allowed no action in {record['dead_ends']} of the states of "
            f"update {update}; correct its legal_actions"
        )
        return Failure(update, text, False)
    return None


def _misbehaved(what: str, update: int) -> str:
    return f"error of the environment: {what} at update {update}; correct its reset or step"


def _diverged(name: str, update: int) -> str:
    return f"diverged: {name} is not finite at update {update}; lower --learning-rate or --max-grad-norm"
