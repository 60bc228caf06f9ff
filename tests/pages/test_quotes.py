"""Every figure that a page or a preset quotes is the one on record."""

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tyro

from ppo_jax.presets import names

ROOT = Path(__file__).parents[2]
RECORDS = (
    *sorted((ROOT / "benchmarks" / "results").glob("*.json")),
    *sorted((ROOT / "docs").rglob("*.json")),
)


def script(folder, name):
    """A script as a module, which finds the scripts beside it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(ROOT / folder))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(ROOT / folder))
    return module


quotes, learning, many_seeds = (
    script(*where)
    for where in (("benchmarks", "quotes"), ("benchmarks", "learning"), ("scripts", "train_many_seeds"))
)
EVERY_PAGE = pytest.mark.parametrize(
    "page", quotes.pages(), ids=[path.relative_to(ROOT).as_posix() for path in quotes.pages()]
)


@EVERY_PAGE
def test_a_page_says_what_the_records_say(page):
    text = page.read_text(encoding="utf-8")
    assert quotes.fill(text) == text


@EVERY_PAGE
def test_every_mark_on_a_page_opens_or_closes_a_quote(page):
    text = page.read_text(encoding="utf-8")
    quoted = len(quotes.MARKED.findall(text))
    assert text.count("<!-- quote: ") == text.count("<!-- end of quote -->") == quoted


@pytest.mark.parametrize("name", names())
def test_a_preset_says_what_its_record_says(name):
    text = (ROOT / "ppo_jax" / "presets" / f"{name}.toml").read_text(encoding="utf-8")
    assert quotes.fill_preset(name, text) == text


def test_the_command_envs_says_what_the_records_say():
    command = [sys.executable, "-m", "ppo_jax.cli", "envs"]
    wide = os.environ | {"COLUMNS": "400"}
    shown = subprocess.run(command, env=wide, capture_output=True, text=True, check=True, timeout=60).stdout
    for name in names():
        path = quotes.record_of(name)
        if path is not None:
            assert quotes.figures.read(path)["result"] in shown


def test_every_quote_is_on_some_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in quotes.pages())
    assert {name for _, name, _ in quotes.MARKED.findall(pages)} == set(quotes.QUOTES)


def test_every_record_is_quoted(monkeypatch):
    read, seen = quotes.figures.read, set()

    def noting(path):
        seen.add(path)
        return read(path)

    monkeypatch.setattr(quotes.figures, "read", noting)
    for quote in quotes.QUOTES.values():
        quote()
    assert seen == set(RECORDS)


def test_a_figure_that_is_not_on_record_is_noticed():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in readme.splitlines() if line.startswith("| Pendulum-v1 ")]
    assert quotes.fill(readme.replace(row, row.replace("1", "2"))) == readme
    preset = (ROOT / "ppo_jax" / "presets" / "CartPole-v1.toml").read_text(encoding="utf-8")
    recorded = tomllib.loads(preset)["recorded"]["result"]
    assert quotes.fill_preset("CartPole-v1", preset.replace(recorded, recorded.replace("5", "6"))) == preset


def test_a_page_cannot_ask_for_a_quote_that_does_not_exist():
    with pytest.raises(KeyError, match="peer-s"):
        quotes.fill("<!-- quote: peer-s -->\n<!-- end of quote -->")


def test_the_lead_over_other_packages_is_that_over_the_fastest_of_them_at_each_job(monkeypatch):
    def outcome(peer, xla, cores, *ratios, agents=1, failure=None):
        job = {"cores": cores, "agents": agents}
        return {"peer": peer, "xla": xla, "job": job, "failure": failure, "ours_over_peer": ratios}

    outcomes = [
        outcome("ours-library", "own", 2, 1.0, 1.0, 1.0),
        outcome("rejax", "own", 2, 1.5, 1.2, 1.3),
        outcome("another", "own", 2, 1.4, 1.4, 1.9),
        outcome("rejax", "own", 2, 1.8, agents=64),
        outcome("another", "own", 2, 1.6, agents=64),
        outcome("broken", "own", 2, failure="died"),
        outcome("rejax", "own", 1, 1.1),
        outcome("rejax", "ours", 2, 1.2),
        outcome("products", "ours", 2, 0.7),
        outcome("ours-command", "ours", 2, 1.0),
    ]
    monkeypatch.setattr(quotes.figures, "_speeds", lambda name: {"outcomes": outcomes})
    assert quotes.figures._leads("own", 2) == [1.3, 1.6]
    assert quotes.figures._leads("own", 1) == [1.1]
    assert quotes.figures._leads("ours", 2) == [1.2]


@pytest.mark.parametrize("path", [path for path in RECORDS if quotes.figures.RESULTS in path.parents])
def test_the_sentence_in_a_record_tells_of_its_own_numbers(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    says = many_seeds.result if "steps_to_solved" in record else learning.result
    assert record["result"] == says(record)


@pytest.mark.parametrize("path", [path for path in RECORDS if path.parent.name == "many_seeds"])
def test_the_command_of_a_record_of_many_seeds_trains_what_was_recorded(path):
    record = json.loads(path.read_text(encoding="utf-8"))
    python, name, *arguments = shlex.split(record["command"])
    options = tyro.cli(many_seeds.Options, args=arguments)
    assert (python, name) == ("python", "scripts/train_many_seeds.py")
    assert (options.preset, options.num_seeds) == (record["preset"], record["seeds"])
    assert many_seeds.command(options) == record["command"]
