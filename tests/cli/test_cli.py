"""Mistakes on the command line: named, explained, status 2, no traceback, and JAX never imported."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import ppo_jax
from ppo_jax.cli import _parse

# Runs the command line and reports on its last line whether it had imported JAX by the end.
PROGRAM = """
import sys
from ppo_jax.cli import main
try:
    main()
finally:
    print("jax imported:", "jax" in sys.modules)
"""


def run_cli(*arguments: str, cwd: Path, columns: int = 200) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=60,
        env={**os.environ, "COLUMNS": str(columns)},
    )


# Arguments, and what the message must name: the field, the value, and the fix.
BAD_VALUES = [
    ("--num-envs 0", "num_envs", "0", "at least 1"),
    ("--num-envs -4", "num_envs", "-4", "at least 1"),
    ("--num-envs eight", "--num-envs", "eight", "INT"),
    ("--num-envs 8.5", "--num-envs", "8.5", "INT"),
    ("--num-envs nan", "--num-envs", "nan", "INT"),
    ("--num-steps 0", "num_steps", "0", "at least 1"),
    ("--num-steps -1", "num_steps", "-1", "at least 1"),
    ("--total-timesteps 0", "total_timesteps", "0", "at least 1"),
    ("--total-timesteps 100", "total_timesteps", "100", "give at least 256"),
    ("--total-timesteps 1e6", "--total-timesteps", "1e6", "INT"),
    ("--total-timesteps 3000000000", "total_timesteps", "3000000000", "at most 2147483647"),
    ("--num-epochs 0", "num_epochs", "0", "at least 1"),
    ("--num-minibatches 0", "num_minibatches", "0", "at least 1"),
    ("--num-minibatches 5", "num_minibatches", "5", "4 and 8 divide it"),
    ("--num-minibatches 512", "num_minibatches", "512", "256 divides it"),
    ("--hidden-sizes 64 0", "hidden_sizes", "(64, 0)", "(64, 64)"),
    ("--hidden-sizes 64 a", "--hidden-sizes", "a", "INT"),
    ("--activation elu", "--activation", "elu", "'tanh', 'relu'"),
    ("--learning-rate 0", "learning_rate", "0.0", "positive"),
    ("--learning-rate -1e-3", "learning_rate", "-0.001", "positive"),
    ("--learning-rate nan", "learning_rate", "nan", "positive"),
    ("--learning-rate inf", "learning_rate", "inf", "finite"),
    ("--learning-rate fast", "--learning-rate", "fast", "FLOAT"),
    ("--final-learning-rate -1", "final_learning_rate", "-1", "0 or more"),
    ("--final-learning-rate inf", "final_learning_rate", "inf", "finite"),
    ("--gamma 1.01", "gamma", "1.01", "between 0 and 1"),
    ("--gamma -0.1", "gamma", "-0.1", "between 0 and 1"),
    ("--gamma nan", "gamma", "nan", "between 0 and 1"),
    ("--gamma", "--gamma", "", "Expected 1"),
    ("--gae-lambda 2", "gae_lambda", "2.0", "between 0 and 1"),
    ("--clip-epsilon 0", "clip_epsilon", "0.0", "inf turns it off"),
    ("--clip-epsilon -0.2", "clip_epsilon", "-0.2", "inf turns it off"),
    ("--value-clip-epsilon 0", "value_clip_epsilon", "0.0", "inf turns it off"),
    ("--value-coefficient -1", "value_coefficient", "-1.0", "0 or more"),
    ("--value-coefficient inf", "value_coefficient", "inf", "finite"),
    ("--entropy-coefficient nan", "entropy_coefficient", "nan", "0 or more"),
    ("--max-grad-norm 0", "max_grad_norm", "0.0", "inf turns it off"),
    ("--adam-epsilon 0", "adam_epsilon", "0.0", "positive"),
    ("--encoder rnn", "--encoder", "rnn", "'auto', 'mlp', 'cnn'"),
    ("--objective trpo", "--objective", "trpo", "'clipped', 'unclipped', 'fixed_kl', 'adaptive_kl'"),
    ("--clip-schedule adaptive_kl", "--clip-schedule", "adaptive_kl", "'constant', 'linear', 'cosine'"),
    ("--learning-rate-schedule step", "--learning-rate-schedule", "step", "'cosine', 'adaptive_kl'"),
    ("--memory-size -1", "memory_size", "-1", "give 0 or one such as 64"),
    ("--memory-size 8 --num-minibatches 16", "num_envs", "8", "whole sequences"),
    ("--normalize-rewards yes", "yes", "yes", "ppo-jax"),
    ("--clip-epsilon inf --clip-schedule linear", "clip_epsilon", "inf", "clip_schedule = 'constant'"),
    ("--final-clip-epsilon 0.1", "final_clip_epsilon", "0.1", "clip_schedule = 'linear'"),
    ("--desired-kl 0", "desired_kl", "0.0", "positive"),
    ("--target-kl 0", "target_kl", "0.0", "None turns it off"),
    ("--kl-coefficient -1", "kl_coefficient", "-1.0", "0 or more"),
    ("--env CartPole", "env", "'CartPole'", "did you mean 'CartPole-v1'"),
    ("--env cartpole-v1", "env", "'cartpole-v1'", "did you mean 'CartPole-v1'"),
    ("--env xyzzy", "env", "'xyzzy'", "choose one of: CartPole-v1"),
    ("--preset=", "preset", "''", "choose one of"),
    ("--preset Cartpole", "preset", "'Cartpole'", "did you mean 'CartPole-v1'"),
    ("--seed -1", "seed", "-1", "such as 0"),
    ("--seed 4294967296", "seed", "4294967296", "such as 0"),
    ("--seed one", "--seed", "one", "INT"),
    ("--num-env 8", "--num-env", "8", "--num-envs"),
    ("--lr 1e-3", "--lr", "1e-3", "ppo-jax"),
    ("--run-dir taken", "run_dir", "'taken'", "--resume"),
    ("--run-dir taken --resume", "config.json", "'hyper'", "damaged"),
    ("--resume", "resume", "True", "--run-dir"),
    ("--checkpoint-every 0", "checkpoint_every", "0", "such as 100"),
    ("--keep 0", "keep", "0", "such as 3"),
    ("--evaluate-every -1", "evaluate_every", "-1", "such as 100"),
    ("--on-nonfinite ignore", "--on-nonfinite", "ignore", "'stop', 'rewind'"),
    ("--log-to syslog", "--log-to", "syslog", "wandb"),
    ("--run-dir a-file", "run_dir", "'a-file'", "--run-dir"),
    ("--run-dir a-file/run", "run_dir", "'a-file/run'", "--run-dir"),
]


@pytest.fixture
def place(tmp_path):
    """A directory with a file, a directory that is taken, and two damaged runs."""
    (tmp_path / "a-file").write_text("")
    for name in ("taken", "no-policy", "broken-policy"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "broken-policy" / "policy.json").write_text(json.dumps({"format": "pickle"}))
    return tmp_path


def _assert_refused(result: subprocess.CompletedProcess, *parts: str) -> None:
    assert result.returncode == 2, result
    assert "Traceback" not in result.stderr
    assert "jax imported: False" in result.stdout
    for part in parts:
        assert part in result.stderr


@pytest.mark.parametrize(("arguments", "field", "value", "fix"), BAD_VALUES)
def test_a_bad_value_is_refused_by_name_with_the_fix(place, arguments, field, value, fix):
    result = run_cli("train", *arguments.split(), cwd=place)
    _assert_refused(result, field, value, fix)
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "field", "fix"),
    [
        ("evaluate nowhere", "RUN = 'nowhere'", "ppo-jax train"),
        ("evaluate a-file", "RUN = 'a-file'", "ppo-jax train"),
        ("evaluate .", "RUN = '.'", "ppo-jax train"),
        ("evaluate", "RUN", "Run directory"),
        ("evaluate no-policy", "policy.json", "train again"),
        ("evaluate broken-policy", "policy.json", "version 2"),
        ("evaluate taken --episodes 0", "episodes = 0", "such as 100"),
        ("evaluate taken --episodes 1000000000000", "episodes = 1000000000000", "such as 100"),
        ("evaluate taken --seed -1", "seed = -1", "such as 0"),
        ("evaluate taken --best", "config.json", "damaged"),
        ("resume nowhere", "RUN = 'nowhere'", "ppo-jax train"),
        ("resume .", "RUN = '.'", "ppo-jax train"),
        ("resume taken", "config.json", "damaged"),
        ("verify nowhere", "RUN = 'nowhere'", "ppo-jax train"),
        ("report nowhere", "RUN = 'nowhere'", "ppo-jax train"),
        ("render nowhere out.gif", "RUN = 'nowhere'", "ppo-jax train"),
        ("render no-policy out.gif", "policy.json", "train again"),
        ("render no-policy out.gif --seed -1", "seed = -1", "such as 0"),
        ("plot nowhere", "RUN = 'nowhere'", "ppo-jax train"),
        ("plot", "RUN", "required"),
        ("tran", "tran", "train"),
        ("figures", "DIR", "required"),
    ],
)
def test_the_other_commands_refuse_what_is_not_there(place, arguments, field, fix):
    _assert_refused(run_cli(*arguments.split(), cwd=place), field, fix)


def test_every_mistake_is_reported_at_once(place):
    flags = "--num-envs 0 --gamma 2 --learning-rate nan --env CartPole --seed -1"
    result = run_cli("train", *flags.split(), cwd=place)
    _assert_refused(result, "num_envs", "gamma", "learning_rate", "env", "seed")
    assert len(result.stderr.splitlines()) == 5


@pytest.mark.parametrize("arguments", [["--help"], [], ["train", "--help"], ["evaluate", "--help"]])
def test_help_does_not_import_jax(tmp_path, arguments):
    result = run_cli(*arguments, cwd=tmp_path)
    assert result.returncode == 0
    assert "usage: ppo-jax" in result.stdout
    assert "jax imported: False" in result.stdout


def test_every_field_is_a_flag_with_the_value_of_the_preset(tmp_path):
    """On a screen too narrow for two boxes side by side, whose lines would be mixed up."""
    shown = run_cli("train", "--preset", "CartPole-v1-paper", "--help", cwd=tmp_path, columns=80).stdout
    text = re.sub(r"[│\s]+", " ", shown)
    defaults = dict(re.findall(r" --([a-z-]+)[ ,][^│]*?\(default: (.*?)\)", text))
    config, hyper = ppo_jax.preset("CartPole-v1-paper")
    for name, value in {**dataclasses.asdict(config), **hyper._asdict()}.items():
        expected = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
        assert defaults[name.replace("_", "-")] == expected


def test_a_flag_wins_over_the_preset_and_the_preset_over_the_defaults():
    given = _parse(["train", "--preset", "CartPole-v1-paper", "--num-epochs", "7", "--gamma", "0.9"])
    config, hyper = ppo_jax.preset("CartPole-v1-paper")
    assert given.config == dataclasses.replace(config, num_epochs=7)
    assert given.hyper == hyper._replace(gamma=0.9)


def test_a_switch_is_turned_on_by_its_name_and_off_by_its_name_with_no():
    assert _parse(["train", "--normalize-observations"]).config.normalize_observations
    assert not _parse(["train", "--no-normalize-advantages"]).config.normalize_advantages


def test_an_environment_without_a_preset_takes_the_defaults():
    given = _parse(["train", "--env", "MyOwn-v0"])
    assert given.preset is None
    assert given.config == ppo_jax.Config(env="MyOwn-v0")
    assert given.hyper == ppo_jax.Hyperparams()


def test_without_flags_it_is_the_cartpole_preset():
    assert (_parse(["train"]).config, _parse(["train"]).hyper) == ppo_jax.preset("CartPole-v1")


def test_a_figure_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "a-file").write_text("")
    result = run_cli("figures", "a-file", cwd=tmp_path)
    assert result.returncode == 2
    assert "output = 'a-file/clipped_surrogate.png' cannot be written" in result.stderr
    assert "Traceback" not in result.stderr
