"""Every block of code on a page runs, or says why it cannot."""

import re
import shutil
import subprocess

import pytest

from tests.pages import blocks
from tests.pages.blocks import PAGES, ROOT, blocks_of

# The pages whose programs another test runs, because it looks at what they print more closely.
EXAMINED = {"docs/custom_environment.md": "tests/pages/test_custom_environment.py"}
TEST_COMMAND = "README.md", "pytest"  # which continuous integration runs; tests/pages/test_readme.py
# The commands, or the files, that a page takes for granted.
BEFORE = {
    "docs/runs.md": "for seed in 1 2; do ppo-jax train --run-dir runs/$seed --seed $seed --quiet; done\n",
}
# A part of what the programs of a page print, as a pattern.
SHOWS = {
    "docs/custom_network.md": [r"^(500|49\d|48\d|47[5-9])"],  # CartPole is solved
    "docs/custom_sink.md": [r"^\d+,train/"],
    "docs/diagnostics.md": [r"^clip_fraction \("],
    "docs/export.md": [r"^[01] \(64,\)$"],
    "docs/python.md": [r"report\.html$", r"^interrupted "],
    "docs/sweeps.md": [r"\(8, 19\)$"],  # members and updates
    "docs/warm_starts.md": [r"^10 greedy episodes", r"^(1\.0|0\.9\d) \S+ 0\.0$"],  # the sign is remembered
}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
EVERY_BLOCK = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}-{block.number}")


def is_run_here(block):
    is_test_command = block.page == TEST_COMMAND[0] and TEST_COMMAND[1] in block.text
    is_examined = block.page in EXAMINED and block.language == "python"
    return block.mark != "not run" and not is_test_command and not is_examined


RUN = {
    page: [block for block in BLOCKS if block.page == page and is_run_here(block)]
    for page in map(blocks.name, PAGES)
}


def test_blocks_are_found():
    assert len(BLOCKS) > 40
    assert {"README.md", "CONTRIBUTING.md", "docs/python.md"} <= {block.page for block in BLOCKS}
    assert {block.language for block in BLOCKS} == {"python", "sh", "yaml"}


@EVERY_BLOCK
def test_a_block_can_be_run_or_says_why_not(block):
    """A new block of a page is run without further ado; one in another language has to say why it is not."""
    if block.mark == "not run":
        assert len(block.note.split()) >= 2, "the reason is missing"
    else:
        assert block.language in ("python", "sh")


@pytest.mark.parametrize("page", PAGES, ids=blocks.name)
def test_every_mark_stands_right_before_a_block(page):
    text = page.read_text(encoding="utf-8")
    marked = [block for block in blocks_of(page) if block.mark]
    assert len(re.findall(r"^<!-- (?:not run|saved as): ", text, flags=re.MULTILINE)) == len(marked)


@EVERY_BLOCK
def test_a_block_has_no_error_of_syntax(block):
    if block.language == "python":
        body = f"def function():\n    {block.text}" if block.text.startswith("return ") else block.text
        compile(body, block.page, "exec")
    elif block.language == "sh":
        subprocess.run(["bash", "-n", "-c", block.text], check=True, timeout=60)


@pytest.mark.parametrize(("page", "test"), EXAMINED.items())
def test_another_test_looks_at_the_programs_that_are_not_run_here(page, test):
    assert page.rpartition("/")[2] in (ROOT / test).read_text(encoding="utf-8")


@pytest.fixture
def prepared(request, tmp_path):
    """An empty directory, but for what the page takes for granted."""
    page = request.getfixturevalue("page")
    if page == "docs/custom_environment.md":
        shutil.copy(ROOT / "scripts" / "custom_environment.py", tmp_path / "corridor.py")
        package = tmp_path / "my_package"
        package.mkdir()
        shutil.copy(ROOT / "tests" / "support" / "own" / "reach.py", package / "tasks.py")
    if page in BEFORE:
        blocks.run(blocks.Block(page, 0, None, None, "sh", BEFORE[page]), tmp_path)
    return tmp_path


@pytest.mark.long
@pytest.mark.parametrize("page", [page for page, runs in RUN.items() if runs])
def test_the_blocks_of_a_page_run_from_its_top_to_its_end(page, prepared):
    printed = "".join(blocks.run(block, prepared) for block in RUN[page])
    assert "nan" not in printed
    for pattern in SHOWS.get(page, ()):
        assert re.search(pattern, printed, flags=re.MULTILINE), (pattern, printed)
