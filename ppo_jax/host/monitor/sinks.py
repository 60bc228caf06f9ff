"""Where metrics go besides the run directory's own files: TensorBoard, Weights & Biases, trackio.

Each is an extra of the package, imported only if it was asked for. None of them can stop a training.
"""

import contextlib
import dataclasses
import importlib.util
import io
import json
import math
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

from ppo_jax.errors import UsageError
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import Logger
from ppo_jax.host.runs.records import Record
from ppo_jax.host.runs.request import Request

PROJECT = "ppo-jax"  # what runs are filed under
FLUSH_SECONDS = 5.0  # what can be lost if the process is killed; a flush waits for the disk
MODULES = {"tensorboard": "tensorboardX", "wandb": "wandb", "trackio": "trackio"}
# What holds for Weights & Biases where the user's environment says nothing. It is not to capture the
# terminal, which shows the training, nor to keep the training waiting.
WANDB_DEFAULTS = {
    "WANDB_PROJECT": PROJECT,
    "WANDB_CONSOLE": "off",
    "WANDB_SILENT": "true",  # nor does it ask for a login: without one it fails
    "WANDB_INIT_TIMEOUT": "30",  # seconds to find its server
    "WANDB_FINISH_TIMEOUT": "60",  # seconds to upload the rest; what is left stays on the disk
}


class Sink(Protocol):
    """One place that metrics go to.

    Attributes:
        view: How to look at them: an address or a command.
    """

    view: str

    def write(self, step: int, values: dict[str, float]) -> None:
        """Takes metrics, finite numbers, at a number of environment steps."""
        ...

    def close(self) -> None:
        """Brings to safety whatever was written."""
        ...


class Opening(NamedTuple):
    """What a sink is opened with.

    Attributes:
        run: The run directory.
        settings: The content of its `config.json`.
        resumed_step: Environment steps after which a resumed run goes on; None if it is not resumed.
    """

    run: RunDirectory
    settings: dict[str, Any]
    resumed_step: int | None


@dataclasses.dataclass
class Sinks:
    """All sinks of a run. One that fails says so once and is left out from then on.

    Attributes:
        say: Shows a line of text to the user.
        working: The sinks that have not failed, by name.
    """

    say: Callable[[str], None]
    working: dict[str, Sink] = dataclasses.field(default_factory=dict)

    def write(self, record: Record, group: str) -> None:
        """Hands a record to every sink, at its number of environment steps.

        Args:
            record: Metrics, `env_steps` among them; those that are None or not finite are left out.
            group: Put before the names: "train" makes "train/entropy".
        """
        values = {f"{group}/{name}": value for name, value in record.items() if _is_plotted(name, value)}
        for name, sink in list(self.working.items()):
            self._try(name, sink.write, record["env_steps"], values)

    def close(self) -> None:
        """Closes every sink."""
        while self.working:
            name, sink = self.working.popitem()
            self._try(name, sink.close)

    def open(self, name: str, opening: Opening) -> None:
        """Opens a sink and adds it."""
        sink = self._try(name, _KINDS[name], opening)
        if sink is not None:
            self.working[name] = sink
            self.say(f"{name}: {sink.view}")

    def _try(self, name: str, action: Callable, *arguments: Any) -> Any:
        try:
            return action(*arguments)
        except Exception as error:  # whatever a library may raise, the training is worth more
            self.say(f"{name} failed and is left out from here on: {type(error).__name__}: {error}")
            self._drop(name)

    def _drop(self, name: str) -> None:
        broken = self.working.pop(name, None)
        if broken is not None:
            with contextlib.suppress(Exception):
                broken.close()


def check(names: Sequence[Logger]) -> None:
    """Makes sure that the packages of sinks are installed, without importing them.

    Raises:
        UsageError: With what to install.
    """
    missing = [name for name in dict.fromkeys(names) if not _is_installed(MODULES[name])]
    if missing:
        raise UsageError(
            f"log_to = {' '.join(missing)} needs packages that are not installed; "
            f"install them: pip install '{PROJECT}[{','.join(missing)}]'"
        )


