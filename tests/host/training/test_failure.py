import numpy as np
import pytest

from ppo_jax.host.diagnosis.history import ALWAYS_FINITE
from ppo_jax.host.training import failure
from tests.support.chunks import make_records


def find(nonfinite=(), **columns):
    records = make_records(**{name: np.array(column) for name, column in columns.items()})
    return failure.find(records, list(nonfinite))


@pytest.mark.parametrize("name", ALWAYS_FINITE)
def test_a_metric_that_is_not_finite_is_a_divergence(name):
    found = find(**{name: [1.0, np.inf, np.nan]})
    assert found.text.startswith(f"diverged: {name} is not finite at update 2; lower --learning-rate")
    assert found[::2] == (2, True)


def test_states_without_a_legal_action_are_an_error_of_the_environment():
    found = find(dead_ends=[0, 0, 7, 9])
    assert found.text == (
        "error in the environment: it allowed no action in 7 of the states of update 3; "
        "correct its legal_actions"
    )
    assert found[::2] == (3, False)


@pytest.mark.parametrize("what", ["observations", "rewards"])
def test_an_environment_whose_numbers_are_not_finite_is_blamed_for_them(what):
    found = find(**{f"nonfinite_{what}": [0, 5]})
    assert "error in the environment: 5 " in found.text
    assert what in found.text
    assert found[::2] == (2, True)


def test_causes_come_before_their_consequences():
    found = find(nonfinite_rewards=[0, 1], nonfinite_observations=[0, 2], value_loss=[1.0, np.nan])
    assert "2 numbers in observations" in found.text
    assert "rewards" in find(nonfinite_rewards=[0, 1], value_loss=[1.0, np.nan]).text


def test_what_went_wrong_first_is_the_failure():
    assert "at update 2" in find(value_loss=[1.0, np.nan, 1.0], dead_ends=[0, 0, 7]).text
    assert "at update 2" in find(["params"], value_loss=[1.0, np.nan, 1.0]).text


def test_a_state_that_no_metric_shows_to_be_broken_is_found():
    found = find(["learner/optimizer/1/nu", "learner/steering"], entropy=np.ones(3))
    assert (found.update, found.is_nonfinite) == (3, True)
    assert "diverged: learner/optimizer/1/nu is not finite" in found.text


@pytest.mark.parametrize("name", failure.OF_THE_ENVIRONMENT)
def test_a_broken_environment_is_not_blamed_on_the_learning_rate(name):
    found = failure.in_state(["learner/params", f"{name}/x"], 0)
    assert found.text.startswith(f"error in the environment: {name}/x is NaN or infinite at update 0")
    assert found[::2] == (0, True)


def test_a_healthy_training_has_no_failure():
    assert find(return_window=[np.nan] * 3, explained_variance=[np.nan] * 3) is None
    assert failure.in_state([], 0) is None
