import pytest

import ppo_jax
from ppo_jax.host.diagnosis.seed_groups import by_label
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request

NO_OPTIONS = RunOptions()


@pytest.fixture
def run(tmp_path):
    """`run(seed, preset, options, **hyper)`: a directory that holds nothing but a request."""

    def make(seed=0, preset="CartPole-v1", options=NO_OPTIONS, **hyper):
        config, usual = ppo_jax.preset(preset)
        directory = RunDirectory(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        directory.path.mkdir()
        request.write(directory, Request(preset, config, usual._replace(**hyper), seed, options))
        return directory

    return make


def test_runs_that_differ_only_in_their_seed_are_one_group_in_the_order_of_their_seeds(run):
    runs = [run(seed=2), run(seed=0), run(seed=1)]
    assert by_label(runs) == {"CartPole-v1, 3 seeds": [runs[1], runs[2], runs[0]]}


def test_a_group_is_named_after_the_fields_that_differ(run):
    runs = [run(learning_rate=0.01), run(seed=3), run(seed=4)]
    groups = by_label(runs)
    assert list(groups) == [
        "CartPole-v1, learning_rate = 0.01, seed 0",
        "CartPole-v1, learning_rate = 0.0015, 2 seeds",
    ]
    assert list(groups.values()) == [runs[:1], runs[1:]]


def test_if_presets_differ_only_changes_to_them_are_named(run):
    groups = by_label([run(), run(preset="Pendulum-v1", gamma=0.9)])
    assert list(groups) == ["CartPole-v1, seed 0", "Pendulum-v1, gamma = 0.9, seed 0"]


def test_runs_with_the_same_seed_count_once(run):
    runs = [run(seed=1), run(seed=1)]
    assert by_label(runs) == {"CartPole-v1, seed 1": [runs[1]]}


def test_a_run_without_a_valid_request_is_refused(run):
    directory = run()
    directory.config.write_text('{"preset": null}')
    with pytest.raises(ppo_jax.UsageError, match="damaged"):
        by_label([directory])


def test_options_do_not_make_a_group(run):
    runs = [run(seed=0), run(seed=1, options=RunOptions(keep=7, log_to=("tensorboard",)))]
    assert by_label(runs) == {"CartPole-v1, 2 seeds": runs}
