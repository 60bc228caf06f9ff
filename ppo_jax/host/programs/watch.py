"""Says what happened if JAX ends this process, as it does when another process of a run cannot be reached."""

import os
import signal
from collections.abc import Callable

HOW_TO_GO_ON = "what was saved is intact; to go on, start all processes again with --resume"


def describe_loss(reason: str) -> str:
    """Says that another process was lost, why, and what to do."""
    return f"another process of the run was lost ({reason}); {HOW_TO_GO_ON}"


def watched(work: Callable[[], int]) -> int:
    """Does some work, and says what to do if JAX ends this process meanwhile, which Python does not notice.

    JAX does so if another process cannot be reached. A second process, which does nothing else, sees this one
    end. It has to begin before JAX has.

    Args:
        work: A function that returns the exit status.
    """
    ended, alive = os.pipe()
    if os.fork() == 0:
        os.close(alive)
        _watch(ended)
    os.close(ended)
    try:
        return work()
    finally:
        os.write(alive, b"done")
        os.close(alive)


def _watch(ended: int) -> None:
    """Waits for the end of the other process, and ends this one."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if not os.read(ended, 4):
        text = f"ppo-jax: error: another process of the run has ended or cannot be reached; {HOW_TO_GO_ON}\n"
        os.write(2, text.encode())
    os._exit(0)
