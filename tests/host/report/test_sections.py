"""The sections say what is in the run directory, whatever that is."""

import dataclasses
import json
import math
import shlex

import pytest

import ppo_jax
from ppo_jax.cli.program import parse
from ppo_jax.host.report import page
from ppo_jax.host.report.found import find
from ppo_jax.host.runs import request
from ppo_jax.host.runs.files import read_json, write_json
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from tests.host.report.conftest import GIF, Page, read_page

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"


def test_the_numbers_are_those_of_the_run(whole, trained):
    text = whole[0].text
    summary = read_json(trained.summary)
    assert f"Done: {summary['updates']} of {summary['updates']} updates." in text
    assert f"{summary['evaluation']['mean']:,.2f}" in text
    assert f"{summary['steps_per_second']:,}" in text
    assert "All 2 evaluations during training" in text
    assert "12.50" in text
    assert "7.25" in text
    assert summary["versions"]["jax"] in text


def test_the_configuration_is_shown_as_a_difference(whole):
    section = whole[0].text.split("Configuration")[1].split("All fields")[0]
    assert section.startswith("fieldherepreset CartPole-v1num_envs48")
    assert "total_timesteps4000150000" in section
    assert "gamma" not in section


def test_a_run_without_a_summary_is_said_to_be_unfinished(run):
    run.summary.unlink()
    run.metrics.write_text(run.metrics.read_text()[:-20])  # a line that is being written
    assert "There is no summary: the run is still in progress, or it was killed." in read_page(run).text


@pytest.mark.parametrize(("status", "words"), [("interrupted", "Stopped early: "), ("failed", "Failed: ")])
def test_a_run_that_did_not_finish_is_said_to_have_stopped_or_failed(run, status, words):
    summary = {**read_json(run.summary), "status": status, "evaluation": None, "failure": "diverged: entropy"}
    write_json(run.summary, summary)
    text = read_page(run).text
    assert words in text
    assert "; diverged: entropy." in text
    assert "At the end: there was none." in text


def test_the_page_shows_the_command_that_repeats_the_run(run):
    assert request.command(find(run).asked) in read_page(run).text


@pytest.mark.parametrize(
    ("preset", "fields", "numbers", "options"),
    [
        ("CartPole-v1", {}, {}, {}),
        ("CartPole-v1", {"hidden_sizes": (32, 16)}, {"learning_rate": 1e-3, "target_kl": 0.02}, {}),
        ("CartPole-v1", {"hidden_sizes": (), "normalize_advantages": False}, {"max_grad_norm": math.inf}, {}),
        (
            "Pendulum-v1",
            {"normalize_rewards": False, "normalize_observations": True},
            {},
            {"evaluate_every": 5},
        ),
        ("CartPole-v1", {"env": "Acrobot-v1"}, {"final_learning_rate": 1e-4}, {"on_nonfinite": "rewind"}),
        (None, {"env": "CartPole-v1"}, {}, {"log_to": ("tensorboard",)}),
        (None, {"env": "Foo-bar"}, {"gamma": 0.5}, {}),
    ],
)
def test_the_command_asks_for_the_same_run(preset, fields, numbers, options):
    config, hyper = ppo_jax.preset(preset) if preset else (ppo_jax.Config(), ppo_jax.Hyperparams())
    asked = Request(
        preset=preset,
        config=dataclasses.replace(config, **fields),
        hyper=hyper._replace(**numbers),
        seed=3,
        options=RunOptions(**options),
    )
    program, *words = shlex.split(request.command(asked))
    train = parse(words)
    assert program == "ppo-jax"
    assert (train.config, train.hyper, train.seed, train.options) == asked[1:5]


def test_the_words_of_the_command_are_quoted():
    config = dataclasses.replace(ppo_jax.Config(), env="a; rm -rf $HOME")
    asked = Request(preset=None, config=config, hyper=ppo_jax.Hyperparams(), seed=0)
    assert "'a; rm -rf $HOME'" in request.command(asked)


@pytest.mark.parametrize("name", ["summary", "evaluations", "path"])
def test_hostile_text_stays_text(run, name):
    if name == "summary":
        summary = dict.fromkeys(read_json(run.summary), HOSTILE)
        write_json(
            run.summary, {**summary, "versions": {HOSTILE: HOSTILE}, "evaluation": {"unfinished": HOSTILE}}
        )
    elif name == "evaluations":
        run.evaluations.write_text(
            json.dumps({"update": HOSTILE, "greedy": {"mean": HOSTILE}, "sampled": 3}) + "\n"
        )
    else:
        (run.path / HOSTILE.replace("/", "")).touch()
    shown = read_page(run)
    assert not shown.all("script")
    assert all("onerror" not in image for image in shown.all("img"))
    assert "alert(1)" in shown.text or name == "evaluations"


def test_a_hostile_environment_stays_text(run):
    found = find(run)
    asked = found.asked._replace(preset=None, config=dataclasses.replace(found.asked.config, env=HOSTILE))
    shown = Page(page.to_html(found._replace(asked=asked), GIF))
    assert not shown.all("script")
    assert f"PPO on {HOSTILE}, seed 0" in shown.text
