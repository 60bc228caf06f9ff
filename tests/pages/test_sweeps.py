"""The programs of the page on sweeps run as they stand, one after the other, and its flags exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import variables

PAGE = (Path(__file__).parents[2] / "docs" / "sweeps.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.long
def test_the_programs_run_from_an_empty_directory(tmp_path):
    for program in PROGRAMS:
        command = [sys.executable, "-W", "error", "-c", program]
        environment = variables.compiling_soon()
        result = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
        )
        assert result.returncode == 0, result.stderr
    assert "(8, 19)" in result.stdout  # members and updates


def test_every_public_name_of_the_page_exists():
    import ppo_jax

    for name in set(re.findall(r"ppo_jax\.([A-Za-z_]+)", PAGE)):
        assert hasattr(ppo_jax, name)
