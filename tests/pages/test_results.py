"""What is said of recorded results is what was recorded."""

import importlib.util
import json
import re
import statistics
from pathlib import Path

import pytest

from ppo_jax.presets import names, preset, read

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
RECORDS = sorted(RESULTS.glob("*.json"))
REQUIRED = {
    *(
        "CartPole-v1",
        "Acrobot-v1",
        "MountainCar-v0",
        "Pendulum-v1",
        "MountainCarContinuous-v0",
        "Catch-bsuite",
    ),
    *("DeepSea-bsuite", "MemoryChain-bsuite", "MemoryChain-bsuite-mlp", "FourRooms-misc", "Reacher-misc"),
    *("Breakout-MinAtar", "Freeway-MinAtar", "Asterix-MinAtar", "SpaceInvaders-MinAtar"),
}
EVERY_RECORD = pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])


def test_the_results_that_were_promised_are_there():
    assert {path.stem for path in RECORDS} >= REQUIRED


@EVERY_RECORD
def test_a_preset_says_what_was_recorded_with_its_own_numbers(path):
    record, recorded = json.loads(path.read_text()), read(path.stem)["recorded"]
    if path.stem != "CartPole-v1":  # whose preset tells how soon it is solved
        assert [recorded[name] for name in ("result", "command", "seeds")] == [
            record[name] for name in ("result", "command", "seeds")
        ]
    config, _ = preset(path.stem)
    assert record["env_steps"] == config.num_updates * config.batch_size
    assert record["seeds"] == len(record["greedy"]["seeds"]) == len(record["sampled"]["seeds"])
    assert record["seeds"] >= (5 if "MinAtar" in path.stem else 20)
    assert path.with_suffix(".png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("name", "mark"),
    [
        ("Acrobot-v1", -100),
        ("Pendulum-v1", -250),
        ("MountainCarContinuous-v0", 90),
        ("Catch-bsuite", 1),
        ("CartPole-v1", 500),
        ("MemoryChain-bsuite", 1),
    ],
)
def test_every_seed_on_record_reached_its_mark(name, mark):
    assert min(json.loads((RESULTS / f"{name}.json").read_text())["greedy"]["seeds"]) >= mark


@pytest.mark.parametrize(
    ("name", "mark"), [("Breakout", 28), ("Freeway", 55), ("SpaceInvaders", 131), ("Asterix", 15)]
)
def test_the_recorded_mean_on_minatar_reached_its_mark(name, mark):
    assert json.loads((RESULTS / f"{name}-MinAtar.json").read_text())["greedy"]["iqm"] >= mark


@pytest.mark.parametrize("name", names())
def test_a_preset_has_a_recorded_result_or_says_that_it_has_none(name):
    result = read(name)["recorded"]["result"]
    if not name.startswith("CartPole"):
        assert result.startswith("not recorded") == (not (RESULTS / f"{name}.json").exists())


def benchmark(name):
    """A script of `benchmarks/` as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def learning():
    return benchmark("learning")


def test_the_readme_has_the_numbers_of_the_records(learning):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in REQUIRED:
        row = learning.row(json.loads((RESULTS / f"{name}.json").read_text()))
        assert row.rsplit("|", 2)[0] in readme


def test_the_page_is_what_the_records_make(learning):
    assert (RESULTS / "README.md").read_text(encoding="utf-8") == learning.page(RESULTS)


def test_the_table_of_the_papers_objectives_is_what_the_record_makes():
    record = json.loads((ROOT / "docs" / "paper_objectives.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "paper_objectives.md").read_text(encoding="utf-8")
    assert "\n".join(benchmark("paper_objectives").table(record)) in page
    assert record["command"] in page
    assert len(record["tasks"]) >= 3
    assert record["seeds"] >= 3
    assert len(record["settings"]) == 11


SHAPES = ("4x128", "64x128", "2048x32")


@pytest.mark.parametrize("shape", SHAPES)
def test_the_throughput_in_the_readme_is_the_one_on_record(shape):
    content = json.loads((ROOT / "benchmarks" / "results" / "benchmark-cpu-2-cores.json").read_text())
    rates = {row["part"]: row["steps_per_second"] for row in content["measurements"] if row["shape"] == shape}
    parts = [f"{rates[part]:,.0f}" for part in ("training", "rollout", "environment", "update")]
    assert f"| {' | '.join([shape.replace('x', ' x '), *parts])} |" in (ROOT / "README.md").read_text()


def test_the_ratios_on_the_page_are_those_on_record():
    """Of the fast forms and of the peers: the median of the rounds, the least and the most."""
    results, page = ROOT / "benchmarks" / "results", (ROOT / "docs" / "performance.md").read_text()
    forms = json.loads((results / "fast-forms-cpu-2-cores.json").read_text())["outcomes"]
    for form in forms:
        ratio = f"{form['ratio']:.2f} [{form['least']:.2f}, {form['most']:.2f}]"
        assert re.search(
            rf"^\| {re.escape(form['name'])} \| .* \| {re.escape(ratio)} \|$", page, re.MULTILINE
        )
    peers = json.loads((results / "peers-cpu-2-cores.json").read_text())["outcomes"]
    for peer in (peer for peer in peers if peer["failure"] is None):
        ratios = peer["ours_over_peer"]
        assert f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}] |" in page
