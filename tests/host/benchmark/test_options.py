"""Mistakes in what a benchmark is asked to measure are found at once, all of them."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_jax import cli
from ppo_jax.errors import UsageError
from ppo_jax.host.benchmark.options import Options, check, make_config, problems

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shapes": ("4by8",)}, "shapes = '4by8' is not environments x steps"),
        ({"shapes": ("0x8",)}, "shapes = '0x8' is not"),
        ({"shapes": ()}, r"shapes = \(\) is empty"),
        ({"agents": (1, 0)}, "agents = 0 is not positive"),
        ({"agents": ()}, "agents = 0 is not positive"),
        ({"repeats": 0}, "repeats = 0 is not positive"),
        ({"seconds": -1.0}, "seconds = -1.0 is not positive"),
        ({"seconds": float("nan")}, "seconds = nan is not positive"),
        ({"env": "CartPole"}, "CartPole-v1"),
        ({"shapes": ("5x7",)}, "not divisible by num_minibatches = 4"),
    ],
)
def test_a_mistake_is_named(changes, message):
    with pytest.raises(UsageError, match=message):
        check(dataclasses.replace(Options(), **changes))


def test_all_mistakes_are_named_at_once_and_shared_ones_only_once():
    assert len(problems(Options(shapes=("4by8", "2x8", "4x8"), repeats=0, env="CartPole"))) == 3


def test_a_shape_is_environments_times_steps():
    config = make_config(Options(num_epochs=3, num_minibatches=2), "4x8")
    assert (config.num_envs, config.num_steps, config.total_timesteps) == (4, 8, 32)
    assert (config.num_epochs, config.num_minibatches) == (3, 2)


def test_the_defaults_are_right():
    assert problems(Options()) == []
    check(Options())


def test_the_file_of_the_numbers_cannot_be_named_like_a_picture(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["benchmark", "--output", str(tmp_path / "result.png")])
    assert "does not end in .json" in capsys.readouterr().err


def test_a_mistake_is_answered_without_importing_jax():
    code = (
        "import sys; from ppo_jax.cli import main\ntry: main(['benchmark', '--repeats', '0'])\n"
        "except SystemExit as stop: assert stop.code == 2 and 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
