"""Points are ranked by the interquartile mean of their seeds, and none wins by failing."""

import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.diagnosis import ranking
from ppo_jax.host.runs.family import SweepRequest
from ppo_jax.host.runs.request import Request

BASE = Request(preset=None, config=Config(), hyper=Hyperparams(), seed=10)
ASKED = SweepRequest(BASE, ({"gamma": 0.9}, {"gamma": 0.95}, {"gamma": 0.99}), num_seeds=4)


def scores(*rows):
    return dict(enumerate(x for row in rows for x in row))


def test_the_largest_interquartile_mean_is_first():
    ranked = ranking.rank(ASKED, scores([1, 2, 3, 100], [4, 5, 6, 7], [0, 0, 0, 0]), {})
    assert [one.point for one in ranked] == [1, 0, 2]
    assert [one.iqm for one in ranked] == [5.5, 2.5, 0.0]
    assert ranked[0].low <= 5.5 <= ranked[0].high


def test_a_seed_that_failed_counts_as_the_lowest_score_of_the_sweep():
    nan = np.nan
    ranked = ranking.rank(ASKED, scores([9, 9, nan, nan], [5, 5, 5, 5], [-1, 1, 1, 1]), {2: 3, 3: 7})
    assert [one.point for one in ranked] == [1, 0, 2]
    assert ranked[1].iqm == 4.0  # of -1, -1, 9 and 9 without the lowest and the highest
    assert ranked[1].failed == (12, 13)  # seeds, not members
    assert np.isnan(ranked[1].scores[2:]).all()


def test_a_point_without_any_score_comes_last_and_is_told_as_none():
    nan = np.nan
    ranked = ranking.rank(ASKED, scores([nan] * 4, [-5] * 4, [-9] * 4), {0: 1})
    assert [one.point for one in ranked] == [1, 2, 0]
    told = ranking.as_json(ASKED, ranked[-1])
    assert (told["iqm"], told["scores"], told["failed_seeds"]) == (None, [None] * 4, [10])


def test_members_that_are_not_done_have_no_score():
    ranked = ranking.rank(ASKED, {0: 1.0}, {})
    assert [one.point for one in ranked] == [0, 1, 2]
    assert np.isnan(ranked[1].iqm)
