"""The points of a sweep: grids, samples, lists from files, and the words that stand for values."""

import json
import math

import numpy as np
import pytest

from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import points
from ppo_jax.host.runs.points import Range
from ppo_jax.host.runs.request import Request

BASE = Request(preset=None, config=Config(env_args={"length": 1.0}), hyper=Hyperparams(), seed=0)


def test_a_grid_is_every_combination_and_the_last_name_changes_fastest():
    found = points.grid({"gamma": (0.9, 0.99), "num_envs": (4, 8)})
    assert [(one["gamma"], one["num_envs"]) for one in found] == [(0.9, 4), (0.9, 8), (0.99, 4), (0.99, 8)]
    assert points.grid({}) == [{}]  # nothing is varied but the seed


def test_a_range_has_no_grid():
    with pytest.raises(UsageError, match=r"gamma = 0.9..0.99 is a range.*--samples"):
        points.grid({"gamma": Range(0.9, 0.99)})


def test_a_grid_that_is_absurdly_large_is_refused_before_it_is_made():
    with pytest.raises(UsageError, match=r"10,000,000,000,000,000 points; give at most"):
        points.grid({name: tuple(range(10_000)) for name in ("a", "b", "c", "d")})


def test_samples_are_uniform_or_uniform_in_the_logarithm():
    axes = {"gamma": Range(0.9, 1.0), "learning_rate": Range(1e-4, 1e-2, is_log=True), "num_envs": (4, 8)}
    drawn = points.sample(axes, 4_000, seed=0)
    gamma, rate = (np.array([one[name] for one in drawn]) for name in ("gamma", "learning_rate"))
    assert gamma.min() >= 0.9
    assert gamma.max() <= 1.0
    np.testing.assert_allclose(gamma.mean(), 0.95, atol=0.002)
    np.testing.assert_allclose(np.log10(rate).mean(), -3, atol=0.05)
    assert 0.45 < np.mean([one["num_envs"] == 4 for one in drawn]) < 0.55
    assert drawn == points.sample(axes, 4_000, seed=0)
    assert drawn != points.sample(axes, 4_000, seed=1)


@pytest.mark.parametrize("count", [0, -1, 2.5, points.MAX_POINTS + 1])
def test_a_count_of_samples_that_is_none_is_refused(count):
    with pytest.raises(UsageError, match="samples ="):
        points.sample({"gamma": (0.9,)}, count, seed=0)


@pytest.mark.parametrize(
    ("name", "words", "values"),
    [
        ("learning_rate", ["1e-4", "3e-4"], (1e-4, 3e-4)),
        ("clip_epsilon", ["inf"], (math.inf,)),
        ("target_kl", ["none", "0.02"], (None, 0.02)),
        ("num_envs", ["4", "8"], (4, 8)),
        ("hidden_sizes", ["64,64", "8", ","], ((64, 64), (8,), ())),
        ("shared_torso", ["true", "False"], (True, False)),
        ("activation", ["tanh", "relu"], ("tanh", "relu")),
        ("env_args.length", ["0.5", "1"], (0.5, 1)),
        ("gamma", ["0.9..0.99"], Range(0.9, 0.99)),
        ("learning_rate", ["log:1e-4..1e-2"], Range(1e-4, 1e-2, is_log=True)),
    ],
)
def test_words_become_values_of_the_kind_of_the_field(name, words, values):
    found = points.parse(name, words)
    assert found == values
    assert [type(x) for x in found] == [type(x) for x in values]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *(("learning_rate", words) for words in (["a"], [], ["1", "1"], ["2..1"], ["log:0..1"], ["1..2..3"])),
        *(("num_envs", words) for words in (["1.5"], ["four"], ["1", "1.0"])),
        *(("shared_torso", words) for words in (["yes"], ["1"])),
        ("gamma", ["0.9..inf"]),
        ("gamma", ["0.9", "0.8..0.99"]),
        ("hidden_sizes", ["64,a"]),
    ],
)
def test_words_that_stand_for_no_value_are_refused(name, words):
    with pytest.raises(ValueError, match=r"."):
        points.parse(name, words)


def test_a_point_replaces_values_and_adds_arguments_of_the_environment():
    applied = points.apply(BASE, {"gamma": 0.9, "num_envs": 4, "env_args.masspole": 0.2})
    assert (applied.hyper.gamma, applied.config.num_envs) == (0.9, 4)
    assert dict(applied.config.env_args) == {"length": 1.0, "masspole": 0.2}
    assert dict(points.apply(BASE, {"env_args.length": 2.0}).config.env_args) == {"length": 2.0}


def test_points_come_back_from_a_file_as_they_were(tmp_path):
    path = tmp_path / "points.json"
    written = [
        {"clip_epsilon": math.inf, "hidden_sizes": (4, 4)},
        {"env_args.length": 2.0, "activation": "relu"},
    ]
    path.write_text(json.dumps([points.to_json(one) for one in written]))
    assert points.read(path) == written


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("[", "cannot be read as JSON"),
        ("{}", "is not a list of objects"),
        ("[1]", "is not a list of objects"),
        ('[{"learning_rat": 1}]', "did you mean 'learning_rate'"),
        ('[{"env": "my_file.py:function"}]', "'env' cannot be swept"),
        ('[{"network": "my_file.py:function"}]', "'network' cannot be swept"),
    ],
)
def test_a_file_that_holds_no_points_is_refused(tmp_path, content, told):
    path = tmp_path / "points.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=told):
        points.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        points.read(tmp_path / "missing.json")
