"""Loads the user's own environments and networks from files and modules, and says when they have changed.

A run directory may come from a stranger, and must not be able to make this process run anything of theirs.
So code that a run directory names is loaded only from where it was when the run was started, outside of all
run directories, with the content that it had then; and of what it holds, only objects of known kinds are
used, and functions that their author marked. `--trust-code` lifts these rules for one command.
"""

import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError, closest, explain
from ppo_jax.host.runs.files import read_json

ALLOW = "to allow it this once, give --trust-code (trust_code=True in Python)"
# Settings of JAX that change what is computed. They belong to the process, so no file may change them.
SETTINGS = (
    *("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable", "jax_platforms"),
    *("jax_disable_jit", "jax_default_matmul_precision", "jax_numpy_dtype_promotion"),
)


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


def references(config: Config) -> dict[str, str]:
    """Returns the references to code in a configuration, by the name of their field."""
    fields = {"env": config.env, "network": config.network}
    return {field: name for field, name in fields.items() if name and registry.is_reference(name)}


def locate(config: Config) -> tuple[Source, ...]:
    """Finds the code that the user has just named, without running any of it.

    Raises:
        CodeError: With every reference that leads to no code, or into a run directory.
    """

    def find(reference: str) -> tuple[Source, str | None]:
        found = _find(reference)
        run = _run_directory_of(found.path)
        return found, f"'{found.path}' lies in the run directory '{run}'; move it out" if run else None

    return _collect(config, find, [], trust=False)


