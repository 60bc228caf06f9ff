"""The page of a small run, as a browser would read it."""

import json
import shutil
from html.parser import HTMLParser

import pytest

from ppo_jax.host.report import drawings, page
from ppo_jax.host.report.found import find
from ppo_jax.host.runs.directory import RunDirectory

GIF = b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"
VOID = ("img", "meta", "source")


class Page(HTMLParser):
    """A page as a browser reads it: its elements with their attributes, and its text."""

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
        """The attributes of every element of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="session")
def whole(trained, tmp_path_factory):
    """The page of a finished run that was evaluated during training, and the text of the file."""
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
    """A copy of the run to spoil. Its pictures are not drawn, because that takes long."""
    monkeypatch.setattr(drawings, "png", lambda figure: b"png")
    shutil.copytree(trained.path, tmp_path / "run")
    return RunDirectory(tmp_path / "run")


def read_page(run):
    """The page of a run, without a file."""
    return Page(page.to_html(find(run)))
