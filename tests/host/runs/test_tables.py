"""The metrics of many members in one file that NumPy alone can read."""

import numpy as np
import pytest

from ppo_jax.algorithm.metrics import Metrics
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import tables

L, U = 5, 7
NAMES = tables.names_of(Metrics._fields)


def metrics_of(rows, updates, value):
    return Metrics(
        *[np.full((len(rows), updates), value + i, np.float32) for i in range(len(Metrics._fields))]
    )


def test_what_is_written_is_read_with_numpy_alone(tmp_path):
    path = tmp_path / "metrics.npy"
    table = tables.open_table(path, NAMES, L, U)
    tables.write(table, [1, 3], 2, metrics_of([1, 3], 2, 10.0), np.array([0.5, 1.0]))
    tables.save(table, path)
    read = np.load(path, mmap_mode="r")[0]
    assert read.dtype.names == tuple(NAMES)
    assert "env_steps" not in NAMES
    returns = read["return_window"]
    assert returns.shape == (L, U)
    place = Metrics._fields.index("return_window")
    np.testing.assert_array_equal(returns[[1, 3], 2:4], np.full((2, 2), 10 + place))
    assert not returns[[0, 2, 4]].any()
    np.testing.assert_array_equal(read["seconds"][1], [0, 0, 0.5, 1.0, 0, 0, 0])


def test_it_is_written_on_where_it_was_left(tmp_path):
    path = tmp_path / "metrics.npy"
    for first in (0, 3):
        table = tables.open_table(path, NAMES, L, U)
        tables.write(table, [0], first, metrics_of([0], 3, float(first + 1)), np.arange(1, 4.0))
        tables.save(table, path)
    loss = tables.read(path)["env_steps" if "env_steps" in NAMES else "episodes"][0]
    assert (loss[:3] != loss[3:6]).all()
    assert loss[6] == 0


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_damaged_is_refused(tmp_path, content):
    path = tmp_path / "metrics.npy"
    path.write_bytes(content)
    with pytest.raises(UsageError, match="damaged"):
        tables.open_table(path, NAMES, L, U)
    with pytest.raises(UsageError, match="damaged"):
        tables.read(path)


def test_the_table_of_another_sweep_is_refused(tmp_path):
    path = tmp_path / "metrics.npy"
    tables.open_table(path, NAMES, L, U)
    with pytest.raises(UsageError, match="not the table of this sweep"):
        tables.open_table(path, NAMES, L + 1, U)
