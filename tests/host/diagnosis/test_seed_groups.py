import pytest

import ppo_jax
from ppo_jax.host.diagnosis.seed_groups import by_label
from ppo_jax.host.runs.directory import RunDirectory, write_json
from ppo_jax.host.runs.request import Request, as_json


@pytest.fixture
def run(tmp_path):
    """`run(seed, preset, **hyper)`: a directory that holds nothing but a request."""

    def make(seed=0, preset="CartPole-v1", **hyper):
        config, usual = ppo_jax.preset(preset)
        directory = RunDirectory(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        directory.path.mkdir()
        write_json(directory.config, as_json(Request(preset, config, usual._replace(**hyper), seed)))
        return directory

    return make


def test_runs_that_differ_only_in_their_seed_are_one_group_in_their_order(run):
    runs = [run(seed=2), run(seed=0), run(seed=1)]
    assert by_label(runs) == {"CartPole-v1, 3 seeds": [runs[1], runs[2], runs[0]]}


def test_a_group_is_named_after_what_differs(run):
    runs = [run(learning_rate=0.01), run(seed=3), run(seed=4)]
    groups = by_label(runs)
    assert list(groups) == [
        "CartPole-v1, learning_rate = 0.01, seed 0",
        "CartPole-v1, learning_rate = 0.0015, 2 seeds",
    ]
    assert list(groups.values()) == [runs[:1], runs[1:]]


def test_among_presets_only_what_is_not_the_presets_is_named(run):
    groups = by_label([run(), run(preset="Pendulum-v1", gamma=0.9)])
    assert list(groups) == ["CartPole-v1, seed 0", "Pendulum-v1, gamma = 0.9, seed 0"]


def test_the_same_seed_counts_once(run):
    runs = [run(seed=1), run(seed=1)]
    assert by_label(runs) == {"CartPole-v1, seed 1": [runs[1]]}


def test_a_run_that_does_not_say_what_it_is_is_refused(run):
    directory = run()
    directory.config.write_text('{"preset": null}')
    with pytest.raises(ppo_jax.UsageError, match="damaged"):
        by_label([directory])
