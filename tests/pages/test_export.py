"""The commands and programs of the page on exports run as they stand, one after the other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ppo_jax.host.export import standalone
from tests.support import variables

PAGE = (Path(__file__).parents[2] / "docs" / "export.md").read_text()
(COMMANDS,) = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.long
def test_the_commands_and_programs_run_from_an_empty_directory(tmp_path):
    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=variables.compiling_soon(1),
            capture_output=True,
            text=True,
            timeout=300,
        )

    for line in COMMANDS.splitlines():
        program, *arguments = line.split()
        assert program == "ppo-jax"
        done = run("-m", "ppo_jax", *arguments)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "my-policy" / "episode.gif").read_bytes()[:3] == b"GIF"
    for program in PROGRAMS:
        done = run("-W", "error", "-c", program)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {"my-run", "my-policy"}


def test_the_runtime_is_as_short_as_the_page_says():
    source = Path(standalone.__file__).read_text()
    without_words = re.sub(r'"""(.*?)"""|^ *#.*?$', "", source, flags=re.DOTALL | re.MULTILINE)
    assert sum(bool(line.strip()) for line in without_words.splitlines()) < 80
