"""The sink for TensorBoard, written with tensorboardX."""

import json
import math
import time
from typing import Any

from tensorboardX import RecordWriter
from tensorboardX.proto import event_pb2, summary_pb2
from tensorboardX.summary import text

from ppo_jax.host.monitor.sinks.sink import Opening

FLUSH_SECONDS = (
    5.0  # a killed process can lose this much; more flushes would cost time, since each waits for the disk
)

# The classes in these modules are made at import, so a type checker does not see them.
events: Any = event_pb2
summaries: Any = summary_pb2


class TensorBoard:
    """An event file in the run directory. A resumed run begins a new file, which hides what it repeats.

    The library's `SummaryWriter` is not used: its thread dies when the disk is full, and the next call to it
    waits forever.

    Attributes:
        view: The command that shows the metrics.
    """

    def __init__(self, opening: Opening):
        self.view = f"tensorboard --logdir {opening.run.path}"
        # TensorBoard finds files by the word "tfevents", and reads them in the order of their names.
        self._file = RecordWriter(str(opening.run.path / f"events.out.tfevents.{time.time_ns()}"))
        self._flushed = -math.inf
        self._add(0, file_version="brain.Event:2")
        if opening.resumed_step is None:
            settings = json.dumps(opening.settings, indent=2)
            self._add(0, summary=text("config", f"```\n{settings}\n```"))
        else:
            # This makes TensorBoard forget what earlier files have at this step or later.
            start = events.SessionLog(status=events.SessionLog.START)
            self._add(opening.resumed_step + 1, session_log=start)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Appends metrics to the file."""
        scalars = [summaries.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        self._add(step, summary=summaries.Summary(value=scalars))
        # A flush waits for the disk, so there is one every few seconds only.
        if time.monotonic() >= self._flushed + FLUSH_SECONDS:
            self._file.flush()
            self._flushed = time.monotonic()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()

    def _add(self, step: int, **content: Any) -> None:
        event = events.Event(wall_time=time.time(), step=step, **content)
        self._file.write(event.SerializeToString())