def check(config: Config, recorded: tuple[Source, ...], trust: bool) -> tuple[Source, ...]:
    """Makes sure that the code which a run directory names may be loaded, without running any of it.

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

    def find(reference: str) -> tuple[Source, str | None]:
        found, problem = _find_again(reference, known.get(reference))
        return found, problem and f"{problem}; {ALLOW}"

    return _collect(config, find, _unknown_names(config), trust)


def _collect(
    config: Config,
    find: Callable[[str], tuple[Source, str | None]],
    problems: list[str],
    trust: bool,
) -> tuple[Source, ...]:
    """Finds all code of a configuration, and every problem with it.

    Args:
        config: The configuration.
        find: A function from a reference to its source, and to a problem that trust can overcome.
        problems: The problems so far.
        trust: Whether the user trusts the code.
    """
    sources = []
    for field, reference in references(config).items():
        try:
            found, problem = find(reference)
        except CodeError as error:
            problems.append(f"{field} = {reference!r}: {error}")
            continue
        sources.append(found)
        problems += [f"{field} = {reference!r}: {problem}"] if problem and not trust else []
    if problems:
        raise CodeError(problems)
    return tuple(sources)


def load(config: Config, sources: tuple[Source, ...], trust: bool) -> list[str]:
    """Runs the code of a run, and registers its environment and its network under their references.

    Args:
        config: The configuration of the run.
        sources: The code, from `locate` or `check`.
        trust: Whether functions may be used that their author has not marked, because the user has just named
            them, or trusts the run directory.

    Returns:
        Remarks on functions that are not marked, in sentences.

    Raises:
        CodeError: If it cannot be run, has changed in the meantime, or holds no such object.
    """
    known = {source.reference: source for source in sources}
    remarks = []
    for field, reference in references(config).items():
        thing = _object(field, known[reference])
        problem = _problem_of(field, reference, thing)
        if problem and not trust:
            raise CodeError(f"{problem}; {ALLOW}")
        remarks += [f"{problem}, or later commands will need --trust-code"] if problem else []
        if field == "env":
            registered.enter(reference, thing)
        else:
            registered.register_network(reference, thing)
    return remarks


def _unknown_names(config: Config) -> list[str]:
    """Lists names that another program had registered."""
    names = []
    if registry.problems(config.env):
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


# Finding code


def _find(reference: str) -> Source:
    first, _, name = reference.rpartition(":")
    if not (first and name.isidentifier()):
        raise CodeError("it does not name an object; give FILE.py:OBJECT or MODULE:OBJECT")
    if _is_file(reference):
        path = Path(first).expanduser().absolute()
        return Source(reference, str(path), _digest([path]))
    files = _files_of_module(first)
    return Source(reference, str(files[-1]), _digest(files))


def _is_file(reference: str) -> bool:
    return reference.rpartition(":")[0].endswith(".py")


def _find_again(reference: str, recorded: Source | None) -> tuple[Source, str | None]:
    """Finds code where it was, or else where its name leads today; says what is not as it was."""
    if recorded is None:
        return _find(reference), "the run does not say what its code was"
    if _is_file(reference) and Path(recorded.path).is_file():
        found = recorded._replace(sha256=_digest([Path(recorded.path)]))
    else:
        found = _find_elsewhere(reference, recorded)
    if run := _run_directory_of(found.path):
        return found, f"'{found.path}' lies in the run directory '{run}', which may come from anyone"
    if found.path != recorded.path:
        return found, f"it was '{recorded.path}' when the run was started, and would now be '{found.path}'"
    if found.sha256 != recorded.sha256:
        return found, f"'{found.path}' has changed since the run was started"
    return found, None


def _find_elsewhere(reference: str, recorded: Source) -> Source:
    try:
        return _find(reference)
    except CodeError as error:
        raise CodeError(f"it was '{recorded.path}' when the run started; put it back ({error})") from error


def _files_of_module(name: str) -> list[Path]:
    """Returns the files of a module and of the packages it is in, outermost first; runs none of them."""
    if name.split(".")[0] == __name__.split(".")[0]:
        raise CodeError("it names a module of ppo_jax itself; give one of your own")
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


def _digest(files: list[Path]) -> str:
    return hashlib.sha256(b"".join(map(_content, files))).hexdigest()


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CodeError(f"'{path}' cannot be read: {error.strerror}") from error


def _run_directory_of(path: str) -> Path | None:
    """Returns the run directory that a file lies in, also through links; None if it lies in none."""
    parents = [*Path(path).parents, *Path(path).resolve().parents]
    return next((parent for parent in parents if _is_run(parent)), None)


def _is_run(directory: Path) -> bool:
    file = directory / "config.json"
    if not file.is_file():
        return False
    try:
        return {"config", "hyper", "seed"} <= read_json(file).keys()
    except UsageError:
        return False


# Running code


def _object(field: str, source: Source) -> Any:
    name = source.reference.rpartition(":")[2]
    try:
        with _same_settings():
            module = _run_file(source) if _is_file(source.reference) else _run_module(source)
    except CodeError as error:
        raise CodeError(f"{field} = {source.reference!r}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the user's code may raise
        raise CodeError(f"{field} = {source.reference!r} cannot be imported: {explain(error)}") from error
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        choice = closest(name, public) if public else "it is empty"
        raise CodeError(f"{field} = {source.reference!r}: '{source.path}' has no {name!r}; {choice}")
    return getattr(module, name)


class _Loader(importlib.abc.SourceLoader):
    """Runs the very bytes that were compared with the digest, whatever the file holds by now."""

    def __init__(self, path: str, content: bytes):
        self._path = path
        self._content = content

    def get_filename(self, fullname: str) -> str:
        return self._path

    def get_data(self, path: str) -> bytes:
        return self._content


def _run_file(source: Source) -> ModuleType:
    """Imports a file under a name of its own, so that it hides no other module."""
    name = f"{Path(source.path).stem}_{source.sha256[:12]}"
    if name in sys.modules and sys.modules[name].__file__ == source.path:
        return sys.modules[name]
    content = _content(Path(source.path))
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise CodeError(f"'{source.path}' has just changed; try again")
    spec = importlib.util.spec_from_loader(name, _Loader(source.path, content))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search_last(str(Path(source.path).parent))
    sys.modules[name] = module  # dataclasses look themselves up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _run_module(source: Source) -> ModuleType:
    name = source.reference.rpartition(":")[0]
    depth = name.count(".") + (Path(source.path).name == "__init__.py")
    _search_last(str(Path(source.path).parents[depth]))
    module = importlib.import_module(name)
    if module.__file__ != source.path:
        raise CodeError(f"module {name!r} is '{module.__file__}' here, not '{source.path}'")
    return module


def _search_last(directory: str) -> None:
    """Lets code import the files beside it. The directory comes last, so that it hides nothing."""
    if directory not in sys.path:
        sys.path.append(directory)


@contextmanager
def _same_settings() -> Iterator[None]:
    """Makes sure that code leaves JAX as it was.

    Raises:
        CodeError: With every setting that was changed; those of `jax.config` are restored.
    """
    import jax

    def variables() -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}

    config, environment = {name: getattr(jax.config, name) for name in SETTINGS}, variables()
    yield
    changed = [name for name in SETTINGS if getattr(jax.config, name) != config[name]]
    for name in changed:
        jax.config.update(name, config[name])
    names = {**environment, **variables()}
    changed += [name for name in names if environment.get(name) != variables().get(name)]
    if changed:
        raise CodeError(
            f"importing it changes {', '.join(changed)}, but JAX has started already; set it for the whole "
            f"command instead, as in {changed[0].upper()}=... ppo-jax train"
        )


def _problem_of(field: str, reference: str, thing: Any) -> str | None:
    """Says that a function is not marked, if so.

    Raises:
        CodeError: If the object is neither of a known kind nor a function.
    """
    from ppo_jax.envs.make import is_environment

    mark, what = {"env": ("environment", "an environment"), "network": ("network", "a network")}[field]
    if (field == "env" and is_environment(thing)) or registered.is_marked(thing, mark):
        return None
    if not callable(thing):
        raise CodeError(
            f"{field} = {reference!r} is a {type(thing).__name__}, not {what} or a function that returns one"
        )
    return f"{field} = {reference!r} is not marked as making {what}: put @ppo_jax.{mark} above the function"
