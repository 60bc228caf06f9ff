"""The command `envs`: the lists of presets, environments and libraries of environments."""

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from ppo_jax import presets
from ppo_jax.cli.command import Command
from ppo_jax.envs import registry
from ppo_jax.envs.arguments import KINDS
from ppo_jax.envs.registry import ENVIRONMENTS, LIBRARIES
from ppo_jax.errors import UsageError
from ppo_jax.host.programs import readiness


@dataclasses.dataclass(frozen=True)
class Envs(Command):
    """List presets and environments, or the parameters of one environment."""

    name: Annotated[str | None, Positional, arg(metavar="[NAME]")] = None
    """A library, such as brax, to list its environments; or an environment, to list its parameters (see
    `ppo-jax train --env-args`). By default, presets, environments and libraries are listed."""

    def run(self) -> int:
        """Prints the lists, and returns the exit status."""
        if self.name in LIBRARIES:
            _print_environments(self.name)
            return 0
        if self.name is not None:
            _print_parameters(self.name)
            return 0
        _print_all()
        return 0


def _print_all() -> None:
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

    table = Table(title="Other libraries: ppo-jax envs LIBRARY lists its environments", title_justify="left")
    for heading in ("LIBRARY", "name", "installation"):
        table.add_column(heading)
    for name, library in list(LIBRARIES.items())[1:]:  # the first has the rows above
        command = f"pip install 'ppo-jax[{library.extra}]'" if library.extra else "always installed"
        table.add_row(name, library.title, escape(command))
    console.print(table)


def _print_environments(library: str) -> None:
    if why := registry.missing(library):
        raise UsageError(f"NAME = {library!r} cannot be listed: {why}")
    readiness.check()
    from rich.console import Console
    from rich.table import Table

    from ppo_jax.envs.make import names

    title = f"Environments of {LIBRARIES[library].title}: ppo-jax train --env NAME"
    table = Table(title=title, title_justify="left")
    table.add_column("environment", no_wrap=True)
    table.add_column("why it cannot be trained on")
    for name, reason in names(library).items():
        table.add_row(f"{library}:{name}", reason)
    Console().print(table)


def _print_parameters(name: str) -> None:
    if problems := registry.problems(name):
        raise UsageError(problems)
    if registry.is_reference(name):
        raise UsageError(f"NAME = {name!r} is your own code, whose parameters are not listed; give a name")
    readiness.check()
    from rich.console import Console
    from rich.table import Table

    from ppo_jax.envs.make import parameters

    title = f"Parameters of {name}: ppo-jax train --env {name} --env-args KEY=VALUE ..."
    table = Table(title=title, title_justify="left")
    for heading in ("parameter", "value", "default"):
        table.add_column(heading)
    for key, parameter in parameters(name).items():
        if parameter.kinds:
            table.add_row(key, " or ".join(KINDS[kind] for kind in parameter.kinds), str(parameter.default))
    Console().print(table)
