"""The program `ppo-jax`: one class for each command, and one row in a table for each class."""

import sys
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits (see `ppo_jax.cli.program.main`).

    Args:
        arguments: The arguments without the name of the program; by default those of the process.
    """
    try:
        from ppo_jax.cli import program  # takes a moment, in which Ctrl-C may be pressed already
    except KeyboardInterrupt:
        sys.exit(130)
    program.main(arguments)
