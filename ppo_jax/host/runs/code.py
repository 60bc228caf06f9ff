"""Finds the user's own environments and networks in files and modules, and says when they have changed.

A run directory may come from a stranger, and must not be able to make this process run anything of theirs.
So code that a run directory names is loaded only from where it was when the run was started, outside of all
run directories, with the content that it had then, and if it was written for this purpose; and of what it
holds, only objects of known kinds are used, and functions that their author marked. `--trust-code` lifts
these rules for one command. Nothing in this module runs any of it: `loading` does.
"""

import hashlib
import os
import re
import stat
import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.files import read_json

ALLOW = "to allow it this once, give --trust-code (trust_code=True in Python)"
MAX_CODE_BYTES = 2**24  # far more than any file of code
_PACKAGE = Path(__file__).resolve().parents[2]
# What code for this purpose mentions, unlike scripts and libraries that would act when they are imported.
_PURPOSES = re.compile(rb"\b(ppo_jax|gymnax)\b")


class CodeError(UsageError):
    """Code of the user cannot be loaded, or may not be."""


class Source(NamedTuple):
    """A file of the user's code.

    Attributes:
        reference: The name by which the user gave the object in it, "file.py:object" or "module:object".
        path: The file, an absolute path.
        sha256: Digest of its content; of a module in a package, with the `__init__.py` of its packages.
    """

    reference: str
    path: str
    sha256: str

    @property
    def is_file(self) -> bool:
        """Whether the user named a file rather than a module."""
        return self.reference.rpartition(":")[0].endswith(".py")


def references(config: Config) -> dict[str, str]:
    """Returns the references to code in a configuration, by the name of their field."""
    fields = {"env": config.env, "network": config.network}
    return {field: name for field, name in fields.items() if name and registry.is_reference(name)}


def locate(config: Config) -> tuple[Source, ...]:
    """Finds the code that the user has just named.

    Raises:
        CodeError: With every reference that leads to no code, or into a run directory.
    """

    def find(reference: str) -> Source:
        files = _files(reference)
        if run := _run_directory_of(files[-1]):
            raise CodeError(f"'{files[-1]}' lies in the run directory '{run}'; move it out")
        return _read(reference, files)

    return _collect(config, find, [])


def check(config: Config, recorded: tuple[Source, ...], trust: bool) -> tuple[Source, ...]:
    """Makes sure that the code which a run directory names may be loaded.

    Args:
        config: The configuration of the run.
        recorded: The code as it was when the run was started.
        trust: Whether the user trusts code that is not as it was.

    Returns:
        The code as it is now.

    Raises:
        CodeError: With everything that is not as it was, or that cannot be found.
    """
    known = {source.reference: source for source in recorded}

    def find(reference: str) -> Source:
        before = known.get(reference)
        files = _files_again(reference, before)
        if trust:
            return _read(reference, files)
        if before is None:
            raise CodeError(f"the run does not say what its code was; {ALLOW}")
        if doubt := _doubt(files, before):
            raise CodeError(f"{doubt}; {ALLOW}")
        return before

    return _collect(config, find, _unknown_names(config))


def purpose_problem(path: str, content: bytes) -> str | None:
    """Says that a file was not written for this package, if so."""
    if _PURPOSES.search(content):
        return None
    return f"'{path}' mentions neither ppo_jax nor gymnax, so it was not written for either"


