"""Continuous integration runs the README's test command; `test_blocks.py` runs its Python."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MARKER = "<!-- test command -->"


def test_the_marker_stands_before_the_one_block_that_runs_pytest():
    blocks = re.findall(r"([^\n]*)\n```sh\n(.*?)```", README, flags=re.DOTALL)
    assert README.count(MARKER) == 1
    assert [marker == MARKER for marker, _ in blocks] == ["pytest" in block for _, block in blocks]
    (command,) = [block for marker, block in blocks if marker == MARKER]
    assert command == (
        "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest\n"
    )


def integrate(directory, readme):
    """Runs continuous integration in a directory that holds nothing but a README."""
    (directory / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", directory / ".ci" / "run")
    (directory / "README.md").write_text(readme)
    return subprocess.run(["bash", directory / ".ci" / "run"], capture_output=True, text=True, timeout=60)


def test_continuous_integration_runs_the_marked_block_and_no_other(tmp_path):
    readme = (
        f"```sh\necho other\n```\n\n{MARKER}\n```sh\necho marked\nexit 3\n```\n\n```sh\necho other\n```\n"
    )
    result = integrate(tmp_path, readme)
    assert result.returncode == 3
    assert "marked" in result.stdout.splitlines()
    assert "other" not in result.stdout


@pytest.mark.parametrize(
    "readme",
    [
        "```sh\necho unmarked\n```\n",
        f"{MARKER}\n\n```sh\necho unmarked\n```\n",
        f"{MARKER}\n```sh\necho first\n```\n{MARKER}\n```sh\necho second\n```\n",
    ],
    ids=["no marker", "not right before a block", "two markers"],
)
def test_continuous_integration_fails_clearly_without_exactly_one_marked_block(readme, tmp_path):
    result = integrate(tmp_path, readme)
    assert result.returncode == 1
    assert f'README.md needs exactly one "{MARKER}" right before a block of sh' in result.stderr
    assert result.stdout == "== the README's test command\n"


def test_every_command_of_contributing_is_run_by_continuous_integration():
    contributing = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    first_block = re.findall(r"```sh\n(.*?)```", contributing, flags=re.DOTALL)[0]
    integration = (ROOT / ".ci" / "run").read_text().replace("--quiet ", "")
    for command in re.split(r"\n|&&", first_block.strip()):
        assert command.strip() in integration
