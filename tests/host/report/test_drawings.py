import base64
import io
import json

import matplotlib.image

from ppo_jax.host.pictures import plots
from tests.host.report.conftest import read_page


def test_every_panel_is_drawn_for_a_light_and_for_a_dark_page(whole):
    shown, _ = whole
    assert len(shown.all("source")) == len(plots.PANELS) + 1  # and the evaluations
    assert all(source["media"] == "(prefers-color-scheme: dark)" for source in shown.all("source"))
    lights = [image["src"] for image in shown.all("img") if "png" in image["src"][:20]]
    assert not set(lights) & {source["srcset"] for source in shown.all("source")}
    for name in plots.PANELS.values():
        assert name in shown.text
    assert _brightness_of_the_corner(lights[0]) > 0.9
    assert _brightness_of_the_corner(shown.all("source")[0]["srcset"]) < 0.2


def _brightness_of_the_corner(address):
    content = base64.b64decode(address.partition(",")[2])
    return matplotlib.image.imread(io.BytesIO(content))[0, 0, :3].max()


def test_a_metric_without_values_is_not_drawn(run):
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text("".join(json.dumps({**row, "entropy": None}) + "\n" for row in records[:1]))
    shown = read_page(run)
    assert len(shown.all("source")) == len(plots.PANELS) - 1
    assert "see the value loss" in shown.text
