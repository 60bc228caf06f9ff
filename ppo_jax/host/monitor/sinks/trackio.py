"""The sink for Trackio."""

import contextlib
import importlib
import io

from ppo_jax.host.monitor.sinks.sink import PROJECT, Opening, identity


class Trackio:
    """A run in Trackio's database. A resumed run continues it, and repeats what came after its checkpoint.

    Attributes:
        view: The command that shows the metrics.
    """

    def __init__(self, opening: Opening):
        with contextlib.redirect_stdout(io.StringIO()):  # it prints when it is imported and opened
            self._trackio = importlib.import_module("trackio")
            self._trackio.init(
                project=PROJECT,
                name=f"{opening.run.path.resolve().name}-{identity(opening.run)}",
                config=opening.settings,
                resume="allow",
                embed=False,
            )
        self.view = f"trackio show --project {PROJECT}"

    def write(self, step: int, values: dict[str, float]) -> None:
        """Logs metrics."""
        self._trackio.log(values, step=step)

    def close(self) -> None:
        """Waits until the database has everything."""
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()
