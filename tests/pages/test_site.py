"""The site has every page and every public name, no broken link, and asks nothing of other hosts."""

import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ppo_jax
from ppo_jax.config import Config, Hyperparams

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix()
    for end in ("md", "ipynb")
    for path in DOCS.rglob(f"*.{end}")
}
NEEDS = "needs the extra docs: pip install -e '.[docs]'"


def of_the_built_site(test):
    """Marks a test that builds the site."""
    return pytest.mark.long(pytest.mark.skipif(not importlib.util.find_spec("sphinx"), reason=NEEDS)(test))


def test_every_page_is_in_the_navigation():
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", index, flags=re.DOTALL | re.MULTILINE)
    lines = [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]
    listed = [re.sub(r".*<(.*)>", r"\1", line) for line in lines]
    assert len(listed) == len(set(listed))
    assert {*listed, "index"} == PAGES


def test_every_public_name_is_in_the_reference():
    pages = [path.read_text(encoding="utf-8") for path in sorted((DOCS / "reference").glob("*.md"))]
    named = re.findall(r"^\.\. auto\w+:: (\w+)", "\n".join(pages), flags=re.MULTILINE)
    assert set(ppo_jax.__all__) <= set(named)


def test_the_names_and_defaults_of_the_translation_are_ours():
    page = (DOCS / "coming_from.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `--([\w-]+)` \[([^]]*)\] \|", page, flags=re.MULTILINE)
    assert len(rows) > 20
    for flag, default in rows:
        if flag != "seed":  # of the command alone
            name = flag.replace("-", "_")
            value = getattr(Config() if hasattr(Config, name) else Hyperparams(), name)
            assert written(value) == default, flag


def written(value):
    """A default as the page writes it."""
    if isinstance(value, bool) or value is None:
        return "on" if value else "off"
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    if isinstance(value, float) and 0 < value < 1e-3:
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else value


class Page(HTMLParser):
    """The links, the anchors, and what is loaded with a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.anchors = [], [], set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors.update(filter(None, [values.get("id"), values.get("name") if tag == "a" else None]))
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if "src" in values:
            self.loaded.append(values["src"])
        if tag == "link" and values.get("rel") not in ("next", "prev", "index", "search", "canonical"):
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built with warnings as errors."""
    output = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(output / "state")]
    result = subprocess.run(
        [*command, "docs", str(output / "html")], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    return output / "html"


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in sorted(site.rglob("*.html"))}


@of_the_built_site
def test_it_builds_without_a_warning_and_has_every_public_name_and_page(site, pages):
    reference = [page.anchors for path, page in pages.items() if path.parent.name == "reference"]
    assert {f"ppo_jax.{name}" for name in ppo_jax.__all__} <= set().union(*reference)
    navigation = {(site / link).resolve() for link in pages[site / "index.html"].links if "://" not in link}
    assert {site / f"{page}.html" for page in PAGES - {"index"}} <= navigation


@of_the_built_site
def test_every_link_within_it_leads_to_a_page_and_an_anchor(site, pages):
    for path, page in pages.items():
        for link in page.links:
            address = urlsplit(link)
            if not address.scheme and not address.netloc:
                target = (path.parent / unquote(address.path)).resolve() if address.path else path
                assert target.is_file(), (path.relative_to(site), link)
                if address.fragment and target.suffix == ".html":
                    assert unquote(address.fragment) in pages[target].anchors, (path.name, link)


@of_the_built_site
def test_it_loads_nothing_from_other_hosts(site, pages):
    assert not [address for page in pages.values() for address in page.loaded if urlsplit(address).netloc]
    for style in site.rglob("*.css"):
        rules = style.read_text(encoding="utf-8")
        assert not re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", rules), style


@of_the_built_site
def test_its_search_knows_every_page(site):
    index = (site / "searchindex.js").read_text(encoding="utf-8")
    (names,) = re.findall(r'"?docnames"?:\s*\[(.*?)\]', index)
    assert set(re.findall(r'"(.*?)"', names)) == PAGES
