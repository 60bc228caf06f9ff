"""The list of presets and environments."""

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ppo_jax import presets
from ppo_jax.envs.registry import ENVIRONMENTS, EnvironmentInfo


def show() -> None:
    """Prints the presets with their recorded results, and the environments."""
    console = Console()
    table = Table(
        title="Presets: ppo-jax train --preset NAME",
        title_justify="left",
        caption="Greedy returns: interquartile mean over seeds [95 % interval], and the worst seed.",
        caption_justify="left",
    )
    table.add_column("preset", no_wrap=True)
    table.add_column("steps", justify="right")
    table.add_column("recorded result")
    for name in presets.names():
        table.add_row(*_preset_row(name, presets.read(name)))
    console.print(table)

    table = Table(title="Environments: ppo-jax train --env NAME", title_justify="left")
    for heading in ("environment", "solved at", "needs"):
        table.add_column(heading)
    for name, info in ENVIRONMENTS.items():
        table.add_row(*_environment_row(name, info))
    console.print(table)


def _preset_row(name: str, content: dict[str, Any]) -> tuple[str, ...]:
    result = escape(content["recorded"]["result"])
    return name, f"{content['config']['total_timesteps']:,}", result


def _environment_row(name: str, info: EnvironmentInfo) -> tuple[str, ...]:
    mark = "" if info.solved_return is None else f"{info.solved_return:g}"
    return name, mark, info.needs
