import pytest

from ppo_jax.host.monitor.sinks.thinning import thin
from ppo_jax.host.runs.records import STANDARD


def make_records(**columns):
    """Records whose other fields are 0."""
    size = len(next(iter(columns.values())))
    rows = [dict.fromkeys(STANDARD, 0) for _ in range(size)]
    for name, values in columns.items():
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def test_as_many_as_a_sink_takes_are_left_as_they_are():
    records = make_records(update=[1, 2, 3])
    assert thin(records, 3) is records


def test_counts_are_summed_the_newest_counter_counts_and_the_rest_are_means():
    records = make_records(
        update=[1, 2, 3, 4],
        env_steps=[10, 20, 30, 40],
        return_window=[None, 7.0, None, None],
        episodes=[1, 3, 0, 0],
        episode_return=[100.0, 20.0, None, None],
        parts=[1.0, 5.0, None, None],  # of the environment's own
        entropy=[1.0, 2.0, 3.0, 5.0],
    )
    first, second = thin(records, 2)
    names = ("update", "env_steps", "return_window", "episodes", "episode_return", "parts", "entropy")
    assert [first[name] for name in names] == [2, 20, 7.0, 4, 40.0, 4.0, 1.5]
    assert [second[name] for name in names] == [4, 40, None, 0, None, None, 4.0]


@pytest.mark.parametrize(("size", "most"), [(5, 2), (7, 3), (1024, 16), (17, 16), (1000, 256)])
def test_none_is_left_out_and_the_number_is_kept(size, most):
    records = make_records(update=list(range(1, size + 1)), episodes=[1] * size)
    thinned = thin(records, most)
    assert len(thinned) == most
    assert sum(record["episodes"] for record in thinned) == size
    assert thinned[-1]["update"] == size
