"""Pictures of a sweep: what is drawn are the numbers, once for each scheme."""

import io

import matplotlib.image
import numpy as np
import pytest

from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.host.report import drawings, sweep_drawings


@pytest.fixture
def figures(monkeypatch):
    """The figures that were drawn, and what became of them."""
    drawn, original = [], drawings.png

    def png(figure):
        drawn.append(figure)
        return original(figure)

    monkeypatch.setattr(drawings, "png", png)
    return drawn


def lines_of(figure):
    return [line.get_xydata() for line in figure.axes[0].lines]


def test_each_picture_is_drawn_for_a_light_and_for_a_dark_page():
    pictures = sweep_drawings.draw_cost([1, 1], [3.0, 4.0])
    corners = {
        scheme: matplotlib.image.imread(io.BytesIO(content))[0, 0, :3].max()
        for scheme, content in pictures.items()
    }
    assert corners["light"] > 0.9
    assert corners["dark"] < 0.2


def test_a_curve_is_the_interquartile_mean_over_steps_and_begins_when_every_seed_has_a_value(figures):
    values = np.array([[np.nan, 1, 2, 4], [0, 2, 3, 9], [1, 3, 4, 5], [2, 4, 5, 6]], float)
    sweep_drawings.draw_bands({"a point": values}, {"a point": 256})
    (curve,) = lines_of(figures[0])
    np.testing.assert_allclose(curve[:, 0], [512, 768, 1024])
    np.testing.assert_allclose(curve[:, 1], interval(values[:, 1:]).iqm)


def test_scores_stand_over_numbers_that_differ_widely_on_a_logarithmic_scale(figures):
    scores = [np.array([1.0, 2.0]), np.array([3.0, np.nan]), np.array([np.nan, np.nan])]
    sweep_drawings.draw_sensitivity([1e-4, 1e-3, 1e-2], scores, "learning_rate")
    sweep_drawings.draw_sensitivity([0.9, 0.99, 0.95], scores, "gamma")
    assert [figure.axes[0].get_xscale() for figure in figures] == ["log", "log", "linear", "linear"]
    means = [points[0] for points in lines_of(figures[0]) if len(points) == 1]
    np.testing.assert_allclose(means, [[1e-4, 1.5], [1e-3, 3.0]])


def test_scores_over_values_that_are_no_numbers_stand_side_by_side_under_their_names(figures):
    scores = [np.array([1.0]), np.array([2.0])]
    sweep_drawings.draw_sensitivity([(64, 64), (8,)], scores, "hidden_sizes")
    assert [tick.get_text() for tick in figures[0].axes[0].get_xticklabels()] == ["(64, 64)", "(8,)"]


def test_a_map_has_the_mean_of_the_points_with_the_same_values_and_gaps_where_there_is_none(figures):
    rows, columns, scores = [1, 1, 1, 2], [10, 20, 20, 10], [1.0, 2.0, 4.0, np.nan]
    sweep_drawings.draw_map(rows, columns, scores, ("a", "b"))
    cells = figures[0].axes[0].images[0].get_array().filled(np.nan)
    np.testing.assert_allclose(cells, [[1.0, 3.0], [np.nan, np.nan]])


def test_the_best_so_far_never_falls_and_is_drawn_over_all_steps_until_then(figures):
    sweep_drawings.draw_cost([100, 50, 50], [2.0, 1.0, 3.0])
    _, best = lines_of(figures[0])
    np.testing.assert_allclose(best, [[100, 2.0], [150, 2.0], [200, 3.0]])


def test_the_ancestors_of_the_best_member_are_connected(figures):
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    sweep_drawings.draw_generations([10, 20], values, [1, 0], "gamma", is_log=True)
    *_, highlighted = lines_of(figures[0])
    np.testing.assert_allclose(highlighted, [[10, 2.0], [20, 3.0]])
    assert figures[0].axes[0].get_yscale() == "log"
