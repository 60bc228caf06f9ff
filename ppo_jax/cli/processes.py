"""Flags for a run that several processes train together, such as one on each of several machines."""

import dataclasses
from collections.abc import Callable
from typing import Any

from ppo_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Processes:
    """The processes of a run, as this one is told about them."""

    distributed: bool = False
    """Train one run in several processes, all started with this command. The first process saves and prints.
    Under Slurm, Open MPI or Kubernetes, and on TPUs, they find each other; elsewhere, give the three flags
    below."""
    coordinator: str | None = None
    """Address at which the other processes reach the first one."""
    num_processes: int | None = None
    """Total number of processes."""
    process_id: int | None = None
    """Number of this process, counted from 0."""

    def run(self, lead: Callable[..., int]) -> int:
        """Trains alone, or with the other processes; returns the exit status.

        Args:
            lead: `lead(crew=...)`, which carries out the whole run and returns the exit status.

        Raises:
            UsageError: If the flags do not belong together, or the processes do not find each other.
        """
        given = (self.coordinator, self.num_processes, self.process_id)
        if not self.distributed:
            if given != (None, None, None):
                raise UsageError("--coordinator, --num-processes and --process-id need --distributed; add it")
            return lead()
        if None in given and given != (None, None, None):
            raise UsageError("give --coordinator, --num-processes and --process-id together, or none of them")
        from ppo_jax.host.programs import watch

        return watch.watched(lambda: self._train(lead))

    def _train(self, lead: Callable[..., int]) -> int:
        from ppo_jax.host.programs import crew as crews
        from ppo_jax.host.training.follow import follow

        crew: Any = crews.join(self.coordinator, self.num_processes, self.process_id)
        return crews.leave(crew, lead(crew=crew) if crew.number == 0 else follow(crew))
