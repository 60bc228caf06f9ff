"""The interface of a sink, and what a sink is opened with."""

import secrets
from typing import Any, NamedTuple, Protocol

from ppo_jax.host.runs.directory import RunDirectory

PROJECT = "ppo-jax"  # the project under which other programs list the runs


class Sink(Protocol):
    """A place to which metrics go. Its class is called with an `Opening`.

    Attributes:
        view: The address or the command with which to look at the metrics.
    """

    view: str

    def write(self, step: int, values: dict[str, float]) -> None:
        """Takes metrics.

        Args:
            step: The number of environment steps after which they were measured.
            values: Finite numbers by name.
        """
        ...

    def close(self) -> None:
        """Makes sure that nothing that was written is lost."""
        ...


class Opening(NamedTuple):
    """Everything that a sink is opened with.

    Attributes:
        run: The run directory.
        settings: The content of its `config.json`.
        resumed_step: The number of environment steps from which a resumed run continues; None if it is new.
    """

    run: RunDirectory
    settings: dict[str, Any]
    resumed_step: int | None


def identity(run: RunDirectory) -> str:
    """Returns a name that no other run has, and that stays the same when the run is resumed."""
    file = run.path / "run_id.txt"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text()