def open_sinks(
    names: Sequence[Logger],
    run: RunDirectory,
    asked: Request,
    resumed_from: int | None,
    say: Callable[[str], None],
) -> Sinks:
    """Opens sinks for a run.

    Args:
        names: Which; already checked.
        run: The run directory.
        asked: What the run does.
        resumed_from: The update after which a resumed run goes on; None if it is not resumed.
        say: Shows a line of text to the user; told of each sink that fails.
    """
    resumed_step = None if resumed_from is None else resumed_from * asked.config.batch_size
    opening = Opening(run, request.as_json(asked), resumed_step)
    sinks = Sinks(say)
    for name in dict.fromkeys(names):
        sinks.open(name, opening)
    return sinks


class _TensorBoard:
    """An event file in the run directory; a resumed run begins a new one, which hides what it repeats.

    Written without the library's `SummaryWriter`: its thread dies on a full disk, and whoever writes then
    waits for it forever.
    """

    def __init__(self, opening: Opening):
        from tensorboardX import RecordWriter
        from tensorboardX.proto import event_pb2, summary_pb2
        from tensorboardX.summary import text

        self._event_pb2: Any = event_pb2  # made at run time: a type checker sees nothing in them
        self._summary_pb2: Any = summary_pb2
        self.view = f"tensorboard --logdir {opening.run.path}"
        # The reader knows files by "tfevents", and takes them in the order of their names.
        self._file = RecordWriter(str(opening.run.path / f"events.out.tfevents.{time.time_ns()}"))
        self._flushed = -math.inf
        self._add(0, file_version="brain.Event:2")
        if opening.resumed_step is None:
            settings = json.dumps(opening.settings, indent=2)
            self._add(0, summary=text("config", f"```\n{settings}\n```"))
        else:
            # To the reader this means: forget whatever earlier files have at this step or later.
            start = self._event_pb2.SessionLog(status=self._event_pb2.SessionLog.START)
            self._add(opening.resumed_step + 1, session_log=start)

    def write(self, step: int, values: dict[str, float]) -> None:
        make = self._summary_pb2.Summary
        scalars = [make.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=make(value=scalars))
        if time.monotonic() >= self._flushed + FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        self._file.close()

    def _add(self, step: int, **content: Any) -> None:
        event = self._event_pb2.Event(wall_time=time.time(), step=step, **content)
        self._file.write(event.SerializeToString())


class _WandB:
    """A run of Weights & Biases; a resumed run goes on in it, repeating what came after its checkpoint."""

    def __init__(self, opening: Opening):
        for name, value in WANDB_DEFAULTS.items():
            os.environ.setdefault(name, value)
        import wandb

        path = opening.run.path
        self._run = wandb.init(
            dir=path,
            id=os.environ.get("WANDB_RUN_ID") or _identity(opening.run),
            name=os.environ.get("WANDB_NAME") or path.resolve().name,
            config=opening.settings,
            resume="allow",
        )
        self._run.define_metric("*", step_metric="env_steps")
        if self._run.offline:
            self.view = f"wandb sync {path / 'wandb' / 'offline-run-*'}"
        else:
            self.view = self._run.url or "disabled"

    def write(self, step: int, values: dict[str, float]) -> None:
        self._run.log({"env_steps": step, **values})

    def close(self) -> None:
        self._run.finish()


class _Trackio:
    """A run in trackio's database; a resumed run goes on in it, repeating what came after its checkpoint."""

    def __init__(self, opening: Opening):
        with contextlib.redirect_stdout(io.StringIO()):
            import trackio  # pyright: ignore[reportMissingImports]

            trackio.init(
                project=PROJECT,
                name=f"{opening.run.path.resolve().name}-{_identity(opening.run)}",
                config=opening.settings,
                resume="allow",
                embed=False,
            )
        self.view = f"trackio show --project {PROJECT}"
        self._trackio = trackio

    def write(self, step: int, values: dict[str, float]) -> None:
        self._trackio.log(values, step=step)

    def close(self) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            self._trackio.finish()


_KINDS: dict[str, Callable[[Opening], Sink]] = {
    "tensorboard": _TensorBoard,
    "wandb": _WandB,
    "trackio": _Trackio,
}


def _is_plotted(name: str, value: Any) -> bool:
    return name != "env_steps" and value is not None and math.isfinite(value)


def _is_installed(module: str) -> bool:
    """Says whether a package is there; a mere folder of its name, such as W&B leaves behind, is not it."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None


def _identity(run: RunDirectory) -> str:
    """Returns a name that no other run has, the same whenever the run is resumed."""
    file = run.path / "run_id.txt"
    if not file.exists():
        file.write_text(secrets.token_hex(4))
    return file.read_text()
