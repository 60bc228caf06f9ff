"""The metrics of a run: one record per update, a dictionary in Python and a line of JSON on disk."""

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import orjson

from ppo_jax.errors import UsageError
from ppo_jax.host.runs.directory import RunDirectory

Record = dict[str, Any]  # the fields of Metrics, `update` and `seconds`; None where one is not finite


# The fields of a record that every run has, in their order; all others are the environment's own metrics.
STANDARD = (
    *("update", "seconds", "env_steps", "episodes", "episode_return", "episode_length", "return_window"),
    *("dead_ends", "nonfinite_observations", "nonfinite_rewards"),
    *("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "clamp_fraction"),
    *("explained_variance", "grad_norm", "num_epochs"),
    *("learning_rate", "clip_epsilon", "entropy_coefficient", "kl_coefficient"),
)
COUNTS = (
    "episodes",
    "dead_ends",
    "nonfinite_observations",
    "nonfinite_rewards",
    "num_epochs",
    "repeated_starts",
)
REPEATED = "repeated_starts"  # in addition, if the environment has a pool of first states


class Clock(NamedTuple):
    """The time in which a chunk of updates ran. All its updates are assumed to take equally long.

    Attributes:
        first_update: The number of the chunk's first update, counted from 1.
        start: Seconds of training before the chunk.
        end: Seconds of training after the chunk.
    """

    first_update: int
    start: float
    end: float


def from_metrics(metrics: Any, num_updates: int, clock: Clock) -> list[Record]:
    """Turns the metrics of a chunk into records.

    Args:
        metrics: The `Metrics`, arrays [capacity], of which the first `num_updates` rows are used.
        num_updates: The number of updates in the chunk.
        clock: The time in which the chunk ran.

    Returns:
        One record per update.
    """
    columns = {
        "update": np.arange(clock.first_update, clock.first_update + num_updates),
        "seconds": np.linspace(clock.start, clock.end, num_updates + 1)[1:].round(6),
        **{name: column[:num_updates] for name, column in metrics._asdict().items()},
    }
    plain = [_plain(column) for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def from_columns(columns: Mapping[str, np.ndarray], batch_size: int) -> list[Record]:
    """Turns the columns of one member of a sweep into records (see `tables`).

    Args:
        columns: The columns by name, float32 [U].
        batch_size: The environment steps of an update.

    Returns:
        One record per update, as its run alone would have written it.
    """
    num_updates = len(next(iter(columns.values())))
    numbers = np.arange(1, num_updates + 1)
    counts = {name: columns[name].astype(np.int64) for name in COUNTS if name in columns}
    own = {**columns, **counts, "update": numbers, "env_steps": numbers * batch_size}
    order = [name for name in (*STANDARD, *columns) if name in own]
    plain = {name: _plain(own[name]) for name in dict.fromkeys(order)}
    return [dict(zip(plain, row, strict=True)) for row in zip(*plain.values(), strict=True)]


def _plain(column: np.ndarray) -> list[Any]:
    """Returns a column as JSON would: float32 becomes the shortest number that stands for it, NaN None."""
    contiguous = np.ascontiguousarray(column)
    return orjson.loads(orjson.dumps(contiguous, option=orjson.OPT_SERIALIZE_NUMPY))


def append(file: IO[str], records: list[Record]) -> None:
    """Writes records as lines of JSON and hands them to the operating system."""
    file.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode() for record in records)
    file.flush()


def read(run: RunDirectory) -> dict[str, np.ndarray]:
    """Reads the metrics of a run as columns.

    Returns:
        One array [U] per metric, NaN where there was no value.

    Raises:
        UsageError: If the file is missing, empty or damaged.
    """
    records = load(run.metrics)
    if not records:
        raise UsageError(f"'{run.metrics}' is empty: the run stopped before its first update")
    try:
        return as_columns(records)
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"'{run.metrics}' is damaged: its lines do not agree ({error})") from error


def as_columns(records: list[Record]) -> dict[str, np.ndarray]:
    """Turns records into columns: one array [U] for each field of the first, NaN where there is no value."""
    names = records[0].keys() if records else ()
    return {name: np.array([record[name] for record in records], dtype=float) for name in names}


def own(columns: Iterable[str]) -> list[str]:
    """Returns the names of the environment's own metrics among those of columns."""
    return [name for name in columns if name not in (*STANDARD, REPEATED)]


def load(path: Path) -> list[Record]:
    """Reads a file of records. A last line without an end is still being written, so it is left out.

    Raises:
        UsageError: If the file is missing or damaged.
    """
    try:
        *lines, _ = path.read_text().split("\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"'{path}' cannot be read: {error}; it is missing or damaged") from error
    records = []
    for number, line in enumerate(lines, 1):
        record = _parse(line)
        if record is None:
            raise UsageError(f"'{path}' is damaged at line {number}: it is not a JSON object")
        records.append(record)
    return records


def mend(path: Path, last_update: int, names: Sequence[str] = ("update",)) -> list[Record]:
    """Removes the records after an update from a file, and a last line that was only half written.

    Args:
        path: The file; it need not exist.
        last_update: The number of the last update to keep.
        names: The fields that a record must have.

    Returns:
        The records that are left. If the file is damaged in any other way, these are the records before the
        damage, and a copy of the damaged file is kept beside the mended one.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    updates = [_update_of(line, names) for line in lines]
    kept = list(takewhile(lambda update: 0 < update <= last_update, updates))
    for line, update in zip(lines[len(kept) :], updates[len(kept) :], strict=True):
        if line.endswith(b"\n") and update <= last_update:  # neither half written nor later: damaged
            path.with_name(f"{path.name}.{time.time_ns()}.damaged").write_bytes(b"".join(lines))
            break
    os.truncate(path, sum(map(len, lines[: len(kept)])))
    return [orjson.loads(line) for line in lines[: len(kept)]]


def _update_of(line: bytes, names: Sequence[str]) -> int:
    """Returns the update of a whole record; 0, which is no update's number, for anything else."""
    record = _parse(line) if line.endswith(b"\n") else None
    if record is None or any(name not in record for name in names):
        return 0
    return record["update"] if isinstance(record["update"], int) else 0


def _parse(line: str | bytes) -> Record | None:
    try:
        record = orjson.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
