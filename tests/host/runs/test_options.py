import dataclasses

import pytest

import ppo_jax
from ppo_jax.host.runs import options
from ppo_jax.host.runs.options import RunOptions

OPTIONS = RunOptions(checkpoint_every=5, keep=1, on_nonfinite="rewind", log_to=("wandb",))


def test_options_survive_json():
    content = {"options": {**dataclasses.asdict(OPTIONS), "log_to": ["wandb"]}}
    assert options.from_json(content) == OPTIONS
    assert options.from_json({}) == RunOptions()


@pytest.mark.parametrize(
    "options",
    [
        7,
        {"keep": 0},
        {"keep": "three"},
        {"keep": None},
        {"checkpoint_every": 0.5},
        {"evaluate_every": -1},
        {"on_nonfinite": "hope"},
        {"log_to": ["syslog"]},
        {"log_to": 3},
        {"unknown": 1},
    ],
)
def test_options_that_are_not_valid_are_refused(options):
    with pytest.raises(ppo_jax.UsageError, match="damaged"):
        options.from_json({"options": options})


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ppo_jax.UsageError) as caught:
        options.check(RunOptions(checkpoint_every=0, keep=0, evaluate_every=0))
    assert len(caught.value.problems) == 3
