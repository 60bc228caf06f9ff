"""The page of a run: whole, harmless, true, and readable in a browser."""

import base64
import contextlib
import dataclasses
import io
import json
import math
import re
import shlex
import shutil
from html.parser import HTMLParser

import matplotlib.image
import pytest

import ppo_jax
from ppo_jax import cli
from ppo_jax.host.pictures import plots
from ppo_jax.host.programs import episode
from ppo_jax.host.report import page
from ppo_jax.host.runs.directory import RunDirectory, read_json, write_json
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request

HOSTILE = "<script>alert(1)</script>\"'&<img src=x onerror=alert(1)>"
GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
VOID = ("img", "meta", "source")


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open[-1:] != ["style"] else ""

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def whole(trained, tmp_path_factory):
    """The page of a finished run that was evaluated on its way, and the text of the file."""
    run = RunDirectory(tmp_path_factory.mktemp("report") / "run")
    shutil.copytree(trained.path, run.path)
    result = {"episodes": 100, "greedy": True, "mean": 12.5, "std": 1.0, "min": 9.0, "max": 20.0}
    rows = [
        {"update": u, "env_steps": u * 128, "greedy": result, "sampled": {**result, "mean": 7.25}}
        for u in (5, 10)
    ]
    run.evaluations.write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = page.report(run, recording=GIF).read_text()
    return Page(text), text


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """A copy of the run to spoil; pictures are not drawn, which takes long."""
    monkeypatch.setattr(report, "png", lambda figure: b"png")
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def text_of(run):
    return Page(page.page(page.find(run))).text


def test_every_element_is_closed_in_its_order(whole):
    assert whole[0].open == []


