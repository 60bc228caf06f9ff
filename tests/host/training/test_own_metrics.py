"""The environment's own metrics reach every place where a run is looked at."""

import json

import matplotlib.image
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import ppo_jax
from ppo_jax.host.pictures import plots
from ppo_jax.host.runs.options import RunOptions
from tests.host.conftest import run_command
from tests.support.own.reach import Reach

pytestmark = pytest.mark.long
UPDATES = 12
NAME = "reached"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a gymnax class that says whether the target was reached; its episodes have 20 steps."""
    ppo_jax.register("reach", Reach)
    config = ppo_jax.Config("reach", 8, 16, 128 * UPDATES, hidden_sizes=(8,))
    options = RunOptions(evaluate_every=6, log_to=("tensorboard",))
    path = tmp_path_factory.mktemp("own") / "run"
    return ppo_jax.run(config, run_dir=path, options=options, quiet=True)


def test_records_and_columns_have_them_under_their_own_name(run):
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    ended = [row["episodes"] > 0 for row in rows]
    assert [row[NAME] is not None for row in rows] == ended
    assert 0 < sum(ended) < UPDATES  # an episode takes more than an update
    values = run.metrics[NAME]
    assert ((values >= 0) & (values <= 1) | np.isnan(values)).all()


def test_evaluations_have_them(run, capsys):
    assert 0 <= run.summary["evaluation"]["metrics"][NAME] <= 1
    assert all(0 <= row["sampled"]["metrics"][NAME] <= 1 for row in run.evaluations)
    result = run.evaluate(7)
    assert result.metrics[NAME] in [n / 7 for n in range(8)]
    assert run_command("evaluate", run.path, "--episodes", "7") == 0
    assert f", {NAME} {result.metrics[NAME]:.4g}" in capsys.readouterr().out


def test_sinks_have_them(run):
    events = EventAccumulator(str(run.path))
    events.Reload()
    tags = events.Tags()["scalars"]
    assert {f"train/{NAME}", f"evaluate/greedy/{NAME}", f"evaluate/sampled/{NAME}"} <= set(tags)


def test_the_plot_has_a_panel_for_them(run, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    run.plot()
    (figure,) = drawn
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [*plots.PANELS.values(), NAME]
    line = figure.axes[-1].lines[-1]
    assert np.isfinite(line.get_ydata()).all()


def test_several_seeds_have_a_band_for_them(run, tmp_path):
    other = ppo_jax.run(run.config, run.hyper, seed=1, run_dir=tmp_path / "other", quiet=True)
    assert run_command("plot", run.path, other.path, "--output", tmp_path / "both.png") == 0
    assert matplotlib.image.imread(tmp_path / "both.png").std() > 0.01


def test_the_report_has_a_section_for_them(run, tmp_path):
    page = run.report(tmp_path / "report.html").read_text()
    assert "Metrics of the environment" in page
    assert f"<h3>{NAME}</h3>" in page
    assert f"{NAME} over environment steps" in page


def test_the_screen_shows_the_newest_value(run, tmp_path, capsys):
    ppo_jax.run(run.config, run.hyper, run_dir=tmp_path / "shown")
    assert f"  {NAME} 0" in capsys.readouterr().out


def test_a_run_without_any_looks_as_before(tmp_path):
    config = ppo_jax.Config(num_envs=4, num_steps=8, total_timesteps=64)
    plain = ppo_jax.run(config, run_dir=tmp_path / "plain", quiet=True)
    assert "Metrics of the environment" not in plain.report().read_text()
    assert tuple(plain.metrics) == ("update", "seconds", *ppo_jax.Metrics._fields)


def test_a_resumed_run_whose_environment_tells_something_else_is_refused_by_name(run, tmp_path):
    class Other(Reach):
        def step_env(self, key, state, action, params):
            *rest, info = super().step_env(key, state, action, params)
            return *rest, {"metrics": {"missed": 1 - info["metrics"]["reached"]}}

    with ppo_jax.start_run(run.config, run.hyper, run_dir=tmp_path / "run", quiet=True) as training:
        training.advance()
    ppo_jax.register("reach", Other)
    before = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    with pytest.raises(
        ppo_jax.UsageError, match=r"running_metrics/missed is new.*running_metrics/reached is gone"
    ):
        ppo_jax.run(run.config, run.hyper, run_dir=tmp_path / "run", resume=True, quiet=True)
    assert sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir()) == before
    ppo_jax.register("reach", Reach)
