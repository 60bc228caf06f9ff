"""The page of a run: whole, harmless, and readable in a browser."""

import contextlib
import re
import shutil

import pytest

import ppo_jax
from ppo_jax.host.pictures import film
from ppo_jax.host.programs import episode
from ppo_jax.host.report import page


def test_every_element_is_closed_in_its_order(whole):
    assert whole[0].open == []


def test_nothing_is_loaded_and_nothing_can_run(whole):
    shown, text = whole
    assert not re.search(r"https?://|@import|url\(|javascript:", text)
    forbidden = {"script", "link", "iframe", "object", "embed", "base", "form"}
    assert not {tag for tag, _ in shown.elements} & forbidden
    attributes = [pair for _, attributes in shown.elements for pair in attributes.items()]
    addresses = [value for name, value in attributes if name in ("src", "srcset", "href")]
    assert addresses
    assert all(address.startswith("data:image/") for address in addresses)
    assert not [name for name, _ in attributes if name.startswith("on")]
    (policy,) = (meta["content"] for meta in shown.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'")


def test_the_page_can_be_read_without_seeing_it(whole):
    shown, text = whole
    assert shown.all("html") == [{"lang": "en"}]
    assert len(shown.all("h1")) == 1
    assert all(image["alt"] for image in shown.all("img"))
    assert "<title>" in text


def test_the_recording_is_part_of_the_page(whole):
    assert "data:image/gif;base64,R0lGODlh" in whole[1]


def test_the_policy_is_filmed_if_its_environment_can_be_drawn(run, monkeypatch):
    monkeypatch.setattr(film, "can_draw", lambda env: env == "CartPole-v1")
    monkeypatch.setattr(episode, "play", lambda config, agent, seed: (config.env, seed))
    monkeypatch.setattr(film, "gif", lambda played: repr(played).encode())
    assert page.record(run) == b"('CartPole-v1', 0)"
    monkeypatch.setattr(film, "can_draw", lambda env: False)
    assert page.record(run) is None


def test_a_run_without_a_policy_is_not_filmed(run):
    run.policy.unlink()
    assert page.record(run) is None


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "summary.json", "evaluations.jsonl"])
def test_a_damaged_file_is_refused_with_its_name(run, name):
    (run.path / name).write_text("{\n")
    with pytest.raises(ppo_jax.UsageError, match=re.escape(name)):
        page.report(run)
    assert not (run.path / "report.html").exists()


def test_the_page_is_written_whole_to_the_given_path(run, tmp_path):
    path = page.report(run, tmp_path / "new" / "page.html")
    assert path == tmp_path / "new" / "page.html"
    assert path.read_text().endswith("</html>\n")
    assert [file.name for file in path.parent.iterdir()] == ["page.html"]


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_drawn(run, tmp_path, monkeypatch):
    monkeypatch.setattr(page, "to_html", None)
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
def test_a_browser_shows_the_page_without_complaint(browser, whole, tmp_path, width, scheme):
    file = tmp_path / "report.html"
    file.write_text(whole[1])
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab = context.new_page()
    requests, complaints = [], []
    tab.on("request", lambda request: requests.append(request.url.partition(":")[0]))
    tab.on("console", lambda message: complaints.append(message.text))
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto(file.as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
    assert set(requests) <= {"file", "data"}
    assert complaints == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    shown = tab.evaluate("[...document.images].map(image => image.currentSrc)")
    assert (shown[0] == whole[0].all("source")[0]["srcset"]) == (scheme == "dark")
    background = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == {"light": "rgb(246, 247, 249)", "dark": "rgb(17, 20, 24)"}[scheme]
    context.close()
