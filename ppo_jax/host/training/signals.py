"""Graceful shutdown on SIGINT and SIGTERM."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """Hears the signals that ask a process to end, and tells when asked.

    Attributes:
        signal: The number of the first signal heard; None while there is none.
    """

    def __init__(self):
        self.signal: int | None = None

    @property
    def requested(self) -> bool:
        """Whether to finish what is being done, save, and end."""
        return self.signal is not None

    def status(self, otherwise: int) -> int:
        """Returns the exit status: 128 + the number of the signal, or else the given one."""
        return otherwise if self.signal is None else 128 + self.signal

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Takes SIGINT and SIGTERM over from Python while it lasts."""
        former = {number: signal.signal(number, self._hear) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first signal; a SIGINT after it ends the process at once.

        Whatever is being saved then is left as after a loss of power: without its last file, so it is
        never taken for a checkpoint.
        """
        if self.signal is None:
            self.signal = number
            _write("stopping: saving first; Ctrl-C once more stops at once")
        elif number == signal.SIGINT:
            _write(f"stopped at once{SHOW_CURSOR if os.isatty(2) else ''}")
            os._exit(128 + number)


def _write(text: str) -> None:
    """Writes a line past all buffers; whoever read it may have ended at the same signal."""
    with suppress(OSError):
        os.write(2, f"\nppo-jax: {text}\n".encode())
