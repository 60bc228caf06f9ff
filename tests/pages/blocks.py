"""The blocks of code on the pages, and how they are run."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support import variables

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCED = re.compile(
    r"(?:^<!-- (?P<mark>not run|saved as): (?P<note>[^\n]*) -->\n)?"
    r"^```(?P<language>[^\n]*)\n(?P<text>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)
# What makes a training so short that only its first updates are seen; of equal flags, the last one counts.
SIZES = "--num-envs 8 --num-steps 16 --num-minibatches 4"
SHORTER = {
    "train": f"{SIZES} --total-timesteps 2560",
    "sweep": f"{SIZES} --total-timesteps 2560",
    "resume": "",
}


class Block(NamedTuple):
    """A block of code.

    Attributes:
        page: The page, from the root of the repository.
        number: Its number among all blocks of the page, from 1.
        mark: "not run" or "saved as", if a comment before it says so; otherwise None.
        note: The reason why it is not run, or the file that it is saved as; otherwise None.
        language: The word after the fence.
        text: The code.
    """

    page: str
    number: int
    mark: str | None
    note: str | None
    language: str
    text: str


def name(page):
    return page.relative_to(ROOT).as_posix()


def blocks_of(page):
    """The blocks of a page that hold code: no directive of the site, and no text to look at."""
    found = [
        Block(page=name(page), number=number, **match.groupdict())
        for number, match in enumerate(FENCED.finditer(page.read_text(encoding="utf-8")), start=1)
    ]
    return [block for block in found if block.language != "text" and not block.language.startswith("{")]


def programs_of(page):
    """The programs in Python of a page, by their number among its blocks."""
    return {block.number: block.text for block in blocks_of(page) if block.language == "python"}


def run(block, folder, environment=None):
    """Runs a block in a folder and returns what it printed; a file is saved there before.

    Commands of `ppo-jax` are shortened by the flags in SHORTER.
    """
    if block.mark == "saved as":
        file = folder / block.note
        file.write_text(block.text)
    if block.language == "python":
        command = [sys.executable, "-W", "error", "-c", block.text]
    else:
        command = ["bash", "-euo", "pipefail", "-c", block.text]
    # Commands are shortened and compile for longer than they train; programs train as they say.
    usual = variables.computing_fast() if block.language == "python" else variables.compiling_soon()
    environment = with_short_commands(folder, environment or usual)
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def with_short_commands(folder, environment):
    """Puts a command `ppo-jax` on the path that adds the flags in SHORTER."""
    folder = folder / ".bin"
    folder.mkdir(exist_ok=True)
    cases = "".join(f'{command}) set -- "$@" {flags};;\n' for command, flags in SHORTER.items())
    script = folder / "ppo-jax"
    script.write_text(f'#!/bin/sh\ncase "$1" in\n{cases}esac\nexec {sys.executable} -m ppo_jax "$@"\n')
    script.chmod(0o755)
    paths = os.pathsep.join([str(ROOT), *filter(None, [environment.get("PYTHONPATH")])])
    return {**environment, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": paths}