def test_nothing_is_loaded_and_nothing_can_run(whole):
    page, text = whole
    assert not re.search(r"https?://|@import|url\(|javascript:", text)
    assert not {tag for tag, _ in page.elements} & {
        "script",
        "link",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    }
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in ("src", "srcset", "href")
    ]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    (policy,) = (meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_read_without_seeing_it(whole):
    page, _ = whole
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("h1")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert "<title>" in whole[1]


def test_every_panel_is_there_for_light_and_for_dark_with_its_reading(whole):
    page, _ = whole
    assert len(page.all("source")) == len(plots.PANELS) + 1  # and the evaluations
    assert all(source["media"] == "(prefers-color-scheme: dark)" for source in page.all("source"))
    lights = [image["src"] for image in page.all("img") if "png" in image["src"][:20]]
    assert not set(lights) & {source["srcset"] for source in page.all("source")}
    for name in plots.PANELS.values():
        assert name in page.text
    assert _corner(lights[0]) > 0.9
    assert _corner(page.all("source")[0]["srcset"]) < 0.2


def _corner(address):
    """Brightness of the upper left corner of a picture."""
    content = base64.b64decode(address.partition(",")[2])
    return matplotlib.image.imread(io.BytesIO(content))[0, 0, :3].max()


def test_the_numbers_are_those_of_the_run(whole, trained):
    text = whole[0].text
    summary = read_json(trained.summary)
    assert f"Done: {summary['updates']} of {summary['updates']} updates." in text
    assert f"{summary['evaluation']['mean']:,.2f}" in text
    assert f"{summary['steps_per_second']:,}" in text
    assert "All 2 evaluations during training" in text
    assert "12.50" in text
    assert "7.25" in text
    assert summary["versions"]["jax"] in text


def test_the_configuration_is_told_as_a_difference(whole):
    section = whole[0].text.split("Configuration")[1].split("All fields")[0]
    assert section.startswith("fieldherepreset CartPole-v1num_envs48")
    assert "total_timesteps4000150000" in section
    assert "gamma" not in section


def test_the_recording_is_part_of_the_page(whole):
    assert "data:image/gif;base64,R0lGODlh" in whole[1]


@pytest.mark.parametrize(
    ("preset", "fields", "numbers", "options"),
    [
        ("CartPole-v1", {}, {}, {}),
        ("CartPole-v1", {"hidden_sizes": (32, 16)}, {"learning_rate": 1e-3, "target_kl": 0.02}, {}),
        ("CartPole-v1", {"hidden_sizes": (), "normalize_advantages": False}, {"max_grad_norm": math.inf}, {}),
        (
            "Pendulum-v1",
            {"normalize_rewards": False, "normalize_observations": True},
            {},
            {"evaluate_every": 5},
        ),
        ("CartPole-v1", {"env": "Acrobot-v1"}, {"final_learning_rate": 1e-4}, {"on_nonfinite": "rewind"}),
        (None, {"env": "CartPole-v1"}, {}, {"log_to": ("tensorboard",)}),
        (None, {"env": "Foo-bar"}, {"gamma": 0.5}, {}),
    ],
)
def test_the_command_does_the_same_training_again(preset, fields, numbers, options):
    config, hyper = ppo_jax.preset(preset) if preset else (ppo_jax.Config(), ppo_jax.Hyperparams())
    asked = Request(preset, dataclasses.replace(config, **fields), hyper._replace(**numbers), 3)
    program, *words = shlex.split(page.command(asked, RunOptions(**options)))
    order = cli._parse(words)
    assert program == "ppo-jax"
    assert (order.config, order.hyper, order.seed) == asked[1:]
    assert order.options == RunOptions(**options)


def test_the_words_of_the_command_are_quoted():
    config = dataclasses.replace(ppo_jax.Config(), env="a; rm -rf $HOME")
    asked = Request(None, config, ppo_jax.Hyperparams(), 0)
    assert "'a; rm -rf $HOME'" in page.command(asked, RunOptions())


def test_a_run_that_is_still_going_on_says_so(run):
    run.summary.unlink()
    run.metrics.write_text(run.metrics.read_text()[:-20])  # a line that is being written
    assert "There is no summary: the training is still running, or was ended by force." in text_of(run)


@pytest.mark.parametrize(("status", "words"), [("interrupted", "Stopped early: "), ("failed", "Failed: ")])
def test_a_run_that_came_to_no_good_end_says_so(run, status, words):
    run.policy.unlink()
    summary = {**read_json(run.summary), "status": status, "evaluation": None, "failure": "diverged: entropy"}
    write_json(run.summary, summary)
    text = text_of(run)
    assert words in text
    assert "; diverged: entropy." in text
    assert "At the end: there was none." in text
    assert page.record(run) is None


def test_what_has_no_values_is_not_drawn(run):
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    run.metrics.write_text("".join(json.dumps({**row, "entropy": None}) + "\n" for row in records[:1]))
    page = Page(page.page(page.find(run)))
    assert len(page.all("source")) == len(plots.PANELS) - 1
    assert "see the value loss" in page.text


def test_the_policy_is_filmed_where_its_environment_can_be_drawn(run, monkeypatch):
    monkeypatch.setattr(render, "can_draw", lambda env: env == "CartPole-v1")
    monkeypatch.setattr(episode, "play", lambda config, agent, seed: (config.env, seed))
    monkeypatch.setattr(render, "gif", lambda played: repr(played).encode())
    assert page.record(run) == b"('CartPole-v1', 0)"
    monkeypatch.setattr(render, "can_draw", lambda env: False)
    assert page.record(run) is None


@pytest.mark.parametrize("name", ["summary", "evaluations", "path"])
def test_hostile_text_stays_text(run, name):
    if name == "summary":
        summary = dict.fromkeys(read_json(run.summary), HOSTILE)
        write_json(
            run.summary, {**summary, "versions": {HOSTILE: HOSTILE}, "evaluation": {"unfinished": HOSTILE}}
        )
    elif name == "evaluations":
        run.evaluations.write_text(
            json.dumps({"update": HOSTILE, "greedy": {"mean": HOSTILE}, "sampled": 3}) + "\n"
        )
    else:
        (run.path / HOSTILE.replace("/", "")).touch()
    page = Page(page.page(page.find(run)))
    assert not page.all("script")
    assert all("onerror" not in image for image in page.all("img"))
    assert "alert(1)" in page.text or name == "evaluations"


def test_a_hostile_environment_stays_text(run):
    found = page.find(run)
    asked = found.asked._replace(preset=None, config=dataclasses.replace(found.asked.config, env=HOSTILE))
    page = Page(page.page(found._replace(asked=asked), GIF))
    assert not page.all("script")
    assert f"PPO on {HOSTILE}, seed 0" in page.text


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json", "evaluations.jsonl"])
def test_a_damaged_file_is_refused_with_its_name(run, name):
    (run.path / name).write_text("{\n")
    with pytest.raises(ppo_jax.UsageError, match=re.escape(name)):
        page.report(run)
    assert not (run.path / "report.html").exists()


def test_the_page_is_written_whole_where_it_is_told(run, tmp_path):
    path = page.report(run, tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    assert path.read_text().endswith("</html>\n")
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_a_place_that_cannot_be_written_to_is_refused(run, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ppo_jax.UsageError, match="cannot be written"):
        page.report(run, tmp_path / "file" / "page.html")


@pytest.fixture(scope="module")
def browser():
    """A real browser without a window: the one on the path, or the one that playwright brought."""
    api = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium") or shutil.which("google-chrome")
    with contextlib.ExitStack() as stack:
        playwright = stack.enter_context(api.sync_playwright())
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        stack.callback(chromium.close)
        yield chromium


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 390, 1400])
def test_a_browser_shows_the_page_without_fault(browser, whole, tmp_path, width, scheme):
    file = tmp_path / "report.html"
    file.write_text(whole[1])
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    requests, complaints = [], []
    page.on("request", lambda request: requests.append(request.url.partition(":")[0]))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    page.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert set(requests) <= {"file", "data"}
    assert complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shown = page.evaluate("[...document.images].map(image => image.currentSrc)")
    assert (shown[0] == whole[0].all("source")[0]["srcset"]) == (scheme == "dark")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 20, 24)"}[scheme]
    context.close()
