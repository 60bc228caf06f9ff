"""Sinks, to which metrics go in addition to the files of the run: one file and one row of `SINKS` for each.

The library of a sink is an optional extra of this package, imported only if the sink was asked for. A sink
that fails never stops the run.
"""

import contextlib
import dataclasses
import importlib.util
import math
import pkgutil
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.monitor.sinks.sink import PROJECT, Opening, Sink
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request

if TYPE_CHECKING:
    from ppo_jax.host.runs.records import Record  # loads NumPy, for which the command line need not wait


class Row(NamedTuple):
    """A row of the table of sinks: what is known of a sink before it is opened.

    Attributes:
        module: The module that has to be installed.
        sink: The class, called with an `Opening`, as "module:class"; imported when the sink is opened.
        most: The most records that it takes of a chunk, which lasts about a quarter of a second.
    """

    module: str
    sink: str
    most: int = 16


SINKS = {
    "tensorboard": Row("tensorboardX", "ppo_jax.host.monitor.sinks.tensorboard:TensorBoard", most=256),
    "wandb": Row("wandb", "ppo_jax.host.monitor.sinks.wandb:WandB"),
    "trackio": Row("trackio", "ppo_jax.host.monitor.sinks.trackio:Trackio"),
}


def check(names: Sequence[str]) -> None:
    """Makes sure that sinks exist and that their libraries are installed, without importing them.

    Args:
        names: The names of the sinks.

    Raises:
        UsageError: If a name is unknown, or if a library is missing; it then says what to install.
    """
    unknown = [name for name in names if name not in SINKS]
    if unknown:
        raise UsageError(f"log_to = {' '.join(unknown)} is unknown; choose from {', '.join(SINKS)}")
    missing = []
    for name in dict.fromkeys(names):
        found = importlib.util.find_spec(SINKS[name].module)
        # Without an origin it is not a package but a folder with its name, such as W&B leaves behind.
        if found is None or found.origin is None:
            missing.append(name)
    if missing:
        raise UsageError(
            f"log_to = {' '.join(missing)} needs packages that are not installed; "
            f"install them: pip install '{PROJECT}[{','.join(missing)}]'"
        )


def open_sinks(
    asked: Request, run: RunDirectory, resumed_step: int | None, say: Callable[[str], None]
) -> "Sinks":
    """Opens the sinks that a request names, and says how to look at each of them.

    Args:
        asked: The request of the run, already checked.
        run: The run directory.
        resumed_step: The number of environment steps from which a resumed run continues; None if it is new.
        say: A function that shows a line of text to the user.
    """
    opening = Opening(run, request.to_json(asked), resumed_step)
    sinks = Sinks(say)

    def open_one(name: str) -> Sink:
        return pkgutil.resolve_name(SINKS[name].sink)(opening)

    for name in dict.fromkeys(asked.options.log_to):
        sink = sinks.attempt(name, open_one, name)
        if sink is not None:
            sinks.working[name] = sink
            say(f"{name}: {sink.view}")
    return sinks


@dataclasses.dataclass
class Sinks:
    """All sinks of a run. One that fails is reported once, and left out from then on.

    Attributes:
        say: A function that shows a line of text to the user.
        working: The sinks that have not failed, by name.
    """

    say: Callable[[str], None]
    working: dict[str, Sink] = dataclasses.field(default_factory=dict)

    def write(self, record: "Record", group: str) -> None:
        """Hands a record to every sink.

        Args:
            record: The metrics. They are filed under the value of `env_steps`; those that are None or not
                finite are left out.
            group: The first part of their names: "train" gives "train/entropy".
        """
        for name in list(self.working):
            self._write_to(name, record, group)

    def _write_to(self, name: str, record: "Record", group: str) -> None:
        values = {
            f"{group}/{key}": value
            for key, value in record.items()
            if key != "env_steps" and value is not None and math.isfinite(value)
        }
        if name in self.working:  # it may have failed at the record before
            self.attempt(name, self.working[name].write, record["env_steps"], values)

    def write_chunk(self, records: "list[Record]", group: str) -> None:
        """Hands the records of a chunk to every sink, joined to as many as it takes."""
        from ppo_jax.host.monitor.sinks.thinning import thin  # loads NumPy, as records do

        for name in list(self.working):
            for record in thin(records, SINKS[name].most):
                self._write_to(name, record, group)

    def close(self) -> None:
        """Closes every sink."""
        while self.working:
            name, sink = self.working.popitem()
            self.attempt(name, sink.close)

    def attempt(self, name: str, action: Callable, *arguments: Any) -> Any:
        """Calls a function of a sink, and closes the sink if it fails.

        Returns:
            The result of the function; None if it failed.
        """
        try:
            return action(*arguments)
        except Exception as error:  # whatever a library may raise: the run matters more than its display
            self.say(f"{name} failed and is left out from here on: {type(error).__name__}: {error}")
            with contextlib.suppress(Exception):  # it may not be open, or may fail again
                self.working.pop(name).close()
            return None
