"""Modules that are imported only once something of them is used."""

import subprocess
import sys

import pytest

from ppo_jax.envs.deferred import deferred

MODULE = "import sys\nsys.loaded = getattr(sys, 'loaded', 0) + 1\nvalue = 7\n"


@pytest.fixture
def loaded(tmp_path, monkeypatch):
    """`loaded()`: how often the module `some_plots` has been imported."""
    (tmp_path / "some_plots.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "loaded", 0, raising=False)
    yield lambda: sys.loaded
    sys.modules.pop("some_plots", None)


def test_a_module_is_imported_at_its_first_use_and_once(loaded):
    with deferred("some_plots"):
        import some_plots as early
    assert loaded() == 0
    assert (early.value, early.value) == (7, 7)
    assert loaded() == 1


def test_after_the_block_an_import_is_an_ordinary_one(loaded):
    with deferred("some_plots"):
        pass
    import some_plots

    assert type(some_plots) is type(sys)
    assert loaded() == 1


def test_a_use_while_imports_are_deferred_gets_the_module_itself(loaded):
    with deferred("some_plots"):
        import some_plots as early

        assert early.value == 7
    assert sys.modules["some_plots"].value == 7
    assert loaded() == 1


def test_a_module_that_is_already_imported_is_left_alone(loaded):
    import some_plots as there

    with deferred("some_plots"):
        import some_plots as again
    assert again is there


def test_what_gymnax_draws_with_is_not_imported_and_works_when_asked_for():
    code = (
        "import sys, ppo_jax.envs.gymnax\n"
        "assert 'gymnax' in sys.modules and 'seaborn' not in sys.modules and 'pandas' not in sys.modules\n"
        "from gymnax.environments.misc import pong\n"
        "assert len(pong.sns.color_palette()) == 10 and 'seaborn' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
