import shutil
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

import ppo_jax
from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.host.pictures import plots
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json, write_json
from tests.host.conftest import run_command


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, in order; none is written."""
    drawn = []
    monkeypatch.setattr(plots, "save", lambda figure, path: drawn.append(figure))
    return drawn


@pytest.fixture
def copy(trained, tmp_path):
    """`copy(seed, updates, **hyper)`: a copy that claims another seed, with that many updates."""

    def make(seed=0, updates=None, **hyper):
        run = RunDirectory(tmp_path / f"copy{len(list(tmp_path.iterdir()))}")
        shutil.copytree(trained.path, run.path)
        content = read_json(run.config)
        write_json(run.config, {**content, "seed": seed, "hyper": {**content["hyper"], **hyper}})
        lines = run.metrics.read_text().splitlines(keepends=True)
        run.metrics.write_text("".join(lines[:updates]).replace('"entropy":0.', f'"entropy":{seed}.'))
        return run

    return make


def _is_a_picture_with_content(path):
    pixels = matplotlib.image.imread(path)
    return pixels.ndim == 3 and pixels.std() > 0.01


def test_training_leaves_a_picture(trained):
    assert _is_a_picture_with_content(trained.diagnostics)


def test_plot_draws_one_run_where_it_is_told(trained, tmp_path):
    assert run_command("plot", trained.path, "--output", tmp_path / "new" / "one.png") == 0
    assert _is_a_picture_with_content(tmp_path / "new" / "one.png")


def test_plot_draws_several_runs_over_each_other(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run_command("plot", trained.path, trained.path) == 0
    assert _is_a_picture_with_content(tmp_path / "comparison.png")


def test_the_picture_of_a_run_has_its_titles_marks_and_healthy_ranges(trained, figures, tmp_path):
    plots.draw([trained], tmp_path / "a.png")
    axes = figures[0].axes
    assert [ax.get_title(loc="left") for ax in axes][:3] == [
        "Episode return",
        "Clip fraction",
        "Policy entropy (nats)",
    ]
    assert figures[0].get_suptitle().endswith(", seed 0")
    marks = [line for line in axes[0].lines if line.get_label() == "solved: 475"]
    np.testing.assert_array_equal(marks[0].get_ydata(), 475)
    (band,) = axes[1].patches
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.05, 0.30))


def test_runs_that_differ_only_in_their_seed_are_one_curve_with_a_band(copy, figures, tmp_path):
    runs = [copy(seed) for seed in range(5)]
    plots.draw(runs, tmp_path / "a.png")
    entropy = figures[0].axes[2]
    (line,), (band,) = entropy.lines, entropy.collections
    columns = np.stack([plots.read(run)["entropy"] for run in runs])
    smooth = np.median(np.lib.stride_tricks.sliding_window_view(columns, plots.SMOOTHING, axis=1), axis=2)
    expected = interval(smooth)
    assert np.all(expected.low < expected.high)
    np.testing.assert_allclose(line.get_ydata(), expected.iqm)
    corners = band.get_paths()[0].vertices[:, 1]
    assert (corners.min(), corners.max()) == pytest.approx((expected.low.min(), expected.high.max()))
    assert line.get_label().endswith("5 seeds")
    assert "interquartile mean over seeds, with its 95% bootstrap interval" in figures[0].get_suptitle()


def test_groups_are_told_apart_and_a_single_seed_has_no_band(copy, figures, tmp_path):
    plots.draw([copy(0), copy(1), copy(0, learning_rate=0.01)], tmp_path / "a.png")
    (legend,) = figures[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert [label.partition(", ")[2] for label in labels] == [
        "learning_rate = 0.0015, 2 seeds",
        "learning_rate = 0.01, seed 0",
    ]
    assert len(figures[0].axes[2].lines) == 2
    assert len(figures[0].axes[2].collections) == 1


def test_seeds_are_drawn_to_the_end_of_the_shortest(copy, figures, tmp_path):
    short, whole = copy(0, updates=27), copy(1)
    plots.draw([short, whole], tmp_path / "a.png")
    (line,) = figures[0].axes[2].lines
    np.testing.assert_array_equal(line.get_xdata(), plots.read(short)["env_steps"][plots.SMOOTHING - 1 :])
    assert line.get_label().endswith("2 seeds, to the end of the shortest")
    windows = np.lib.stride_tricks.sliding_window_view(plots.read(short)["approx_kl"], plots.SMOOTHING)
    (kl,) = figures[0].axes[3].lines  # the same in both
    np.testing.assert_allclose(kl.get_ydata(), np.median(windows, axis=1))


def test_seeds_without_100_episodes_leave_the_panel_of_returns_empty(figures):
    nothing = {name: np.full((3, 40), np.nan) for name in plots.COLUMNS}
    steps = np.tile(np.arange(40.0), (3, 1))
    plots.diagnostics({"a": {**nothing, "env_steps": steps}, "b": {**nothing, "env_steps": steps}})


def test_a_band_begins_where_all_seeds_have_a_value():
    values = np.arange(80.0).reshape(2, 40)
    values[1, :10] = np.nan
    columns = {**dict.fromkeys(plots.COLUMNS, values), "env_steps": np.tile(np.arange(40.0), (2, 1))}
    (line,) = plots.diagnostics({"a": columns}).axes[0].lines
    np.testing.assert_array_equal(line.get_xdata(), np.arange(10, 40))
    np.testing.assert_allclose(line.get_ydata(), values[:, 10:].mean(axis=0))


def test_long_bands_are_drawn_at_no_more_points_than_can_be_seen():
    values = np.ones((2, 10_000))
    columns = {**dict.fromkeys(plots.COLUMNS, values), "env_steps": np.tile(np.arange(10_000.0), (2, 1))}
    (line,) = plots.diagnostics({"a": columns}).axes[0].lines
    assert len(line.get_xdata()) == plots.BAND_POINTS
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (0, 9_999)


def test_metrics_that_lack_what_is_drawn_are_refused(copy):
    run = copy()
    run.metrics.write_text('{"update": 1, "env_steps": 128}\n')
    with pytest.raises(ppo_jax.UsageError, match=r"metrics\.jsonl.* has no .*clip_fraction"):
        plots.draw([run])


def test_an_unknown_format_is_refused(trained, tmp_path):
    with pytest.raises(ppo_jax.UsageError, match=r"not a known kind of picture; give one of .*png"):
        plots.draw([trained], tmp_path / "picture.xyz")


def test_an_output_that_cannot_be_written_leaves_nothing_behind(trained, tmp_path):
    output = tmp_path / "picture.png"
    output.mkdir()
    with pytest.raises(ppo_jax.UsageError, match=rf"output = '{output}' cannot be written: .*; give another"):
        plots.draw([trained], output)
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_the_suffix_of_the_output_decides_the_format(trained, tmp_path, kind):
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}
    content = plots.draw([trained], tmp_path / f"picture.{kind}").read_bytes()
    assert content.startswith(begins[kind])


def test_plotting_does_not_import_jax():
    program = "import sys; from ppo_jax.host.pictures import plots; from ppo_jax.host.report import page; "
    program += "print(sorted({'jax', 'gymnasium'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.stdout.strip() == "[]", result.stderr
