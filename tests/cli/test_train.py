"""The flags of `train`: their defaults, their groups, and what is made of them."""

import dataclasses
import re
from pathlib import Path

import pytest

import ppo_jax
from ppo_jax.cli import main
from ppo_jax.cli.command import records
from ppo_jax.cli.processes import Processes
from ppo_jax.cli.program import parse
from ppo_jax.cli.train import GROUPS, Train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start


def help_of_train(capsys, *arguments):
    with pytest.raises(SystemExit):
        main(["train", *arguments, "--help"])
    return capsys.readouterr().out


def test_every_field_is_in_exactly_one_group():
    grouped = [name for group in GROUPS for name in group.fields]
    own = {field.name for field in dataclasses.fields(Train)} - set(records(Train))
    others = {"options": RunOptions, "processes": Processes}
    assert records(Train) == {"config": Config, "hyper": Hyperparams, **others}
    settings = {
        field.name for record in (Config, RunOptions, Processes) for field in dataclasses.fields(record)
    }
    assert set(grouped) == own | settings | set(Hyperparams._fields)
    assert len(grouped) == len(set(grouped))


def test_every_field_is_a_flag_with_a_help_and_the_value_of_the_preset(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")  # on wide screens two groups may stand side by side
    shown = help_of_train(capsys, "--preset", "CartPole-v1-paper")
    flags = re.findall(r"^  --([a-z-]+)(.*?)(?=^ {,2}\S|\Z)", shown, flags=re.MULTILINE | re.DOTALL)
    helps = {name.replace("-", "_"): " ".join(text.split()) for name, text in flags}
    config, hyper = ppo_jax.preset("CartPole-v1-paper")
    values = {**dataclasses.asdict(config), **hyper._asdict()}
    for name in ("env_args", "network", "initial_policy", "teacher"):
        assert not values.pop(name)
        assert "By default" in helps[name]
    for name, value in values.items():
        expected = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert re.fullmatch(r".* [A-Z].*\. \(default: (.*?)\)", helps[name]).group(1) == expected
    for name, value in dataclasses.asdict(RunOptions()).items():
        told = f"(default: {value})" if value else "By default"
        assert told in helps[name]


def test_the_groups_are_shown_in_their_order_under_their_names(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    titles = re.findall(r"^ ([a-z ]*)options *$", help_of_train(capsys), flags=re.MULTILINE)
    assert titles == ["", *(f"{group.name} " for group in GROUPS)]


def test_a_flag_wins_over_the_preset_and_the_preset_over_the_defaults():
    given = parse(["train", "--preset", "CartPole-v1-paper", "--num-epochs", "7", "--gamma", "0.9"])
    config, hyper = ppo_jax.preset("CartPole-v1-paper")
    assert given.config == dataclasses.replace(config, num_epochs=7)
    assert given.hyper == hyper._replace(gamma=0.9)


def test_a_switch_is_turned_on_by_its_name_and_off_by_its_name_with_no():
    assert parse(["train", "--normalize-observations"]).config.normalize_observations
    assert not parse(["train", "--no-normalize-advantages"]).config.normalize_advantages


def test_flags_with_several_values_and_with_the_value_none_are_understood():
    given = parse(["train", "--hidden-sizes", "8", "4", "2", "--target-kl", "None", "--log-to", "wandb"])
    assert given.config.hidden_sizes == (8, 4, 2)
    assert given.hyper.target_kl is None
    assert given.options.log_to == ("wandb",)


@pytest.mark.parametrize(
    ("text", "steps"), [("500000", 500_000), ("5e5", 500_000), ("2.5E6", 2_500_000), ("1e15", 10**15)]
)
@pytest.mark.parametrize("command", [["train"], ["resume", "run"], ["sweep"]])
def test_steps_are_whole_numbers_in_any_notation(command, text, steps):
    given = parse([*command, "--total-timesteps", text])
    assert getattr(given, "config", given).total_timesteps == steps


def test_an_environment_without_a_preset_takes_the_defaults():
    given = parse(["train", "--env", "MyOwn-v0"])
    assert given.preset is None
    assert given.config == ppo_jax.Config(env="MyOwn-v0")
    assert given.hyper == ppo_jax.Hyperparams()


def test_without_flags_it_is_the_cartpole_preset():
    given = parse(["train"])
    assert (given.config, given.hyper) == ppo_jax.preset("CartPole-v1")
    assert (given.preset, given.seed, given.options) == ("CartPole-v1", 0, RunOptions())


@pytest.fixture
def started(monkeypatch):
    """What every run was started with, without running it."""
    calls = []

    def note(*arguments):
        calls.append(arguments)
        return 0

    monkeypatch.setattr(start, "run", note)
    return calls


def test_train_hands_its_flags_to_the_run(started, tmp_path):
    words = [
        "--seed",
        "3",
        "--keep",
        "2",
        "--run-dir",
        str(tmp_path),
        "--resume",
        "--quiet",
        "--cache-dir",
        "c",
    ]
    assert parse(["train", *words]).run() == 0
    config, hyper = ppo_jax.preset("CartPole-v1")
    asked = Request("CartPole-v1", config, hyper, seed=3, options=RunOptions(keep=2))
    assert started == [(asked, tmp_path, True, Path("c"), True, False)]


def test_a_time_limit_is_an_argument_of_the_environment(started):
    line = ["train", "--env", "brax:ant", "--env-args", "backend=mjx", "--time-limit", "500"]
    assert parse(line).run() == 0
    ((asked, *_),) = started
    assert dict(asked.config.env_args) == {"backend": "mjx", "time_limit": 500}
    with pytest.raises(UsageError, match="time_limit = 500 is given in --env-args as well; give it once"):
        parse([*line, "--env-args", "time_limit=3"]).run()


def test_resume_repeats_the_request_of_the_run_except_for_its_flags(started, tmp_path):
    config, hyper = ppo_jax.preset("CartPole-v1")
    old = Request("CartPole-v1", config, hyper, seed=3, options=RunOptions(keep=2))
    request.write(RunDirectory(tmp_path), old)
    assert parse(["resume", str(tmp_path)]).run() == 0
    longer = ["--total-timesteps", "1000000", "--on-nonfinite", "rewind", "--quiet", "--cache-dir", "c"]
    assert parse(["resume", str(tmp_path), *longer]).run() == 0
    new = old._replace(
        config=dataclasses.replace(config, total_timesteps=1_000_000),
        options=dataclasses.replace(old.options, on_nonfinite="rewind"),
    )
    assert started == [
        (old, tmp_path, True, None, False, False),
        (new, tmp_path, True, Path("c"), True, False),
    ]
