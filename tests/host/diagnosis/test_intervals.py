"""The interquartile mean against its definition, and an interval that covers what it should."""

import warnings

import numpy as np
import pytest

from ppo_jax.host.diagnosis.intervals import interval, iqm

SCORES = np.random.default_rng(0).normal(size=(20, 3)) * [1.0, 10.0, 0.1]


def middle_mean(scores):
    """The interquartile mean of one column: sort, leave out the lowest and the highest quarter, average."""
    left_out = len(scores) // 4
    middle = sorted(scores)[left_out : len(scores) - left_out]
    return sum(middle) / len(middle)


@pytest.mark.parametrize("num_seeds", [1, 2, 3, 4, 5, 8, 20])
def test_the_interquartile_mean_leaves_out_the_lowest_and_the_highest_quarter(num_seeds):
    scores = SCORES[:num_seeds]
    np.testing.assert_allclose(iqm(scores), [middle_mean(column) for column in scores.T], rtol=1e-12)


def test_the_axis_of_the_seeds_can_be_chosen():
    np.testing.assert_array_equal(iqm(SCORES.T, axis=1), iqm(SCORES))


def test_a_quarter_of_outliers_changes_nothing():
    scores = np.arange(8.0)
    assert iqm(np.concatenate([[-1e9, -1e6], scores[2:6], [1e6, 1e9]])) == iqm(scores) == 3.5


def test_an_interval_lies_around_its_interquartile_mean():
    low, high = interval(SCORES).low, interval(SCORES).high
    np.testing.assert_array_equal(interval(SCORES).iqm, iqm(SCORES))
    assert np.all(low < iqm(SCORES))
    assert np.all(iqm(SCORES) < high)


def test_the_ends_are_the_percentiles_of_resampled_seeds():
    """Against a bootstrap written out, whose draws differ; its own ends vary as much."""
    rng, column = np.random.default_rng(1), SCORES[:, 0]
    resampled = [middle_mean(rng.choice(column, size=20)) for _ in range(5_000)]
    low, high = np.percentile(resampled, (2.5, 97.5))
    actual = interval(column)
    np.testing.assert_allclose((actual.low, actual.high), (low, high), atol=0.1 * (high - low))


def test_the_interval_covers_the_true_value_about_as_often_as_it_promises():
    """400 tasks with 20 seeds each; percentile intervals of few seeds are known to cover less than 95 %."""
    actual = interval(np.random.default_rng(2).normal(size=(20, 400)))
    share = np.mean((actual.low < 0) & (actual.high > 0))
    assert 0.88 < share < 0.98


def test_more_seeds_make_the_interval_narrower():
    scores = np.random.default_rng(3).normal(size=320)
    few, many = interval(scores[:20]), interval(scores)
    assert many.high - many.low < (few.high - few.low) / 2


def test_the_columns_of_a_resample_come_from_the_same_seeds():
    scores = np.stack([SCORES[:, 0], 5 - 2 * SCORES[:, 0]], axis=1)
    actual = interval(scores)
    np.testing.assert_allclose(actual.low[1], 5 - 2 * actual.high[0], rtol=1e-9)
    np.testing.assert_allclose(actual.high[1], 5 - 2 * actual.low[0], rtol=1e-9)


def test_the_same_scores_give_the_same_interval():
    np.testing.assert_array_equal(interval(SCORES), interval(SCORES.copy()))


@pytest.mark.parametrize("scores", [np.array([3.0]), np.full(10, 3.0)])
def test_one_seed_or_equal_scores_give_an_interval_of_length_0(scores):
    np.testing.assert_array_equal(interval(scores), (3.0, 3.0, 3.0))


@pytest.mark.parametrize("shape", [(), (4,), (4, 2)])
def test_every_part_has_the_shape_of_one_score(shape):
    assert [np.shape(part) for part in interval(np.ones((6, *shape)))] == [shape] * 3


def test_rliable_finds_the_same_intervals():
    """The library of the paper's authors. Its draws differ, so its ends vary a little."""
    with warnings.catch_warnings(action="ignore"):
        metrics = pytest.importorskip("rliable.metrics")
        library = pytest.importorskip("rliable.library")
    scores = {"ppo": SCORES[:, None, :]}  # [S, tasks, points]

    def curve(scores):
        return np.array([metrics.aggregate_iqm(scores[..., point]) for point in range(scores.shape[-1])])

    with warnings.catch_warnings(action="ignore"):
        centers, ends = library.get_interval_estimates(
            scores, curve, reps=4_000, random_state=np.random.RandomState(0)
        )
    actual = interval(SCORES)
    np.testing.assert_allclose(actual.iqm, centers["ppo"], rtol=1e-12)
    low, high = ends["ppo"]
    np.testing.assert_allclose(np.abs(actual.low - low) / (high - low), 0, atol=0.05)
    np.testing.assert_allclose(np.abs(actual.high - high) / (high - low), 0, atol=0.05)