def read(path: Path) -> bytes:
    """Reads a file of code.

    Raises:
        CodeError: If it is missing, no plain file, or too long to be code.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise CodeError(f"'{path}' is not a plain file")
        if status.st_size > MAX_CODE_BYTES:
            raise CodeError(f"'{path}' is longer than {MAX_CODE_BYTES:,} bytes, so it is no code")
        return path.read_bytes()
    except OSError as error:
        raise CodeError(f"'{path}' cannot be read: {error.strerror}") from error


def files_of_module(name: str) -> list[Path]:
    """Returns the files of a module and of the packages it is in, outermost first.

    Raises:
        CodeError: If there is no such module, or it is not a file of Python code.
    """
    locations: Any = [*sys.path, os.getcwd()]
    files, parts = [], name.split(".")
    for end in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:end]), locations) if locations else None
        if spec is None:
            raise CodeError(
                f"there is no module {'.'.join(parts[:end])!r} on Python's path or in the current directory"
            )
        files += [Path(spec.origin)] if spec.origin else []
        locations = spec.submodule_search_locations
    if not files or files[-1].suffix != ".py":
        raise CodeError(f"module {name!r} is not a file of Python code; give one that is")
    return files


def digest(files: list[Path]) -> str:
    """Returns the SHA-256 of the content of some files of code."""
    return hashlib.sha256(b"".join(map(read, files))).hexdigest()


def _collect(config: Config, find: Callable[[str], Source], problems: list[str]) -> tuple[Source, ...]:
    """Finds all code of a configuration.

    Raises:
        CodeError: With the problems that are known already, and every other one.
    """
    sources = []
    for field, reference in references(config).items():
        try:
            sources.append(find(reference))
        except CodeError as error:
            problems.append(f"{field} = {reference!r}: {error}")
    if problems:
        raise CodeError(problems)
    return tuple(sources)


def _unknown_names(config: Config) -> list[str]:
    """Lists names that another program had registered."""
    names = []
    if registry.library_of(config.env) is None and registry.problems(config.env):
        names.append(("env", config.env, "register"))
    is_known = config.network in registered.NETWORKS
    if config.network and not is_known and not registry.is_reference(config.network):
        names.append(("network", config.network, "register_network"))
    return [
        f"{field} = {name!r} was registered by the program that started the run, and is unknown here; in "
        f"Python, register it again with ppo_jax.{function} before ppo_jax.open_run; for the command line, "
        f"train with --{field} FILE.py:OBJECT"
        for field, name, function in names
    ]


def _files(reference: str) -> list[Path]:
    """Returns the file that a reference leads to today, after the files of the packages that it is in."""
    first, _, name = reference.rpartition(":")
    if not (first and first.isprintable() and name.isidentifier()):
        raise CodeError("it does not name an object; give FILE.py:OBJECT or MODULE:OBJECT")
    if first.endswith(".py"):
        try:
            files = [Path(first).expanduser().absolute()]
        except RuntimeError as error:  # there is no such home directory
            raise CodeError(f"'{first}' cannot be found: {error}") from error
    else:
        files = files_of_module(first)
    if files[-1].resolve().is_relative_to(_PACKAGE):
        raise CodeError("it names a module of ppo_jax itself; give one of your own")
    return files


def _files_again(reference: str, recorded: Source | None) -> list[Path]:
    """Returns the files of code where it was, or else where its name leads today."""
    if recorded is None:
        return _files(reference)
    if recorded.is_file and os.path.isfile(recorded.path):
        return [Path(recorded.path)]
    try:
        files = _files(reference)
        os.stat(files[-1])
    except (CodeError, OSError) as error:
        raise CodeError(f"it was '{recorded.path}' when the run started; put it back ({error})") from error
    return files


def _read(reference: str, files: list[Path]) -> Source:
    return Source(reference, str(files[-1]), digest(files))


def _doubt(files: list[Path], recorded: Source) -> str | None:
    """Says why code may not be what a run was started with; None if it is. It is read last."""
    path = files[-1]
    if run := _run_directory_of(path):
        return f"'{path}' lies in the run directory '{run}', which may come from anyone"
    if str(path) != recorded.path:
        return f"it was '{recorded.path}' when the run was started, and would now be '{path}'"
    if path.parts[1] in ("proc", "dev"):  # they lead to files that depend on who asks
        return f"'{path}' is not the place of a file"
    if digest(files) != recorded.sha256:
        return f"'{path}' has changed since the run was started"
    return purpose_problem(str(path), read(path))


def _run_directory_of(path: Path) -> Path | None:
    """Returns the run directory that a file lies in, also through links; None if it lies in none."""
    return next((parent for parent in (*path.parents, *path.resolve().parents) if _is_run(parent)), None)


def _is_run(directory: Path) -> bool:
    file = directory / "config.json"
    if not os.path.isfile(file):
        return False
    try:
        return {"config", "hyper", "seed"} <= read_json(file).keys()
    except UsageError:
        return False
