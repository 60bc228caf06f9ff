"""One small training from the command line, shared by the tests of what it leaves behind."""

from pathlib import Path

import pytest

from ppo_jax.cli import main
from ppo_jax.host.runs.directory import RunDirectory

SMALL = ("--num-envs", "4", "--num-steps", "32", "--total-timesteps", "4000", "--num-epochs", "2")


def run_command(*arguments: str | Path) -> int:
    """Calls the command line as the shell would, and returns the exit status."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return int(stop.value.code or 0)


@pytest.fixture(scope="session")
def trained(tmp_path_factory) -> RunDirectory:
    path = tmp_path_factory.mktemp("runs") / "small"
    assert run_command("train", *SMALL, "--run-dir", path, "--quiet") == 0
    return RunDirectory(path)
