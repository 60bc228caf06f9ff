"""The commands and programs of the page on warm starts run as they stand, one after the other."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import variables

PAGE = (Path(__file__).parents[2] / "docs" / "warm_starts.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.long
def test_every_block_runs_from_an_empty_directory(tmp_path):
    assert [language for language, _ in BLOCKS] == ["sh", "python", "sh", "python"]
    for language, text in BLOCKS:
        command = [sys.executable, "-W", "error", "-c", text]
        if language == "sh":
            typed = re.sub(r"^ppo-jax", f"{sys.executable} -m ppo_jax", text, flags=re.MULTILINE)
            command = ["sh", "-e", "-c", typed]
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env=variables.computing_fast(),
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_every_public_name_of_the_page_exists():
    import ppo_jax

    for name in set(re.findall(r"ppo_jax\.([a-zA-Z_]+)", PAGE)) - {"envs", "spaces"}:
        assert hasattr(ppo_jax, name)
