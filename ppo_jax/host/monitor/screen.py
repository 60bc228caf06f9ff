"""Shows a run while it trains: a live panel on a terminal, plain lines elsewhere, or nothing."""

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from html import escape
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from ppo_jax.host.diagnosis.health import CLIP_FRACTION
from ppo_jax.host.runs.records import Record, own

Rows = list[tuple[str, str, str]]


def make_screen(quiet: bool, total_steps: int, solved_return: float | None) -> "Screen":
    """Chooses the screen that fits the output.

    Args:
        quiet: Whether to show nothing but failures.
        total_steps: The environment steps of the whole run.
        solved_return: The mean return at which the task counts as solved; None without such a mark.
    """
    if quiet or sys.stdout is None or getattr(sys.stdout, "closed", False):
        return QuietScreen(total_steps, solved_return)
    console = Console()
    if console.is_jupyter:
        return NotebookScreen(total_steps, solved_return)
    can_be_redrawn = _is_terminal() and not console.is_dumb_terminal
    if can_be_redrawn:
        return LiveScreen(total_steps, solved_return)
    return Screen(total_steps, solved_return)


class Screen:
    """Plain lines, about one a second: for files, pipes and continuous integration.

    Attributes:
        console: The console to which the lines go.
        total_steps: The environment steps of the whole run.
        solved_return: The mean return at which the task counts as solved; None without such a mark.
    """

    LINE_SECONDS = 1.0

    def __init__(self, total_steps: int, solved_return: float | None):
        stream: Any = PatientStream(sys.stdout)
        self.console = Console(file=stream, highlight=False, soft_wrap=not _is_terminal())
        self.total_steps = total_steps
        self.solved_return = solved_return
        self._last_line = -self.LINE_SECONDS
        self._last_return: float | None = None
        self._last_own: dict[str, float | None] = {}

    def say(self, text: str) -> None:
        """Prints a line that stays. If it cannot be written, the run continues without it."""
        self.console.print(text, markup=False)

    def fail(self, text: str) -> None:
        """Prints what went wrong, on every kind of screen."""
        with suppress(OSError, ValueError):  # whoever read it may be gone
            print(f"ppo-jax: {text}", file=sys.stderr or sys.__stderr__)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows that something takes a while, until it is done.

        Args:
            what: The name of what takes a while, such as "compiling".
        """
        self.say(f"{what} ...")
        done = threading.Event()
        clock = threading.Thread(target=self._tell_the_time, args=(what, done), daemon=True)
        clock.start()
        try:
            yield
        finally:
            done.set()
            clock.join()

    def _tell_the_time(self, what: str, done: threading.Event) -> None:
        """Says about once a second how long something has taken so far, until it is done."""
        start = time.perf_counter()
        while not done.wait(self.LINE_SECONDS):
            self.say(f"{what} ... {time.perf_counter() - start:.0f} s")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Surrounds the training loop, which calls `update`."""
        yield

    def update(self, records: list[Record], steps_per_second: float) -> None:
        """Shows the newest records.

        Args:
            records: The records of all updates since the last call, at least one.
            steps_per_second: The environment steps per second since the last call.
        """
        record = records[-1]
        self.show(record["env_steps"], record["seconds"], steps_per_second, self.rows(records))

    def show(self, done: int, seconds: float, steps_per_second: float, rows: Rows) -> None:
        """Shows how far the training is.

        Args:
            done: The environment steps so far.
            seconds: The seconds of training so far.
            steps_per_second: The environment steps per second since the last call.
            rows: Name, value and remark of what is worth looking at.
        """
        share = done / self.total_steps
        if share < 1 and seconds < self._last_line + self.LINE_SECONDS:
            return
        self._last_line = seconds
        left = timedelta(seconds=round(seconds * (1 - share) / share))
        self.say(
            f"{share:4.0%}  {done:,} steps  {steps_per_second:,.0f} steps/s  "
            f"{left} left  {'  '.join(f'{name} {value}' for name, value, _ in rows)}"
        )

    def rows(self, records: list[Record]) -> Rows:
        """Returns name, value and remark of each diagnostic, as of the newest record.

        Args:
            records: The records of all updates since the last call, at least one.
        """

        def show(value: float | None, form: str) -> str:
            return "-" if value is None else format(value, form)

        # The newest return stays until another episode ends, which may take many updates.
        returns = [record["episode_return"] for record in records if record["episodes"]]
        self._last_return = returns[-1] if returns else self._last_return
        record = records[-1]
        for row in records:
            self._last_own |= {name: row[name] for name in own(row) if row[name] is not None}
        clip_fraction = record["clip_fraction"]
        verdict = "-" if clip_fraction is None else CLIP_FRACTION.verdict(clip_fraction)
        band = f"healthy: {CLIP_FRACTION.low:.2f} to {CLIP_FRACTION.high:.2f}"
        goal = "" if self.solved_return is None else f"solved at {self.solved_return:g}"
        return [
            ("return", show(self._last_return, ".1f"), "mean of the newest finished episodes"),
            ("return(100)", show(record["return_window"], ".1f"), goal),
            ("entropy", show(record["entropy"], ".3f"), "nats"),
            ("KL", show(record["approx_kl"], ".4f"), "nats, mean over gradient steps"),
            ("clip", show(clip_fraction, ".2f"), f"{verdict} ({band})"),
            *((name, show(value, ".4g"), "of the environment") for name, value in self._last_own.items()),
        ]


