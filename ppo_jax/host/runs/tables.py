"""The metrics of a group of members in one file of columns, which NumPy alone can read.

`numpy.load(path, mmap_mode="r")[0]["return_window"]` is the return of every member after every update,
[L, U], without reading anything else. Rows are written in place while the sweep trains, so the file is whole
at any time; docs/sweeps.md compares it with Parquet.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.host.runs import files

SECONDS = "seconds"  # seconds of training of the block; 0 where an update is not done
DERIVED = "env_steps"  # a metric that follows from the number of the update, and exceeds float32


def names_of(metrics: Iterable[str]) -> list[str]:
    """Returns the names of the columns for metrics of these names."""
    return [SECONDS, *(name for name in metrics if name != DERIVED)]


def open_table(path: Path, names: Sequence[str], num_members: int, num_updates: int) -> np.memmap:
    """Opens the file of a group to write to, and makes it if it does not exist.

    Args:
        path: The file.
        names: The names of the columns.
        num_members: The members of the group, L.
        num_updates: The updates of each member, U.

    Returns:
        One row of columns [L, U], float32; 0 where nothing was written.

    Raises:
        UsageError: If there is a file of another shape.
        OSError: If there is no room for it on the disk.
    """
    kind = np.dtype([(name, "<f4", (num_members, num_updates)) for name in names])
    if not path.exists():
        table = np.lib.format.open_memmap(path, mode="w+", dtype=kind, shape=(1,))
        _allocate(path)
        return table
    try:
        table = np.lib.format.open_memmap(path, mode="r+")
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"'{path}' is damaged: {error}; move it away and resume") from error
    if table.dtype != kind or table.shape != (1,):
        raise UsageError(f"'{path}' is damaged: it is not the table of this sweep; move it away and resume")
    return table


def _allocate(path: Path) -> None:
    """Takes the room for a file; otherwise a full disk would end the process while it writes into the map."""
    allocate = getattr(os, "posix_fallocate", None)  # macOS has none
    if allocate:
        with path.open("r+b") as file:
            allocate(file.fileno(), 0, path.stat().st_size)


def read(path: Path) -> Mapping[str, np.ndarray]:
    """Reads the file of a group: columns [L, U] by name, which are loaded when they are used.

    Raises:
        UsageError: If it is missing or damaged.
    """
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
        return {name: table[0][name] for name in table.dtype.names or ()}
    except (OSError, ValueError, IndexError, EOFError) as error:
        raise UsageError(f"'{path}' cannot be read: {error}; it is missing or damaged") from error


def write(table: np.memmap, rows: Sequence[int], first: int, metrics: Any, seconds: np.ndarray) -> None:
    """Writes the metrics of a chunk of updates.

    Args:
        table: The table, from `open_table`.
        rows: The places of the members in the group, [L].
        first: The number of the first update, from 0.
        metrics: The `Metrics`, [L, U] each.
        seconds: Seconds of training after each update, [U].
    """
    last = first + len(seconds)
    table[0][SECONDS][rows, first:last] = seconds
    for name, values in metrics._asdict().items():
        if name != DERIVED:
            table[0][name][rows, first:last] = values


def save(table: np.memmap, path: Path) -> None:
    """Waits until everything that was written to a table would survive a loss of power."""
    table.flush()
    files.sync(path)
