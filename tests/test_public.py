"""The public surface: what the README promises can be had from `import ppo_jax`."""

import importlib
import inspect

import pytest

import ppo_jax


@pytest.mark.parametrize("name", ppo_jax.__all__)
def test_a_public_name_is_documented_and_stays_the_same_object(name):
    first = getattr(ppo_jax, name)
    assert inspect.getdoc(first)
    assert first.__module__.startswith("ppo_jax.")
    assert getattr(ppo_jax, name) is first


@pytest.mark.parametrize("name", ppo_jax.__all__)
def test_a_public_name_is_the_object_in_its_module_even_after_the_module_is_imported(name):
    module = importlib.import_module(getattr(ppo_jax, name).__module__)
    assert getattr(ppo_jax, name) is getattr(module, name)


def test_a_user_may_replace_a_public_name(monkeypatch):
    monkeypatch.setattr(ppo_jax, "train", print)
    assert ppo_jax.train is print


def test_all_public_names_are_listed_and_others_are_refused():
    assert set(ppo_jax.__all__) <= set(dir(ppo_jax))
    assert not hasattr(ppo_jax, "nonsense")
