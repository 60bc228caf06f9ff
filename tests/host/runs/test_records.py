import numpy as np
import pytest

import ppo_jax
from ppo_jax.host.runs import records
from ppo_jax.host.runs.directory import RunDirectory


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


LINES = [b'{"update": 1, "a": 1}\n', b'{"update": 2, "a": 2}\n', b'{"update": 3, "a": 3}\n']


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        (b"", 2),
        (b'{"update": 3, "a"', 2),
        (b'{"update": 4}\n{"update": 5}\n', 2),
        (b"\0\0\0\0", 2),
        (b"\xff", 2),
    ],
)
def test_a_file_is_mended_up_to_an_update(tmp_path, tail, kept):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(LINES) + tail)
    assert [record["update"] for record in records.mend(path, 2)] == [1, 2]
    assert path.read_bytes() == b"".join(LINES[:kept])
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", [b'{"update": 2, "a\n', b"\0\0\n", b'{"update": "2"}\n', b'{"b": 2}\n'])
def test_before_a_line_that_cannot_be_read_the_file_is_cut_and_kept_as_it_was(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    damaged = LINES[0] + damage + LINES[2]
    path.write_bytes(damaged)
    assert [record["update"] for record in records.mend(path, 3)] == [1]
    assert path.read_bytes() == LINES[0]
    (kept,) = tmp_path.glob("metrics.jsonl.*.damaged")
    assert kept.read_bytes() == damaged


def test_a_record_has_to_have_what_it_is_read_for(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b"".join(LINES))
    assert len(records.mend(path, 3, ("update", "a"))) == 3
    assert records.mend(path, 3, ("update", "b")) == []


def test_where_there_is_no_file_there_is_nothing_to_mend(tmp_path):
    assert records.mend(tmp_path / "metrics.jsonl", 2) == []
    assert not list(tmp_path.iterdir())


def test_a_line_that_is_still_being_written_is_left_out(tmp_path):
    run = RunDirectory(tmp_path)
    run.metrics.write_bytes(b"".join(LINES) + b'{"update": 4, "a": 12')
    np.testing.assert_array_equal(records.read(run)["update"], [1, 2, 3])


def test_the_standard_fields_are_those_of_the_metrics_and_all_others_are_the_environments_own():
    assert ("update", "seconds", *ppo_jax.Metrics._fields) == records.STANDARD
    assert records.own([*records.STANDARD, "success", "repeated_starts", "energy"]) == ["success", "energy"]
