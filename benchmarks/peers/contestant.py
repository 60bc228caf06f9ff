"""One peer at one job: what it has measured so far, or why it could not."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from peer import Peer, PeerError
from worker import Worker
from workers.protocol import Job


class Outcome(NamedTuple):
    """What came of a peer at a job.

    Attributes:
        job: What was trained.
        peer: Its name.
        failure: Why there is no result, or None.
        version: Of its package.
        compile_seconds: None if nothing is compiled.
        rounds: Steps and seconds of each round.
    """

    job: Job
    peer: str
    failure: str | None
    version: str | None
    compile_seconds: float | None
    rounds: list[dict[str, Any]]

    @property
    def rates(self) -> list[float]:
        """Steps per second of each round."""
        return [turn["steps"] / turn["seconds"] for turn in self.rounds]


class Contestant:
    """Keeps a peer's worker, and keeps its failures to itself."""

    def __init__(self, peer: Peer, job: Job, failure: str | None):
        """Begins without a worker.

        Args:
            peer: Who.
            job: What to train.
            failure: Why it cannot, if that is known.
        """
        self.outcome = Outcome(job, peer.name, failure, None, None, [])
        self._source = str(peer.source or "")
        self._worker: Worker | None = None

    def start(self, make_worker: Callable[[], Worker]) -> None:
        """Starts the worker and lets it warm up.

        Args:
            make_worker: Starts the process.
        """
        if self.outcome.failure is not None:
            return
        self._worker = make_worker()
        job = self.outcome.job._replace(source=self._source)
        ready = self._ask(json.dumps(job._asdict()))
        self.outcome = self.outcome._replace(
            version=ready.get("version"), compile_seconds=ready.get("compile_seconds")
        )

    def go(self) -> None:
        """Trains once, unless it has failed."""
        if self.outcome.failure is None:
            answer = self._ask("go")
            self.outcome.rounds.extend([answer] if answer else [])

    def stop(self) -> None:
        """Ends the worker."""
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._worker is not None
        try:
            return self._worker.ask(line)
        except PeerError as error:
            self.outcome = self.outcome._replace(failure=str(error))
            self.stop()
            return {}
