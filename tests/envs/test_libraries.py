"""Libraries of environments that are not installed here: what is said, how soon, and what is not imported."""

import importlib.util
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

import ppo_jax
from ppo_jax.envs import make, registry
from ppo_jax.envs.registry import LIBRARIES
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import code

ROOT = Path(__file__).parents[2]
OPTIONAL = [name for name, library in LIBRARIES.items() if library.extra]


@pytest.fixture
def without(monkeypatch):
    """Makes sure that no optional library can be found, wherever the tests run."""
    optional = {LIBRARIES[name].module for name in OPTIONAL}
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in optional else find(name))


@pytest.mark.parametrize("library", OPTIONAL)
def test_a_name_of_a_library_that_is_not_installed_says_how_to_install_it(without, library):
    row = LIBRARIES[library]
    start = time.process_time()
    with pytest.raises(UsageError) as caught:
        ppo_jax.validate(ppo_jax.Config(env=f"{library}:{row.example}"))
    assert time.process_time() - start < 1
    (problem,) = caught.value.problems
    assert f"env = '{library}:{row.example}'" in problem
    assert row.title in problem
    assert problem.endswith(f"pip install 'ppo-jax[{row.extra}]'")
    assert row.module not in sys.modules


def test_a_run_on_one_that_is_not_installed_is_not_taken_for_one_on_a_registered_name(without):
    assert code.check(ppo_jax.Config(env="brax:ant"), (), trust=False) == ()


@pytest.mark.parametrize("ask", [make.make_environment, make.make_dynamics, make.parameters])
def test_making_one_that_is_not_installed_says_the_same(without, ask):
    with pytest.raises(UsageError, match=r"Brax is not installed; give pip install 'ppo-jax\[brax\]'"):
        ask("brax:ant")
    with pytest.raises(UsageError, match="Brax is not installed"):
        make.names("brax")


def test_gymnax_is_always_installed_and_its_names_can_be_listed(without):
    assert registry.missing("gymnax") is None
    assert set(registry.ENVIRONMENTS) <= set(make.names("gymnax"))


def test_another_word_before_the_colon_is_code_of_the_user():
    assert registry.is_reference("braxx:ant")
    assert registry.is_reference("my.module:Environment")
    assert registry.is_reference("pgx.py:make")
    for library in LIBRARIES:
        assert not registry.is_reference(f"{library}:anything")


def test_every_library_has_an_adapter_and_an_extra():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name in LIBRARIES:
        assert (ROOT / "ppo_jax" / "envs" / f"{name}.py").exists()
        assert make.ADAPTERS[name] == f"ppo_jax.envs.{name}"
    assert {LIBRARIES[name].extra for name in OPTIONAL} <= set(extras)
    assert all(name in extras["libraries"][0] for name in OPTIONAL)


def test_parameters_may_be_traced_only_where_the_library_allows_it(without):
    assert make.traceable("brax:ant", [{"ctrl_cost_weight": 0.5}, {"ctrl_cost_weight": 0.6}]) == ()
    assert make.traceable("CartPole-v1", [{"length": 0.5}, {"length": 0.6}]) == ("length",)


ANSWER_AT_ONCE = """
import sys, time
from ppo_jax.cli import main
optional = sys.argv[1].split(",")
sys.modules.update(dict.fromkeys(optional))  # as if none of them were installed
for line in sys.argv[2:]:
    start = time.process_time()
    try:
        main(line.split())
    except SystemExit as stop:
        print(stop.code, time.process_time() - start < 1, "jax" in sys.modules)
"""


def test_the_command_line_answers_at_once_with_what_to_install():
    optional = ",".join(LIBRARIES[name].module for name in OPTIONAL)
    lines = [f"train --env {name}:{LIBRARIES[name].example}" for name in OPTIONAL]
    lines += [f"envs {name}" for name in OPTIONAL]
    command = [sys.executable, "-c", ANSWER_AT_ONCE, optional, *lines]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.stdout.splitlines() == ["2 True False"] * len(lines), result.stderr
    for name in OPTIONAL:
        assert result.stderr.count(f"give pip install 'ppo-jax[{LIBRARIES[name].extra}]'") == 2
    assert "Traceback" not in result.stderr
