"""Checks which environments of a library keep to the contract, and records what does not and why.

Each is checked by `ppo_jax.conformance.check`, in one process. The record is written after each environment,
and keeps what is not checked again, so that a long list can be checked in parts:

    python benchmarks/libraries.py pgx --output benchmarks/results/environments-pgx.json
"""

import dataclasses
import json
import signal
import warnings
from pathlib import Path
from typing import Annotated, Any

import record
import tyro
from tyro.conf import Positional

from ppo_jax.conformance import check
from ppo_jax.envs import make
from ppo_jax.envs.registry import LIBRARIES
from ppo_jax.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Options:
    """Check the environments of a library."""

    library: Annotated[str, Positional]
    """The library, such as brax."""
    names: tuple[str, ...] = ()
    """The environments to check; by default all of the library."""
    seconds: int = 1200
    """The most processor time that the check of one environment may take."""
    only_new: bool = False
    """Skip the environments that are in the record already."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Checks, prints, and writes the record."""
    warnings.simplefilter("ignore")  # of the libraries
    known = make.names(options.library)
    problems: dict[str, str] = {}
    if options.output is not None and options.output.exists():
        problems = json.loads(options.output.read_text())["problems"]
    for name in options.names or known:
        if options.only_new and name in problems:
            continue
        problems[name] = known[name] or problem(f"{options.library}:{name}", options.seconds)
        print(f"{name}: {problems[name] or 'conforms'}", flush=True)
        ordered = {other: problems[other] for other in known if other in problems}
        record.write(options.output, result(options.library, ordered))


def problem(name: str, seconds: int) -> str:
    """Returns what keeps an environment from being trained on, in a sentence; empty if nothing does.

    Args:
        name: The name of the environment.
        seconds: The most processor time that its check may take.
    """

    def stop(number: int, frame: Any) -> None:
        raise TimeoutError(f"its check takes more than {seconds} seconds of processor time")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)  # not the clock's time: others may be computing here
    try:
        check(make.make_environment(name))
    except UsageError as error:
        return error.problems[0]
    except TimeoutError as error:
        return str(error)
    except Exception as error:  # whatever a library may raise
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return ""


def result(library: str, problems: dict[str, str]) -> dict[str, Any]:
    """Returns the record of a library.

    Args:
        library: The name of its row.
        problems: Its environments, each with what keeps it from being trained on; empty if nothing does.
    """
    title, command = LIBRARIES[library].title, f"python benchmarks/libraries.py {library}"
    content = record.complete({"library": title, "command": command})
    content["versions"] |= record.version_of(library)
    return content | {"problems": problems}


if __name__ == "__main__":
    main(tyro.cli(Options))
