"""The list of deliberate bugs stays true to the code, and the tests catch them all."""

import pytest

from tests.mutants import runner
from tests.mutants.bugs import BUGS, Bug

every_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)


@every_bug
def test_the_text_that_a_bug_replaces_occurs_exactly_once(bug):
    assert runner.occurrences(bug) == 1


@every_bug
def test_the_tests_that_must_catch_a_bug_exist(bug):
    for node in bug.caught_by:
        file, function = node.split("::")  # all cases of a test: their ids may change
        assert f"def {function}(" in (runner.ROOT / file).read_text(encoding="utf-8")


def test_bugs_have_names_of_their_own():
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 12


def test_a_misspelled_bug_is_an_error():
    said = []
    assert runner.main(["no such bug"], said.append) == 1
    assert "no such bug" in said[0]


@pytest.mark.slow
def test_a_bug_that_changes_nothing_survives(monkeypatch):
    node = "tests/algorithm/test_gae.py::test_lambda_zero_is_the_td_error"
    harmless = Bug("harmless", "ppo_jax/algorithm/gae.py", "A_t     = delta_t", "A_t = delta_t", (node,))
    monkeypatch.setattr(runner, "BUGS", (harmless,))
    said = []
    assert runner.main([], said.append) == 1
    assert said[0].startswith("SURVIVED")


@pytest.mark.slow
def test_every_bug_is_caught():
    said = []
    assert runner.main([], said.append) == 0, "\n".join(said)
