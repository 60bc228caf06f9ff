"""What a training shows while it runs: live on a terminal, plain lines elsewhere, or nothing."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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
from ppo_jax.host.runs.records import Record


class PatientConsole(Console):
    """A console that falls silent when its reader goes away, so that a training is not lost."""

    def on_broken_pipe(self) -> None:
        """Sends all further output nowhere."""
        self.quiet = True
        discard_output()


class Screen:
    """Plain lines, about one a second: for files, pipes and continuous integration."""

    LINE_SECONDS = 1.0

    def __init__(self, total_steps: int, solved_return: float | None):
        self.console = PatientConsole(highlight=False, soft_wrap=not sys.stdout.isatty())
        self.total_steps = total_steps
        self.solved_return = solved_return
        self._last_line = -self.LINE_SECONDS
        self._last_return: float | None = None

    def say(self, text: str) -> None:
        """Prints a line that stays; where it cannot be written, the training is worth more than its lines."""
        try:
            self.console.print(text, markup=False)
        except OSError:
            self.console.on_broken_pipe()

    def fail(self, text: str) -> None:
        """Prints what went wrong, whatever the screen."""
        with suppress(OSError):  # whoever read it may be gone
            print(f"ppo-jax: {text}", file=sys.stderr)

    @contextmanager
    def waiting(self, what: str) -> Iterator[None]:
        """Shows that something takes a while, until it is done."""
        self.say(f"{what} ...")
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(what, done), daemon=True)
        ticker.start()
        try:
            yield
        finally:
            done.set()
            ticker.join()

    def _tick(self, what: str, done: threading.Event) -> None:
        start = time.perf_counter()
        while not done.wait(self.LINE_SECONDS):
            self.say(f"{what} ... {time.perf_counter() - start:.0f} s")

    @contextmanager
    def training(self) -> Iterator[None]:
        """Surrounds the training loop, between calls of `update`."""
        yield

    def update(self, records: list[Record], steps_per_second: float) -> None:
        """Shows the newest records.

        Args:
            records: Of the updates since the last call.
            steps_per_second: Environment steps per second of late.
        """
        returns = [record["episode_return"] for record in records if record["episodes"]]
        self._last_return = returns[-1] if returns else self._last_return
        self._show(records[-1], steps_per_second)

    def _show(self, record: Record, steps_per_second: float) -> None:
        is_last = record["env_steps"] == self.total_steps
        if not is_last and record["seconds"] < self._last_line + self.LINE_SECONDS:
            return
        self._last_line = record["seconds"]
        share = record["env_steps"] / self.total_steps
        values = "  ".join(f"{name} {value}" for name, value, _ in self.rows(record))
        self.say(
            f"{share:4.0%}  {record['env_steps']:,} steps  {steps_per_second:,.0f} steps/s  "
            f"{_time_left(record['seconds'], share)} left  {values}"
        )

    def rows(self, record: Record) -> list[tuple[str, str, str]]:
        """Returns name, value and remark of each diagnostic."""
        goal = "" if self.solved_return is None else f"solved at {self.solved_return:g}"
        clip_fraction = record["clip_fraction"]
        band = f"healthy: {CLIP_FRACTION.low:.2f} to {CLIP_FRACTION.high:.2f}"
        verdict = "-" if clip_fraction is None else CLIP_FRACTION.verdict(clip_fraction)
        return [
            ("return", _number(self._last_return, ".1f"), "mean of the newest finished episodes"),
            ("return(100)", _number(record["return_window"], ".1f"), goal),
            ("entropy", _number(record["entropy"], ".3f"), "nats"),
            ("KL", _number(record["approx_kl"], ".4f"), "nats, mean over gradient steps"),
            ("clip", _number(clip_fraction, ".2f"), f"{verdict} ({band})"),
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

    def _show(self, record: Record, steps_per_second: float) -> None:
        steps = f"{record['env_steps']:,} / {self.total_steps:,} steps  {steps_per_second:,.0f} steps/s"
        self._progress.update(self._task, completed=record["env_steps"], steps=steps)
        table = Table.grid(padding=(0, 2))
        table.add_column(style="dim")
        table.add_column(justify="right", style="bold")
        table.add_column(style="dim")
        for row in self.rows(record):
            table.add_row(*row)
        self._live.update(Group(self._progress, table))


class QuietScreen(Screen):
    """Nothing at all, but failures."""

    def say(self, text: str) -> None:
        """Prints nothing."""

    def _show(self, record: Record, steps_per_second: float) -> None:
        pass


def discard_output() -> None:
    """Points standard output at nothing, so that writing to it, or closing it, fails no more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_screen(quiet: bool, total_steps: int, solved_return: float | None) -> Screen:
    """Chooses the screen that fits the output.

    Args:
        quiet: Show nothing.
        total_steps: Environment steps of the whole training.
        solved_return: Mean return at which the task is solved, if there is such a mark.
    """
    if quiet or sys.stdout is None:
        return QuietScreen(total_steps, solved_return)
    can_be_redrawn = sys.stdout.isatty() and not Console().is_dumb_terminal
    kind = LiveScreen if can_be_redrawn else Screen
    return kind(total_steps, solved_return)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _time_left(seconds: float, share: float) -> str:
    left = round(seconds * (1 - share) / share)
    return f"{left // 60}:{left % 60:02d}"
