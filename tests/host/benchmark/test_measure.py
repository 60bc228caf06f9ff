"""A benchmark measures every part at every shape, and leaves files that can be read."""

import json

import jax
import pytest
from rich.console import Console

from ppo_jax import cli
from ppo_jax.host.benchmark import measure, roofline
from ppo_jax.host.benchmark.options import Options
from ppo_jax.host.benchmark.roofline import Limits

TINY = "--shapes 2x8 --agents 1 2 --repeats 2 --seconds 0.001 --num-minibatches 2"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The JSON that a small benchmark writes, and the folder that holds it."""
    folder = tmp_path_factory.mktemp("benchmark") / "new"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(roofline, "GEMM_SIZES", (64,))
        patch.setattr(roofline, "MEMORY_BYTES", 2**16)
        with pytest.raises(SystemExit, match="0"):
            cli.main(["benchmark", *TINY.split(), "--output", str(folder / "result.json")])
    return json.loads((folder / "result.json").read_text()), folder


@pytest.mark.long
def test_every_part_is_measured_for_one_agent_and_training_for_several(written):
    rows = [(row["shape"], row["agents"], row["part"]) for row in written[0]["measurements"]]
    parts = ("training", "rollout", "environment", "update", "matrix products")
    assert rows == [*(("2x8", 1, part) for part in parts), ("2x8", 2, "training")]


def test_every_shape_is_measured_in_order(monkeypatch):
    monkeypatch.setattr(roofline, "measure_limits", lambda: Limits(1.0, 1.0, 1.0))
    monkeypatch.setattr(measure, "_measure", lambda options, shape, console: [shape])
    options = Options(shapes=("2x8", "8x2", "4x8"))
    assert measure.run(options, Console(quiet=True)).measurements == ["2x8", "8x2", "4x8"]


@pytest.mark.long
def test_a_measurement_reports_its_spread_memory_and_compile_time(written):
    for row in written[0]["measurements"]:
        assert len(row["rates"]) == 2
        assert 0 < row["slowest"] == min(row["rates"]) <= row["steps_per_second"] <= row["fastest"]
        assert row["memory_bytes"] > 1_000
        assert row["compile_seconds"] > 0


@pytest.mark.long
def test_the_file_says_what_was_measured_and_on_which_machine(written):
    content, _ = written
    assert {"options", "limits", "measurements", "versions", "hardware"} == set(content)
    assert content["options"]["shapes"] == ["2x8"]
    assert content["versions"]["jax"] == jax.__version__
    assert min(content["limits"].values()) > 0


@pytest.mark.long
def test_a_picture_is_written_beside_the_file(written):
    picture = written[1] / "result.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_size > 20_000
