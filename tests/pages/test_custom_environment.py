"""What the guide to custom environments shows runs as it stands, and does what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import blocks

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "custom_environment.md").read_text()
PROGRAMS = [
    block.text
    for block in blocks.blocks_of(ROOT / "docs" / "custom_environment.md")
    if block.language == "python" and block.mark is None
]
SCRIPT = (ROOT / "scripts" / "custom_environment.py").read_text()
CORRIDOR, REACH, REGISTERED, BROKEN = PROGRAMS


def run(program, directory):
    command = [sys.executable, "-W", "error", "-c", program]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_first_program_is_the_script():
    assert CORRIDOR == SCRIPT


@pytest.mark.parametrize("program", [CORRIDOR, REACH], ids=["functions", "gymnax"])
def test_an_environment_takes_less_than_60_lines(program):
    assert len(program.splitlines()) < 60


@pytest.mark.long
def test_the_corridor_is_solved_with_a_memory_and_only_with_one(tmp_path):
    output = run(CORRIDOR, tmp_path)
    without, with_memory = (int(share) for share in re.findall(r"(\d+)%", output))
    assert 25 < without < 75
    assert with_memory > 95
    (told,) = re.findall(r"It prints\n\n```text\n(.*?)```", GUIDE, flags=re.DOTALL)
    assert re.sub(r"\d+%", "", output) == re.sub(r"\d+%", "", told)


@pytest.mark.long
def test_the_point_reaches_its_target(tmp_path):
    (mean,) = re.findall(r"mean return (.*)", run(REACH, tmp_path))
    assert -1.6 < float(mean) < -1.2


def test_the_broken_environment_prints_the_error_that_the_page_shows(tmp_path):
    (told,) = re.findall(r"print\(error\)  # (.*)", BROKEN)
    assert run(BROKEN, tmp_path).strip() == told


@pytest.mark.long
def test_an_object_of_a_program_is_trained_by_its_name(tmp_path):
    (tmp_path / "corridor.py").write_text(CORRIDOR)
    run(REGISTERED, tmp_path)
    assert (tmp_path / "corridor-run" / "summary.json").exists()


@pytest.mark.long
def test_a_registered_environment_can_be_trained_from_the_command_line(tmp_path):
    arguments = ["train", "--env", "Reach-v0", "--total-timesteps", "1024", "--quiet", "--run-dir", "run"]
    program = REACH.split("config = ")[0] + f"\nfrom ppo_jax.cli import main; main({arguments})"
    run(program, tmp_path)
    assert (tmp_path / "run" / "summary.json").exists()
