"""Compares files for the metrics of a sweep: the NumPy array that it writes, and Parquet.

A sweep is trained, and its metrics are written again in both forms: a row of a Parquet file is a member and
an update. It needs `pip install pyarrow`.
"""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa  # pyright: ignore[reportMissingImports]
import pyarrow.parquet as pq  # pyright: ignore[reportMissingImports]
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.programs import lanes
from ppo_jax.host.runs import tables
from ppo_jax.host.runs.family import SweepDirectory

METRIC = "return_window"  # one column, to read alone


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare files for the metrics of a sweep."""

    preset: str = "CartPole-v1"
    """The preset to train, for as long as it says."""
    members: int = 64
    """The number of seeds."""
    repeats: int = 5
    """Measurements of each, of which the median counts."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    lanes.use_all_cores()
    config, hyper = ppo_jax.preset(options.preset)
    with tempfile.TemporaryDirectory() as folder:
        sweep = ppo_jax.run_sweep(config, [{}], options.members, hyper, Path(folder) / "sweep", quiet=True)
        source = SweepDirectory(sweep.path).metrics_of(0)
        columns = {name: np.array(column) for name, column in tables.read(source).items()}  # [L, U]
        rows = {
            "NumPy": measure(options, Path(folder) / "copy.npy", columns, write_numpy, read_numpy),
            "Parquet": measure(options, Path(folder) / "copy.parquet", columns, write_parquet, read_parquet),
        }
    result: dict[str, Any] = {
        "preset": options.preset,
        "members": options.members,
        "updates": config.num_updates,
        "columns": len(columns),
        "files": rows,
        "pyarrow": pa.__version__,
    }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def measure(
    options: Options,
    path: Path,
    columns: Mapping[str, np.ndarray],
    write: Callable[[Path, Mapping[str, np.ndarray]], None],
    read: Callable[[Path], np.ndarray],
) -> dict[str, float]:
    """Writes all columns and reads one of them, several times; returns the size and the seconds."""
    written, loaded = [], []
    for _ in range(options.repeats):
        start = time.perf_counter()
        write(path, columns)
        written.append(time.perf_counter() - start)
        start = time.perf_counter()
        found = read(path)
        loaded.append(time.perf_counter() - start)
        np.testing.assert_array_equal(found.ravel(), columns[METRIC].ravel())
    return {
        "bytes": path.stat().st_size,
        "seconds_to_write": round(statistics.median(written), 5),
        "seconds_to_read_one_column": round(statistics.median(loaded), 5),
    }


def write_numpy(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns as a sweep does."""
    members, updates = columns[METRIC].shape
    table = tables.open_table(path, list(columns), members, updates)
    for name, column in columns.items():
        table[0][name] = column
    table.flush()


def read_numpy(path: Path) -> np.ndarray:
    """Reads one column."""
    return np.array(tables.read(path)[METRIC])


def write_parquet(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Writes columns as Parquet, compressed as pyarrow does by default."""
    pq.write_table(pa.table({name: column.ravel() for name, column in columns.items()}), path)


def read_parquet(path: Path) -> np.ndarray:
    """Reads one column."""
    return pq.read_table(path, columns=[METRIC])[METRIC].to_numpy()


if __name__ == "__main__":
    main(tyro.cli(Options))
