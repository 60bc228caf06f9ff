"""One peer at one job, with one set of options of XLA: what it has measured so far, or why it has failed."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

from peer import OURS, OWN, Peer, PeerError
from worker import Worker
from workers.protocol import Job

from ppo_jax.host.programs.chunks import CPU_OPTIONS

XLA_OPTIONS: dict[str, dict[str, str | bool]] = {OWN: {}, OURS: CPU_OPTIONS}


class Outcome(NamedTuple):
    """The result of a peer at a job.

    Attributes:
        job: What was trained, the same for all peers that take turns.
        peer: The name of the peer.
        xla: The options of XLA: "own" or "ours".
        failure: The reason why there is no result, or None.
        version: The version of its package.
        compile_seconds: The seconds of tracing and compiling; None if nothing is compiled.
        rounds: The steps and the seconds of each round.
    """

    job: Job
    peer: str
    xla: str
    failure: str | None
    version: str | None
    compile_seconds: float | None
    rounds: list[dict[str, Any]]

    @property
    def rates(self) -> list[float]:
        """Steps per second of each round."""
        return [turn["steps"] / turn["seconds"] for turn in self.rounds]


class Contestant:
    """A peer with its worker. A failure becomes part of its outcome, and does not disturb the others."""

    def __init__(self, peer: Peer, job: Job, xla: str, failure: str | None = None):
        """Prepares a peer that has no worker yet.

        Args:
            peer: The peer.
            job: What to train.
            xla: The options of XLA: "own" or "ours".
            failure: The reason why the peer cannot take part, if it is known already.
        """
        self.outcome = Outcome(
            job=job, peer=peer.name, xla=xla, failure=failure, version=None, compile_seconds=None, rounds=[]
        )
        self._source = str(peer.source or "")
        self._worker: Worker | None = None

    def start(self, make_worker: Callable[[], Worker]) -> None:
        """Starts the worker and lets it warm up.

        Args:
            make_worker: The function that starts the process.
        """
        if self.outcome.failure is not None:
            return
        self._worker = make_worker()
        job = self.outcome.job._replace(options=XLA_OPTIONS[self.outcome.xla], source=self._source)
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
