import matplotlib.image
import numpy as np
import pytest

import ppo_jax
from ppo_jax.runs import plots
from tests.runs.conftest import run_command


def _is_a_picture_with_content(path):
    pixels = matplotlib.image.imread(path)
    return pixels.ndim == 3 and pixels.std() > 0.01


def test_the_training_leaves_a_picture(trained):
    assert _is_a_picture_with_content(trained.diagnostics)


def test_plot_draws_one_run_where_it_is_told(trained, tmp_path):
    assert run_command("plot", trained.path, "--output", tmp_path / "new" / "one.png") == 0
    assert _is_a_picture_with_content(tmp_path / "new" / "one.png")


def test_plot_draws_several_runs_over_each_other(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command("plot", trained.path, trained.path) == 0
    assert _is_a_picture_with_content(tmp_path / "comparison.png")


def test_every_line_of_a_run_stands_in_its_picture(trained, monkeypatch, tmp_path):
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, path: figures.append(figure))
    plots.draw([trained], tmp_path / "a.png")
    axes = figures[0].axes
    assert [ax.get_title(loc="left") for ax in axes][:3] == [
        "Episode return",
        "Clip fraction",
        "Policy entropy (nats)",
    ]
    marks = [line for line in axes[0].lines if line.get_label() == "solved: 475"]
    np.testing.assert_array_equal(marks[0].get_ydata(), 475)
    (band,) = axes[1].patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.05, 0.30))


def test_a_picture_of_no_known_kind_is_refused(trained, tmp_path):
    with pytest.raises(ppo_jax.UsageError, match="suffix"):
        plots.draw([trained], tmp_path / "picture.xyz")
