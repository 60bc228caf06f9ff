"""The command `envs`: the list of presets and environments."""

import dataclasses

from ppo_jax import presets
from ppo_jax.cli.command import Command
from ppo_jax.envs.registry import ENVIRONMENTS


@dataclasses.dataclass(frozen=True)
class Envs(Command):
    """List the environments, and the presets with their recorded results."""

    def run(self) -> int:
        """Prints both lists, and returns the exit status."""
        from rich.console import Console
        from rich.markup import escape
        from rich.table import Table

        console = Console()
        table = Table(
            title="Presets: ppo-jax train --preset NAME",
            title_justify="left",
            caption="Greedy returns: interquartile mean over seeds [95% interval], and the worst seed.",
            caption_justify="left",
        )
        table.add_column("preset", no_wrap=True)
        table.add_column("steps", justify="right")
        table.add_column("recorded result")
        for name in presets.names():
            content = presets.read(name)
            steps = f"{content['config']['total_timesteps']:,}"
            table.add_row(name, steps, escape(content["recorded"]["result"]))
        console.print(table)

        table = Table(title="Environments: ppo-jax train --env NAME", title_justify="left")
        for heading in ("environment", "solved at", "needs"):
            table.add_column(heading)
        for name, info in ENVIRONMENTS.items():
            mark = "" if info.solved_return is None else f"{info.solved_return:g}"
            table.add_row(name, mark, info.needs)
        console.print(table)
        return 0
