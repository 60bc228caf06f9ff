"""A benchmark measures every part at every shape, and leaves files that can be read."""

import itertools
import json

import jax
import pytest

from ppo_jax import cli
from ppo_jax.host.benchmark import roofline
from ppo_jax.host.programs import chunks

TINY = "--shapes 2x8 4x8 --agents 1 2 --repeats 2 --seconds 0.001 --num-minibatches 2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The JSON that a small benchmark writes, and the folder that holds it."""
    folder = tmp_path_factory.mktemp("benchmark") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "GEMM_SIZES", (64,))
        patch.setattr(roofline, "MEMORY_BYTES", 2**16)
        patch.setattr(chunks, "CPU_OPTIONS", {"xla_backend_optimization_level": "0"})  # compiles sooner
        with pytest.raises(SystemExit, match="0"):
            cli.main(["benchmark", *TINY.split(), "--output", str(folder / "result.json")])
    return json.loads((folder / "result.json").read_text()), folder


def test_every_part_is_measured_at_every_shape_and_training_for_all_agents(written):
    rows = [(row["shape"], row["agents"], row["part"]) for row in written[0]["measurements"]]
    single = ["training", "rollout", "environment", "update", "matrix products"]
    expected = [
        (shape, agents, part)
        for shape, agents in itertools.product(("2x8", "4x8"), (1, 2))
        for part in (single if agents == 1 else ["training"])
    ]
    assert rows == expected


def test_a_measurement_reports_its_spread_memory_and_compile_time(written):
    for row in written[0]["measurements"]:
        assert len(row["rates"]) == 2
        assert 0 < row["slowest"] == min(row["rates"]) <= row["steps_per_second"] <= row["fastest"]
        assert row["memory_bytes"] > 1_000
        assert row["compile_seconds"] > 0


def test_the_file_says_what_was_measured_and_on_which_machine(written):
    content, _ = written
    assert {"options", "limits", "measurements", "versions", "hardware"} == set(content)
    assert content["options"]["shapes"] == ["2x8", "4x8"]
    assert content["versions"]["jax"] == jax.__version__
    assert min(content["limits"].values()) > 0


def test_a_picture_is_written_beside_the_file(written):
    picture = written[1] / "result.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
