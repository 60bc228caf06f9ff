"""The program `ppo-jax`: the table of commands, parsing, and the exit status.

Mistakes are found before JAX is imported, so they are reported immediately: exit status 2, no traceback.
"""

import functools
import inspect
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import tyro

from ppo_jax.cli.agent import Evaluate, Render
from ppo_jax.cli.benchmark import Benchmark
from ppo_jax.cli.catalogue import Envs
from ppo_jax.cli.command import REGISTRY, Command
from ppo_jax.cli.figures import Figures
from ppo_jax.cli.results import Plot, Report, Verify
from ppo_jax.cli.train import Resume, Train
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints.manifest import DamageError

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "resume": Resume,
    "evaluate": Evaluate,
    "render": Render,
    "plot": Plot,
    "report": Report,
    "verify": Verify,
    "figures": Figures,
    "benchmark": Benchmark,
    "envs": Envs,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits.

    The exit status is 0 if all went well, 1 if the run failed, 2 if the user made a mistake or a run is
    damaged, and 130 or 143 after Ctrl-C or SIGTERM.

    Args:
        arguments: The arguments without the name of the program; by default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        sys.exit(parse(arguments).run())
    except UsageError as error:
        _complain(error.problems)
        sys.exit(2)
    except DamageError as error:
        _complain([str(error)])
        sys.exit(2)
    except KeyboardInterrupt:
        print("ppo-jax: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        from ppo_jax.host.monitor.screen import discard_output

        discard_output()  # or the exit would fail as well
        sys.exit(0)
    except OSError as error:
        where = f" to '{error.filename}'" if error.filename else ""
        _complain([f"cannot write{where}: {error.strerror}; free some space or give another place"])
        sys.exit(1)


def parse(arguments: Sequence[str]) -> Command:
    """Makes the command that the arguments ask for. Exits after --help, and after a mistake.

    Args:
        arguments: The name of a command and what follows it; at least one argument.

    Raises:
        UsageError: If the arguments name a preset that does not exist.
    """
    name, *others = arguments
    if name in COMMANDS:
        kind = COMMANDS[name]
        about = inspect.getdoc(kind)
        default = kind.defaults(others)
        program = f"ppo-jax {name}"
        return tyro.cli(
            kind, prog=program, description=about, args=others, default=default, registry=REGISTRY
        )
    kinds = []
    for name, kind in COMMANDS.items():
        first_line = (inspect.getdoc(kind) or "").partition("\n")[0]
        kinds.append(Annotated[kind, tyro.conf.subcommand(name, description=first_line)])
    overview: Any = functools.reduce(operator.or_, kinds)
    about = "Proximal Policy Optimization in JAX, compiled end to end."
    return tyro.cli(overview, prog="ppo-jax", description=about, args=arguments, registry=REGISTRY)


def _complain(problems: Iterable[str]) -> None:
    for problem in problems:
        print(f"ppo-jax: error: {problem}", file=sys.stderr)
