import matplotlib.image
import numpy as np

from ppo_jax.host.pictures import lessons
from tests.host.conftest import run_command


def test_the_command_draws_both_figures(tmp_path):
    assert run_command("figures", tmp_path / "new") == 0
    for name in ("clipped_surrogate.png", "gae.png"):
        assert matplotlib.image.imread(tmp_path / "new" / name).std() > 0.01


def _lines(ax):
    return {line.get_label(): line for line in ax.lines}


def test_the_surrogate_is_flat_exactly_where_the_paper_says():
    good, bad = lessons.surrogate_figure().axes
    for ax, flat in ((good, lambda r: r > 1.2), (bad, lambda r: r < 0.8)):
        line = _lines(ax)["min(r · A, clip(r) · A)"]
        ratio, objective = line.get_xdata(), line.get_ydata()
        assert np.ptp(objective[flat(ratio)]) < 1e-6
        assert np.all(np.diff(objective[~flat(ratio)]) != 0)


def test_the_advantages_agree_with_their_closed_form():
    (ax,) = lessons.gae_figure().axes
    curves = {label: line.get_ydata() for label, line in _lines(ax).items() if label.startswith("λ")}
    assert len(curves) == len(lessons.LAMBDAS) == 4
    distance = np.arange(lessons.NUM_STEPS)[::-1]  # steps left after this one
    for gae_lambda, curve in zip(lessons.LAMBDAS, curves.values(), strict=True):
        decay = lessons.GAMMA * gae_lambda
        delta = 1 + lessons.GAMMA * lessons.BASELINE - lessons.BASELINE
        expected = delta * (1 - decay**distance) / (1 - decay) + (1 - lessons.BASELINE) * decay**distance
        np.testing.assert_allclose(curve, expected, atol=1e-5)
