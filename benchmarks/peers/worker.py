"""The process of a worker, which is spoken to in lines of JSON (see `workers/protocol.py`)."""

import json
import os
import queue
import subprocess
import threading
from pathlib import Path
from typing import Any

from peer import PeerError

# Everything runs on the CPU. XLA has no other options than those of the job. Nothing comes from earlier
# compilations, neither from JAX's cache nor from the one of ajax-rl.
SETTINGS = {
    "JAX_PLATFORMS": "cpu",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "AJAX_NO_COMPILE_CACHE": "1",
    "XLA_FLAGS": "",
}
PATIENCE = 10  # seconds in which a worker has to end by itself


class Worker:
    """A process that does one job. While it waits for input, it costs nothing."""

    def __init__(self, python: Path, script: Path, log: Path, timeout: float, cores: int):
        """Starts the process.

        Args:
            python: The interpreter.
            script: The program.
            log: The file for its standard error.
            timeout: The seconds that one answer may take.
            cores: The number of cores that it may use. It is pinned before it starts, because JAX counts the
                cores when it is imported.
        """
        self._log, self._timeout = log, timeout
        cpus = sorted(os.sched_getaffinity(0))[:cores]
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("w") as file:
            self._process = subprocess.Popen(
                ["taskset", "--cpu-list", ",".join(map(str, cpus)), python, script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
                env=os.environ | SETTINGS,
            )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, line: str) -> dict[str, Any]:
        """Sends a line and waits for the answer.

        Args:
            line: The line, without its end.

        Raises:
            PeerError: If there is no answer in time, or the answer is an error.
        """
        self._send(line)
        try:
            answer = self._lines.get(timeout=self._timeout)
        except queue.Empty:
            raise PeerError(f"no answer within {self._timeout:g} s; see {self._log}") from None
        if not answer:
            raise PeerError(f"died: {self._last_words()}; see {self._log}")
        content = json.loads(answer)
        if "error" in content:
            raise PeerError(content["error"])
        return content

    def stop(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(PATIENCE)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        self._reader.join(PATIENCE)

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        except OSError:  # the process died; the missing answer will show it
            return

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in filter(_is_answer, lines):
                self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        return words[-1] if words else f"status {self._process.wait()}"


def _is_answer(line: str) -> bool:
    return line.startswith("{")  # packages may print while they are imported, before the worker can stop it
