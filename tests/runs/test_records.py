import numpy as np
import pytest

import ppo_jax
from ppo_jax.runs import records
from ppo_jax.runs.directory import RunDirectory


def test_records_survive_the_file_to_the_last_bit(tmp_path):
    values = np.array([0.1, 1e-30, 16777217.0, np.nan], np.float32)
    columns = dict.fromkeys(ppo_jax.Metrics._fields, values) | {"env_steps": np.arange(4)}
    chunk = records.from_metrics(ppo_jax.Metrics(**columns), 4, records.Clock(1, 0.0, 2.0))
    run = RunDirectory(tmp_path)
    with run.metrics.open("w") as file:
        records.append(file, chunk)
    read = records.read(run)
    np.testing.assert_array_equal(read["entropy"].astype(np.float32), values)
    np.testing.assert_array_equal(read["update"], [1, 2, 3, 4])
    np.testing.assert_allclose(read["seconds"], [0.5, 1.0, 1.5, 2.0])


def test_only_the_rows_of_the_chunk_count():
    columns = dict.fromkeys(ppo_jax.Metrics._fields, np.zeros(100, np.float32))
    chunk = records.from_metrics(ppo_jax.Metrics(**columns), 3, records.Clock(11, 0.0, 1.0))
    assert [record["update"] for record in chunk] == [11, 12, 13]


@pytest.mark.parametrize("content", ["", "{", "[1]\n", '{"a": 1}\n{"b": 2}\n', '{"a": "x"}\n', "[" * 100_000])
def test_a_damaged_metrics_file_is_refused_with_its_path(tmp_path, content):
    run = RunDirectory(tmp_path)
    run.metrics.write_text(content)
    with pytest.raises(ppo_jax.UsageError, match=r"metrics\.jsonl"):
        records.read(run)
