"""The program `ppo-jax`: the table of commands, parsing, and the exit status.

Mistakes are found before JAX is imported, so they are reported immediately: exit status 2, no traceback.
"""

import errno
import functools
import inspect
import operator
import os
import platform
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import metadata
from typing import Annotated, Any

import tyro

from ppo_jax.cli import streams
from ppo_jax.cli.agent import Evaluate, Render
from ppo_jax.cli.benchmark import Benchmark
from ppo_jax.cli.catalogue import Envs
from ppo_jax.cli.command import REGISTRY, Command
from ppo_jax.cli.export import Export
from ppo_jax.cli.figures import Figures
from ppo_jax.cli.results import Plot, Report, Verify
from ppo_jax.cli.sweep import Sweep
from ppo_jax.cli.train import Resume, Train
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints.manifest import DamageError

COMMANDS: dict[str, type[Command]] = {
    "train": Train,
    "resume": Resume,
    "sweep": Sweep,
    "evaluate": Evaluate,
    "render": Render,
    "export": Export,
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
    damaged, and 128 plus the number of the signal after SIGINT (Ctrl-C), SIGTERM or SIGHUP.

    Args:
        arguments: The arguments without the name of the program; by default those of the process.
    """
    streams.prepare()
    # No command opens a window, so whatever a notebook or a desktop has chosen does not matter.
    os.environ["MPLBACKEND"] = "agg"
    arguments = [_expand(x) for x in (sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    try:
        if arguments == ["--version"]:
            own, jax = metadata.version("ppo-jax"), metadata.version("jax")
            print(f"ppo-jax {own} (jax {jax}, Python {platform.python_version()})")
            sys.exit(0)
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
        is_full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        fix = "free some space or give another place" if is_full else "give another place"
        _complain([f"cannot write{where}: {error.strerror or error}; {fix}"])
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
    about = "Proximal Policy Optimization in JAX, compiled end to end. --version prints the version."
    return tyro.cli(overview, prog="ppo-jax", description=about, args=arguments, registry=REGISTRY)


def _expand(argument: str) -> str:
    """Returns an argument with the home directory for a ~ after =, where no shell replaces it."""
    flag, equals, value = argument.partition("=")
    is_flag = flag.startswith("--") and value.startswith("~")
    return f"{flag}{equals}{os.path.expanduser(value)}" if is_flag else argument


def _complain(problems: Iterable[str]) -> None:
    with suppress(OSError):  # the exit status says it as well
        for problem in problems:
            print(f"ppo-jax: error: {problem}", file=sys.stderr)
