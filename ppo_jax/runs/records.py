"""The metrics of a run: one record per update, as a dictionary in memory and a line on disk."""

import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import orjson

from ppo_jax.errors import UsageError
from ppo_jax.runs.directory import RunDirectory

Record = dict[str, Any]  # the fields of Metrics, and `update` and `seconds`; None where NaN


class Clock(NamedTuple):
    """When a chunk of updates ran; within it, updates are taken to be equally long.

    Attributes:
        first_update: Number of the chunk's first update, from 1.
        start: Seconds of training before the chunk.
        end: Seconds of training after it.
    """

    first_update: int
    start: float
    end: float


def from_metrics(metrics: Any, num_updates: int, clock: Clock) -> list[Record]:
    """Turns the metrics of a chunk into records.

    Args:
        metrics: `Metrics` of arrays [capacity], of which the first `num_updates` rows count.
        num_updates: Updates in the chunk.
        clock: When the chunk ran.

    Returns:
        One record per update.
    """
    seconds = np.linspace(clock.start, clock.end, num_updates + 1)[1:].round(6)
    columns = {
        "update": np.arange(clock.first_update, clock.first_update + num_updates),
        "seconds": seconds,
        **{name: np.ascontiguousarray(column[:num_updates]) for name, column in metrics._asdict().items()},
    }
    # There and back: every number becomes the shortest one that gives it back, and what JSON lacks None.
    plain = [orjson.loads(orjson.dumps(x, option=orjson.OPT_SERIALIZE_NUMPY)) for x in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*plain, strict=True)]


def append(file: IO[str], records: list[Record]) -> None:
    """Writes records as lines of JSON and hands them to the operating system."""
    file.writelines(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE).decode() for record in records)
    file.flush()


def mend(path: Path, last_update: int, names: Sequence[str] = ("update",)) -> list[Record]:
    """Cuts a file of records off after an update, and with it a line that was torn while being written.

    Args:
        path: The file; it need not exist.
        last_update: Number of the last update to keep.
        names: What a record has to have.

    Returns:
        The records that are kept. Where something else is wrong, these are the ones before it, and the
        file as it was is kept beside the mended one.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().splitlines(keepends=True)
    records = list(takewhile(partial(_stays, last_update), map(partial(_parse_whole, names), lines)))
    rest = lines[len(records) :]
    if any(line.endswith(b"\n") and not _is_later(last_update, line) for line in rest):
        path.with_name(f"{path.name}.{time.time_ns()}.damaged").write_bytes(b"".join(lines))
    os.truncate(path, sum(map(len, lines[: len(records)])))
    return records


def read(directory: RunDirectory) -> dict[str, np.ndarray]:
    """Reads the metrics of a run as columns.

    Args:
        directory: Of the run.

    Returns:
        One array [U] per metric, NaN where there was no value.

    Raises:
        UsageError: If the file is missing, empty or damaged.
    """
    records = load(directory.metrics)
    if not records:
        raise UsageError(f"'{directory.metrics}' is empty: the run stopped before its first update")
    names = records[0].keys()
    try:
        return {name: np.array([record[name] for record in records], dtype=float) for name in names}
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"'{directory.metrics}' is damaged: its lines do not agree ({error})") from error


def load(path: Path) -> list[Record]:
    """Reads a file of records; a last line without an end is still being written, and left out.

    Args:
        path: The file.

    Raises:
        UsageError: If it is missing or damaged.
    """
    try:
        *lines, _ = path.read_text().split("\n")
    except (OSError, ValueError) as error:
        raise UsageError(f"'{path}' cannot be read: {error}; it is missing or damaged") from error
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


def _parse(path: Path, number: int, line: str) -> Record:
    try:
        record = orjson.loads(line)
    except ValueError as error:
        raise UsageError(f"'{path}' is damaged at line {number}: {error}") from error
    if not isinstance(record, dict):
        raise UsageError(f"'{path}' is damaged at line {number}: it is not an object of JSON")
    return record


def _stays(last_update: int, record: Record) -> bool:
    return 0 < record["update"] <= last_update


def _is_later(last_update: int, line: bytes) -> bool:
    return _parse_whole(("update",), line)["update"] > last_update


def _parse_whole(names: Sequence[str], line: bytes) -> Record:
    """Reads a line; what is not a whole record becomes one of update 0, which no update has."""
    try:
        record = orjson.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        record = {}
    is_whole = isinstance(record, dict) and all(name in record for name in names)
    return record if is_whole and isinstance(record["update"], int) else {"update": 0}
