"""The Python of the README runs as it stands, and prints numbers."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SNIPPETS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_a_snippet_runs_from_an_empty_directory_and_prints_no_nan(snippet, tmp_path):
    command = [sys.executable, "-W", "error", "-c", snippet]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert "nan" not in result.stdout


def test_every_command_of_contributing_is_run_by_continuous_integration():
    contributing = (ROOT / "CONTRIBUTING.md").read_text()
    first_block = re.findall(r"```sh\n(.*?)```", contributing, flags=re.DOTALL)[0]
    integration = (ROOT / ".ci" / "run").read_text().replace("--quiet ", "")
    for command in re.split(r"\n|&&", first_block.strip()):
        assert command.strip() in integration
