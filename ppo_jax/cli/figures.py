"""The command `figures`: two figures that explain PPO."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from ppo_jax.cli.command import Command
from ppo_jax.host.programs import readiness


@dataclasses.dataclass(frozen=True)
class Figures(Command):
    """Draw two figures that explain PPO: the clipped objective and the advantages."""

    directory: Annotated[Path, Positional, arg(metavar="DIR")]
    """The directory for the pictures. It is created if it does not exist."""

    def run(self) -> int:
        """Draws the figures, and returns the exit status."""
        readiness.check()
        from ppo_jax.host.pictures import lessons

        print(f"wrote {', '.join(map(str, lessons.draw(self.directory)))}")
        return 0
