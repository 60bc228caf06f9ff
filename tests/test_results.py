"""What is said of recorded results is what was recorded."""

import importlib.util
import json
from pathlib import Path

import pytest

from ppo_jax.presets import names, preset, read

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
RECORDS = sorted(RESULTS.glob("*.json"))
REQUIRED = {  # CartPole has a script of its own, `scripts/train_many_seeds.py`
    *("Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0", "Catch-bsuite"),
    *("DeepSea-bsuite", "MemoryChain-bsuite", "MemoryChain-bsuite-mlp", "FourRooms-misc", "Reacher-misc"),
    *("Breakout-MinAtar", "Freeway-MinAtar", "Asterix-MinAtar", "SpaceInvaders-MinAtar"),
}
EVERY_RECORD = pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])


def test_the_results_that_were_promised_are_there():
    assert {path.stem for path in RECORDS} >= REQUIRED


@EVERY_RECORD
def test_a_preset_says_what_was_recorded_with_its_own_numbers(path):
    record, recorded = json.loads(path.read_text()), read(path.stem)["recorded"]
    for name in ("result", "command", "seeds"):
        assert recorded[name] == record[name]
    config, _ = preset(path.stem)
    assert record["env_steps"] == config.num_updates * config.batch_size
    assert record["seeds"] == len(record["greedy"]["seeds"]) == len(record["sampled"]["seeds"])
    assert record["seeds"] >= (5 if "MinAtar" in path.stem else 20)
    assert path.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize("name", names())
def test_a_preset_has_a_recorded_result_or_says_that_it_has_none(name):
    result = read(name)["recorded"]["result"]
    if not name.startswith("CartPole"):
        assert result.startswith("not recorded") == (not (RESULTS / f"{name}.json").exists())


def test_the_page_is_what_the_records_make():
    spec = importlib.util.spec_from_file_location("learning", ROOT / "benchmarks" / "learning.py")
    learning = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(learning)
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == learning.page(RESULTS)
