import pytest

from ppo_jax.host.runs import options
from ppo_jax.host.runs.options import RunOptions


def test_what_is_valid_has_no_problems():
    assert options.problems(RunOptions()) == []
    every = RunOptions(
        checkpoint_every=5, keep=1, evaluate_every=2, on_nonfinite="rewind", log_to=("wandb", "tensorboard")
    )
    assert options.problems(every) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"keep": 0}, "keep = 0 is not at least 1; give one such as 3"),
        ({"keep": None}, "keep = None is not at least 1"),
        ({"keep": "three"}, "keep = 'three' is not at least 1"),
        ({"checkpoint_every": 0.5}, "checkpoint_every = 0.5 is not at least 1; give one such as 100"),
        ({"evaluate_every": -1}, "evaluate_every = -1 is not at least 1; give one such as 100"),
        ({"on_nonfinite": "hope"}, "on_nonfinite = 'hope' is unknown; choose from stop, rewind"),
        ({"log_to": (7,)}, "log_to = 7 is not the name of a sink; give one such as tensorboard"),
    ],
)
def test_a_mistake_is_named_with_the_rule_and_the_fix(changes, problem):
    (found,) = options.problems(RunOptions(**changes))
    assert found.startswith(problem)


def test_every_mistake_is_reported_at_once():
    assert len(options.problems(RunOptions(checkpoint_every=0, keep=0, evaluate_every=0))) == 3
