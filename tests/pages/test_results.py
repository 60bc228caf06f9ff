"""Learning results are on record, with as many seeds as promised, and reach their marks."""

import json
from pathlib import Path

import pytest

from ppo_jax.presets import names, preset, read

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
RECORDS = sorted(RESULTS.glob("*.json"))
REQUIRED = {
    *("CartPole-v1", "Acrobot-v1", "MountainCar-v0", "Pendulum-v1", "MountainCarContinuous-v0"),
    *("Catch-bsuite", "DeepSea-bsuite", "MemoryChain-bsuite", "MemoryChain-bsuite-mlp"),
    *("FourRooms-misc", "Reacher-misc"),
    *("Breakout-MinAtar", "Freeway-MinAtar", "Asterix-MinAtar", "SpaceInvaders-MinAtar"),
}
EVERY_RECORD = pytest.mark.parametrize("path", RECORDS, ids=[path.stem for path in RECORDS])


def record_of(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def test_the_results_that_were_promised_are_there():
    assert {path.stem for path in RECORDS} >= REQUIRED


@EVERY_RECORD
def test_a_record_has_enough_seeds_of_the_preset_as_it_is_now(path):
    record = json.loads(path.read_text())
    config, _ = preset(path.stem)
    assert record["preset"] == path.stem
    assert record["env_steps"] == config.num_updates * config.batch_size
    assert record["seeds"] == len(record["greedy"]["seeds"]) == len(record["sampled"]["seeds"])
    least = 5 if "MinAtar" in path.stem else 10 if ":" in config.env else 20
    assert record["seeds"] >= least
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
    assert min(record_of(name)["greedy"]["seeds"]) >= mark


@pytest.mark.parametrize(
    ("name", "mark"), [("Breakout", 28), ("Freeway", 55), ("SpaceInvaders", 131), ("Asterix", 15)]
)
def test_the_recorded_mean_on_minatar_reached_its_mark(name, mark):
    assert record_of(f"{name}-MinAtar")["greedy"]["iqm"] >= mark


@pytest.mark.parametrize("name", names())
def test_a_preset_has_a_recorded_result_or_says_that_it_has_none(name):
    recorded = read(name)["recorded"]
    if name.startswith("CartPole"):
        assert (ROOT / recorded["record"]).parent == RESULTS / "many_seeds"
    elif (RESULTS / f"{name}.json").exists():
        assert recorded["record"] == f"docs/results/{name}.json"
    else:
        assert list(recorded) == ["result"]
        assert recorded["result"].startswith("not recorded")


@pytest.mark.parametrize(
    ("name", "seeds"), [("CartPole-v1", 20), ("CartPole-v1", 64), ("CartPole-v1-paper", 20)]
)
def test_a_record_of_many_seeds_counts_every_seed_of_the_preset_as_it_is_now(name, seeds):
    record = json.loads((RESULTS / "many_seeds" / f"{name}-{seeds}.json").read_text())
    config, _ = preset(name)
    assert (record["preset"], record["seeds"]) == (name, seeds)
    assert len(record["greedy"]) == len(record["steps_to_solved"]) == seeds
    assert record["env_steps"] == config.num_updates * config.batch_size
    steps = [steps for steps in record["steps_to_solved"] if steps is not None]
    assert all(steps % config.batch_size == 0 and 0 < steps <= record["env_steps"] for steps in steps)
    assert len(steps) == (0 if name == "CartPole-v1-paper" else seeds)


def test_the_table_of_the_papers_objectives_has_all_settings_from_enough_seeds_and_tasks():
    record = json.loads((ROOT / "docs" / "paper_objectives.json").read_text(encoding="utf-8"))
    assert len(record["tasks"]) >= 3
    assert record["seeds"] >= 3
    assert len(record["settings"]) == 11


def test_every_film_of_the_gallery_is_on_record_and_small_enough_for_a_page():
    gallery = ROOT / "docs" / "gallery"
    films = {path.stem: path.stat().st_size for path in gallery.glob("*.gif")}
    assert set(films) == set(json.loads((gallery / "episodes.json").read_text())["episodes"]) <= set(names())
    assert max(films.values()) < 150_000
    assert sum(films.values()) < 2_000_000
