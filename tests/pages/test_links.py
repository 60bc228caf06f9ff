"""What a page points to exists: files, headings, modules, functions, commands and flags."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "docs").rglob("*.ipynb")),
]
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]  # which tells of files that are gone
LINK = re.compile(r"\]\(([^()\s]+)\)")


def name(page):
    return page.relative_to(ROOT).as_posix()


def text_of(page):
    """The text of a page; of a notebook, that of its cells in words."""
    if page.suffix != ".ipynb":
        return page.read_text(encoding="utf-8")
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def prose_of(page):
    """The text of a page without its blocks of code and its equations."""
    return re.sub(r"^```.*?^```|\$\$.*?\$\$", "", text_of(page), flags=re.DOTALL | re.MULTILINE)


def anchors_of(page):
    """The headings of a page, as a code host makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", prose_of(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_relative_link_and_picture_exists(page):
    links = [link for link in LINK.findall(prose_of(page)) if not link.startswith(("https://", "http://"))]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        assert not anchor or anchor in anchors_of(target), link


def test_the_links_of_the_pages_are_found():
    """What finds no link cannot find a broken one."""
    assert len(LINK.findall(text_of(ROOT / "README.md"))) > 15
    assert "limits" in anchors_of(ROOT / "docs" / "commands.md")


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_every_file_that_is_named_exists_and_has_the_function_that_is_named_with_it(page):
    for path, function in re.findall(r"`([\w./]+\.(?:py|md|json|toml))`(?: \(`(\w+)`\))?", prose_of(page)):
        if "/" in path:
            places = [folder / path for folder in (ROOT, ROOT / "ppo_jax", page.parent)]
            found = [place for place in places if place.exists()]
            assert found, path
            assert function in found[0].read_text(encoding="utf-8"), (path, function)


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_every_name_of_the_package_can_be_imported(page):
    for dotted in re.findall(r"`(ppo_jax(?:\.\w+)+)", prose_of(page)):
        module, _, attribute = dotted.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute) or importlib.import_module(dotted), dotted


def help_of(*command):
    line = [sys.executable, "-m", "ppo_jax.cli", *command, "--help"]
    return subprocess.run(line, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.fixture(scope="module")
def commands():
    """The help of every command, by its name."""
    names = re.findall(r"• (\w+)", help_of())
    return {name: help_of(name) for name in names}


def test_the_table_of_commands_lists_every_command_once_and_in_order(commands):
    table = re.findall(r"^\| `ppo-jax (\w+)", text_of(ROOT / "docs" / "commands.md"), flags=re.MULTILINE)
    assert table == list(commands)


@pytest.mark.parametrize("page", [ROOT / "docs" / "commands.md", ROOT / "docs" / "runs.md"], ids=name)
def test_every_flag_that_is_named_exists(page, commands):
    known = set(re.findall(r"--[\w-]+", "".join(commands.values())))
    others = {"--record", "--help", "--version"}
    assert set(re.findall(r"(?<![\w-])--[a-z][\w-]+", text_of(page))) <= known | others


@pytest.mark.parametrize("page", CURRENT, ids=name)
def test_every_command_line_of_a_page_uses_flags_of_its_command(page, commands):
    for command, arguments in re.findall(r"ppo-jax ([a-z]+)([^`#\n]*)", text_of(page)):
        flags = set(re.findall(r"(?<!\S)--[a-z][\w-]+", arguments))
        assert flags <= set(re.findall(r"--[\w-]+", commands[command])), (command, flags)