class LiveScreen(Screen):
    """A live panel: progress, speed, and the diagnostics with their healthy ranges."""

    def __init__(self, total_steps: int, solved_return: float | None):
        super().__init__(total_steps, solved_return)
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[steps]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("left"),
            expand=True,
            console=self.console,
        )
        self._task = self._progress.add_task("", total=total_steps, steps="")
        self._live = Live(self._progress, console=self.console, refresh_per_second=8)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows a spinner and the seconds so far, until it is done."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=self.console, transient=True) as progress:
            progress.add_task(what, total=None)
            yield

    @contextmanager
    def training(self) -> Iterator[None]:
        """Keeps the panel on the screen between calls of `update`."""
        with self._live:
            yield

    def show(self, done: int, seconds: float, steps_per_second: float, rows: Rows) -> None:
        """Redraws the panel."""
        steps = f"{done:,} / {self.total_steps:,} steps  {steps_per_second:,.0f} steps/s"
        self._progress.update(self._task, completed=done, steps=steps)
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold")
        table.add_column(style="dim")
        for row in rows:
            table.add_row(*row)
        self._live.update(Group(self._progress, table))


class NotebookScreen(Screen):
    """In a notebook: lines that stay, and a panel below them, which is redrawn in place."""

    def __init__(self, total_steps: int, solved_return: float | None):
        super().__init__(total_steps, solved_return)
        # Plain text: a notebook would frame each line as a picture of its own.
        stream: Any = PatientStream(sys.stdout)
        self.console = Console(file=stream, highlight=False, soft_wrap=True, force_jupyter=False)
        self._panel: Any = None

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Says what takes a while."""
        self.say(f"{what} ...")
        yield

    @contextmanager
    def training(self) -> Iterator[None]:
        """Puts the panel below the lines so far."""
        from IPython.display import display  # a notebook has it

        self._panel = display({"text/plain": "training ..."}, raw=True, display_id=True)
        yield

    def show(self, done: int, seconds: float, steps_per_second: float, rows: Rows) -> None:
        """Redraws the panel."""
        head = f"{done:,} of {self.total_steps:,} steps, {steps_per_second:,.0f} steps/s"
        lines = [head, *(f"{name} {value}  {remark}" for name, value, remark in rows)]
        cells = "".join(f"<tr>{''.join(f'<td>{escape(text)}</td>' for text in row)}</tr>" for row in rows)
        bar = f"<progress value='{done}' max='{self.total_steps}'></progress> {escape(head)}"
        content = {"text/plain": "\n".join(lines), "text/html": f"{bar}<table>{cells}</table>"}
        self._panel.update(content, raw=True)


class QuietScreen(Screen):
    """Nothing at all, except failures."""

    def say(self, text: str) -> None:
        """Prints nothing."""


def _is_terminal() -> bool:
    """Whether standard output is a terminal; a program may have put anything that writes in its place."""
    return getattr(sys.stdout, "isatty", lambda: False)()


class PatientStream:
    """Standard output that falls silent when its reader or terminal has gone, so that the run continues."""

    def __init__(self, stream: Any):
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes a text, if that is still possible."""
        self._attempt(self._stream.write, text)
        return len(text)

    def flush(self) -> None:
        """Hands what was written to the operating system, if that is still possible."""
        self._attempt(self._stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def _attempt(self, call: Callable[..., Any], *arguments: str) -> None:
        try:
            call(*arguments)
        except UnicodeEncodeError:
            call(*(text.encode("ascii", "backslashreplace").decode() for text in arguments))
        except (OSError, ValueError):  # ValueError: it was closed
            discard_output()


def discard_output() -> None:
    """Redirects standard output to the null device, so that writing to it or closing it cannot fail."""
    with suppress(AttributeError, OSError, ValueError):  # a notebook's has no descriptor
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
