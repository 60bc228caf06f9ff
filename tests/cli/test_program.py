"""The command line as a whole. Mistakes are named and explained, with status 2, before JAX is imported."""

import dataclasses
import inspect
import json
import os
import subprocess
import sys

import pytest

from ppo_jax.cli import main, program
from ppo_jax.cli.command import Command
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints.manifest import DamageError

# Runs many command lines, one after the other, and tells of each what it printed and left behind.
PROGRAM = """
import contextlib, io, json, os, sys, traceback
from ppo_jax.cli import main

def answer(line):
    output, error, status = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(error):
        try:
            main(line.split())
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            traceback.print_exc()
    return {
        "status": status,
        "output": output.getvalue(),
        "error": error.getvalue(),
        "imported_jax": "jax" in sys.modules,
        "files": sorted(os.listdir()),
    }

json.dump({line: answer(line) for line in json.load(sys.stdin)}, sys.stdout)
"""

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
    ("--total-timesteps 2.5", "--total-timesteps", "2.5", "such as 500000 or 5e5"),
    ("--total-timesteps nan", "--total-timesteps", "nan", "such as 500000 or 5e5"),
    ("--total-timesteps 1e2", "total_timesteps", "100", "give at least 256"),
    ("--total-timesteps 1e16", "total_timesteps", "10000000000000000", "9007199254740991"),
    ("--total-timesteps 10000000000000000", "total_timesteps", "10000000000000000", "9007199254740991"),
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

OTHER_MISTAKES = [
    ("evaluate nowhere", "RUN = 'nowhere'", "ppo-jax train"),
    ("evaluate a-file", "RUN = 'a-file'", "ppo-jax train"),
    ("evaluate .", "RUN = '.'", "ppo-jax train"),
    ("evaluate", "RUN", "run directory"),
    ("evaluate no-policy", "policy.json", "resume it"),
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
    ("render no-policy out.gif", "policy.json", "resume it"),
    ("render no-policy out.gif --seed -1", "seed = -1", "such as 0"),
    ("export nowhere out", "RUN = 'nowhere'", "ppo-jax train"),
    ("export no-policy out", "policy.json", "resume it"),
    ("export no-policy out --format pickle", "--format", "'numpy', 'onnx', 'stablehlo'"),
    ("plot nowhere", "RUN = 'nowhere'", "ppo-jax train"),
    ("plot", "RUN", "required"),
    ("tran", "tran", "train"),
    ("figures", "DIR", "required"),
]

MANY_MISTAKES = "train --num-envs 0 --gamma 2 --learning-rate nan --env CartPole --seed -1 --keep 0"
HELP = ["--help", "", "train --help", "evaluate --help"]

FILES = ["a-file", "broken-policy", "no-policy", "taken"]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each command line answers, beside a file, a directory that is taken, and two damaged runs."""
    place = tmp_path_factory.mktemp("place")
    (place / "a-file").write_text("")
    for name in FILES[1:]:
        (place / name).mkdir()
        (place / name / "config.json").write_text("{}")
    (place / "broken-policy" / "policy.json").write_text(json.dumps({"format": "pickle"}))
    lines = [f"train {arguments}" for arguments, *_ in BAD_VALUES] + [line for line, *_ in OTHER_MISTAKES]
    lines += [MANY_MISTAKES, *HELP]
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=json.dumps(lines),
        capture_output=True,
        text=True,
        cwd=place,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def assert_refused(answer, *parts):
    assert answer["status"] == 2, answer
    assert "Traceback" not in answer["error"]
    assert not answer["imported_jax"]
    for part in parts:
        assert part in answer["error"]
    assert answer["files"] == FILES


@pytest.mark.parametrize(("arguments", "field", "value", "fix"), BAD_VALUES)
def test_a_bad_value_is_refused_by_name_with_the_fix(answers, arguments, field, value, fix):
    assert_refused(answers[f"train {arguments}"], field, value, fix)


@pytest.mark.parametrize(("line", "field", "fix"), OTHER_MISTAKES)
def test_the_other_commands_refuse_what_does_not_exist(answers, line, field, fix):
    assert_refused(answers[line], field, fix)


def test_every_mistake_is_reported_at_once(answers):
    answer = answers[MANY_MISTAKES]
    assert_refused(answer, "num_envs", "gamma", "learning_rate", "env", "seed", "keep")
    assert len(answer["error"].splitlines()) == 6


@pytest.mark.parametrize("line", HELP)
def test_help_does_not_import_jax(answers, line):
    answer = answers[line]
    assert answer["status"] == 0
    assert "usage: ppo-jax" in answer["output"]
    assert not answer["imported_jax"]


def test_a_figure_that_cannot_be_written_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("")
    assert run("figures", "a-file") == 2
    assert "output = 'a-file/clipped_surrogate.png' cannot be written" in capsys.readouterr().err


def test_python_can_run_the_package_as_a_program():
    result = subprocess.run(
        [sys.executable, "-m", "ppo_jax.cli", "tran"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "Available subcommands: train" in result.stderr


# The table of commands


def run(*arguments):
    """Calls the command line as the shell would, and returns the exit status."""
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    return stop.value.code


@dataclasses.dataclass(frozen=True)
class Greet(Command):
    """Greet somebody."""

    name: str = "you"
    """Whom to greet."""

    def run(self):
        print(f"hello {self.name}")
        return 0


@dataclasses.dataclass(frozen=True)
class Fail(Command):
    """Fail."""

    number: int = 0
    """Which failure."""

    def run(self):
        raise FAILURES[self.number][0]


FAILURES = [
    (UsageError(["first", "second"]), 2, "ppo-jax: error: first\nppo-jax: error: second\n"),
    (DamageError("it is damaged"), 2, "ppo-jax: error: it is damaged\n"),
    (KeyboardInterrupt(), 130, "ppo-jax: interrupted\n"),
    (
        OSError(28, "No space left", "a/file"),
        1,
        "ppo-jax: error: cannot write to 'a/file': No space left; free some space or give another place\n",
    ),
]


def test_a_command_takes_one_class_and_one_row(monkeypatch, capsys):
    monkeypatch.setitem(program.COMMANDS, "greet", Greet)
    assert run("greet", "--name", "Ada") == 0
    assert capsys.readouterr().out == "hello Ada\n"
    assert run("--help") == 0
    assert "Greet somebody." in capsys.readouterr().out
    assert run("greet", "--help") == 0
    assert "Whom to greet. (default: you)" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("number", range(len(FAILURES)))
def test_every_failure_has_its_exit_status_and_a_message(monkeypatch, capsys, number):
    monkeypatch.setitem(program.COMMANDS, "fail", Fail)
    _, status, message = FAILURES[number]
    assert run("fail", "--number", str(number)) == status
    assert capsys.readouterr().err == message


@pytest.mark.parametrize("name", program.COMMANDS)
@pytest.mark.parametrize("columns", ["80", "120"])
def test_the_help_of_a_command_fits_the_terminal_and_says_nothing_about_compilation(
    monkeypatch, capsys, name, columns
):
    monkeypatch.setenv("COLUMNS", columns)
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    assert inspect.getdoc(program.COMMANDS[name]) in shown
    assert max(map(len, shown.splitlines())) <= int(columns)
    for word in ("jit", "vmap", "hash", "trace", "tracing", "XLA", "branch", "static"):
        assert word.lower() not in shown.lower()
