"""Graceful shutdown on SIGINT, SIGTERM and SIGHUP."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SHOW_CURSOR = "\x1b[?25h"


class Stop:
    """Notices the signals that ask a process to end.

    Attributes:
        signal: The number of the first signal; None while there is none.
        is_guest: Whether the process is the user's own, such as a notebook: it is then never ended, and a
            second SIGINT raises KeyboardInterrupt.
    """

    def __init__(self, is_guest: bool = False):
        self.signal: int | None = None
        self.is_guest = is_guest

    @property
    def requested(self) -> bool:
        """Whether to finish the current chunk, save, and end."""
        return self.signal is not None

    def status(self, otherwise: int) -> int:
        """Returns the exit status: 128 + the number of the signal, or else the given one."""
        return otherwise if self.signal is None else 128 + self.signal

    def hear_of(self, number: int | None) -> None:
        """Takes a signal that another process of the run has got for one of this process."""
        if number is not None and self.signal is None:
            self._hear(number, None)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the signals inside the `with` block; afterwards, Python handles them as before.

        SIGHUP is sent when a terminal is closed or a connection is lost, and is left to `nohup`, which makes
        a process ignore it. Python delivers signals to the main thread, so in another one there is nothing
        to listen to.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        former = {number: signal.signal(number, self._hear) for number in numbers}
        try:
            yield
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        """Remembers the first signal; a later SIGINT ends the process at once.

        A checkpoint that is being saved at that moment lacks its last file, as after a loss of power, so it
        is never taken for a checkpoint.
        """
        if self.signal is None:
            self.signal = number
            how = "interrupt" if self.is_guest else "press Ctrl-C"
            _write(f"stopping: saving first; {how} again to stop at once")
        elif number == signal.SIGINT and self.is_guest:
            raise KeyboardInterrupt
        elif number == signal.SIGINT:
            _write(f"stopped at once{SHOW_CURSOR if os.isatty(2) else ''}")
            os._exit(128 + number)


def _write(text: str) -> None:
    """Writes a line to standard error, unbuffered; its reader may have ended at the same signal."""
    with suppress(OSError):
        os.write(2, f"\nppo-jax: {text}\n".encode())
