"""The programs of the pages on runs from Python and on several devices run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import variables

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "python.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE + (DOCS / "scaling.md").read_text(), flags=re.DOTALL)


@pytest.mark.long
@pytest.mark.parametrize("program", PROGRAMS, ids=["a run", "between chunks", "saving a state", "devices"])
def test_a_program_runs_from_an_empty_directory(program, tmp_path):
    command = [sys.executable, "-W", "error", "-c", program]
    environment = variables.computing_fast()
    result = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert result.returncode == 0, result.stderr
    if "print(" in program:
        last = result.stdout.splitlines()[-1]
        assert "report.html" in last or last.startswith("interrupted ")


def test_every_public_name_of_the_page_exists():
    import ppo_jax

    for name in set(re.findall(r"ppo_jax\.([a-z_]+)\(?", PAGE)) - {"host"}:
        assert hasattr(ppo_jax, name)
