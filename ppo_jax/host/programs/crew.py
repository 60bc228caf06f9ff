"""The processes that train one run together: the first leads, saves and shows; the others follow.

The leader decides how many updates come next, when to save and when to end. It tells the others through JAX's
coordination service rather than through the devices, which would give up while it takes its time to evaluate.
"""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import jax
from jax._src.distributed import global_state  # JAX has no public way to exchange texts between processes
from jax.experimental import multihost_utils

from ppo_jax.errors import UsageError

JOIN_SECONDS = 50  # for all processes to start; then JAX ends those that wait
LOST_SECONDS = 30  # without a sign of life, after which a process is taken for dead
COMPILE_SECONDS = 600  # one process may take longer than another
POLL_MILLISECONDS = 1000  # how often a process that waits looks for signals
REMEMBERED = 64  # orders that are kept for processes that lag behind; each chunk of updates waits for all


class Crew:
    """The processes of a run, as one of them sees it.

    Attributes:
        size: The number of processes.
        number: The number of this one, from 0, which is that of the leader.
        is_complete: False if another process was lost.
    """

    def __init__(self, size: int = 1, number: int = 0):
        self.size, self.number = size, number
        self.is_complete = True
        self._orders = 0
        self._is_heard = False

    def tell(self, order: str, value: Any = None) -> None:
        """Gives an order to the processes that follow, if there are any.

        Args:
            order: Its name.
            value: A value that JSON can hold.
        """
        if self.size == 1:
            return
        client = _client()
        client.key_value_set(_key("order", self._orders), json.dumps([order, value]))
        if self._orders >= REMEMBERED:
            client.key_value_delete(_key("order", self._orders - REMEMBERED))
        self._orders += 1

    def orders(self, stop: Any) -> Iterator[tuple[str, Any]]:
        """Yields the orders of the leader as they come, and passes signals on to it.

        Args:
            stop: The signals that ask this process to end (see `training.signals`).
        """
        while True:
            order, value = json.loads(self._wait_for(_key("order", self._orders), stop))
            self._orders += 1
            yield order, value

    def _wait_for(self, key: str, stop: Any) -> str:
        while True:
            if stop.requested and not self._is_heard:
                _client().key_value_set(_key("signal", self.number), str(stop.signal))
                self._is_heard = True
            if text := _get(key):
                return text

    def signal(self) -> int | None:
        """Returns the number of a signal that another process has got; None if there is none."""
        if self.size == 1:
            return None
        got = _client().key_value_dir_get(_key("signal"))
        return int(got[0][1]) if got else None

    def meet(self, where: str) -> None:
        """Waits until all processes are at the same place."""
        if self.size > 1:
            _client().wait_at_barrier(f"ppo_jax/{where}", 1000 * COMPILE_SECONDS)

    def share(self, numbers: Any) -> Any:
        """Returns the arrays of the leader; the processes that follow give others of the same shapes."""
        return multihost_utils.broadcast_one_to_all(numbers) if self.size > 1 else numbers


def _client() -> Any:
    """Returns JAX's client of the service through which the processes talk."""
    return global_state.client


def _get(key: str) -> str | None:
    """Waits for a text, but not for long; None if there is none by then."""
    try:
        return _client().blocking_key_value_get(key, POLL_MILLISECONDS)
    except jax.errors.JaxRuntimeError as error:
        if "DEADLINE_EXCEEDED" in str(error):
            return None
        raise


def _key(*parts: Any) -> str:
    return "/".join(["ppo_jax", *map(str, parts)])


def join(coordinator: str | None, num_processes: int | None, process_id: int | None) -> Crew:
    """Joins the processes of a run; what is not given is found out from Slurm, Open MPI, a TPU or Kubernetes.

    If a process does not come, JAX ends this one: `watched` says so.

    Args:
        coordinator: HOST:PORT of process 0.
        num_processes: The number of processes.
        process_id: The number of this one.

    Raises:
        UsageError: If something is missing or wrong, or the processes have met before.
    """
    jax.config.update("jax_enable_preemption_service", False)  # signals are ours
    try:
        jax.distributed.initialize(
            coordinator,
            num_processes,
            process_id,
            initialization_timeout=JOIN_SECONDS,
            heartbeat_timeout_seconds=LOST_SECONDS,
        )
    except (ValueError, TypeError, RuntimeError) as error:
        raise UsageError(
            f"the processes of the run cannot meet: {str(error).splitlines()[0]}; start it under Slurm or "
            "Open MPI, on a TPU or with jax[k8s] in Kubernetes, or give --coordinator HOST:PORT, "
            "--num-processes and --process-id"
        ) from error
    return Crew(jax.process_count(), jax.process_index())


def leave(crew: Crew, status: int) -> int:
    """Parts with the other processes; returns the exit status, or ends this process if one was lost."""
    if not crew.is_complete:
        sys.stdout.flush()
        os._exit(status)  # JAX would wait for it
    jax.distributed.shutdown()
    return status
