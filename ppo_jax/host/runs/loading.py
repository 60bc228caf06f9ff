"""Runs the user's own code, and registers the environment and the network that it holds."""

import hashlib
import importlib
import importlib.abc
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.errors import closest, explain
from ppo_jax.host.runs import code
from ppo_jax.host.runs.code import ALLOW, CodeError, Source

# Settings of JAX that change what is computed. They belong to the process, so no file may change them.
SETTINGS = (
    *("jax_enable_x64", "jax_default_prng_impl", "jax_threefry_partitionable", "jax_random_seed_offset"),
    *("jax_disable_jit", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_platforms"),
)
_IMPORTED: dict[str, str] = {}  # digests of modules as they were when this process first used them


def load(config: Config, sources: tuple[Source, ...], trust: bool) -> list[str]:
    """Runs the code of a run, and registers its environment and its network under their references.

    Args:
        config: The configuration of the run.
        sources: The code, from `code.locate` or `code.check`.
        trust: Whether functions may be used that their author has not marked, because the user has just named
            them, or trusts the run directory.

    Returns:
        Remarks on what only trust allows, in sentences.

    Raises:
        CodeError: If it cannot be run, has changed in the meantime, or holds no such object.
    """
    known = {source.reference: source for source in sources}
    remarks = []
    for field, reference in code.references(config).items():
        thing = _object(field, known[reference])
        problem = _problem_of(field, known[reference], thing)
        if problem and not trust:
            raise CodeError(f"{problem}; {ALLOW}")
        remarks += [f"{problem}, or later commands will need --trust-code"] if problem else []
        if field == "env":
            registered.enter(reference, thing)
        else:
            registered.enter_network(reference, thing)
    return remarks


def _object(field: str, source: Source) -> Any:
    """Returns the object that a reference names.

    Raises:
        CodeError: If the code cannot be run, or holds no such object.
    """
    name = source.reference.rpartition(":")[2]
    try:
        module = _run_file(source) if source.is_file else _run_module(source)
    except CodeError as error:
        raise CodeError(f"{field} = {source.reference!r}: {error}") from error
    except (Exception, SystemExit) as error:  # whatever the user's code may raise
        raise CodeError(f"{field} = {source.reference!r} cannot be imported: {explain(error)}") from error
    if not hasattr(module, name):
        public = [other for other in vars(module) if not other.startswith("_")]
        choice = closest(name, public) if public else "it is empty"
        raise CodeError(f"{field} = {source.reference!r}: '{source.path}' has no {name!r}; {choice}")
    return getattr(module, name)


def _problem_of(field: str, source: Source, thing: Any) -> str | None:
    """Says why a run directory may not name an object, and what its author can do about it.

    Raises:
        CodeError: If the object is neither of a known kind nor a function.
    """
    from ppo_jax.envs.make import is_environment

    given = f"{field} = {source.reference!r}"
    mark, what = {"env": ("environment", "an environment"), "network": ("network", "a network")}[field]
    is_known = (field == "env" and is_environment(thing)) or registered.is_marked(thing, mark)
    if not is_known and not callable(thing):
        raise CodeError(f"{given} is a {type(thing).__name__}, not {what} or a function that returns one")
    if not is_known:
        return f"{given} is not marked as making {what}: put @ppo_jax.{mark} above the function"
    path = Path(source.path)
    if problem := code.purpose_problem(source.path, code.read(path)):
        return f"{given}: {problem}: import ppo_jax in it"
    return None


# Running code


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
    path = Path(source.path)
    name = f"{path.stem}_{source.sha256[:12]}"
    if name in sys.modules and sys.modules[name].__file__ == source.path:
        return sys.modules[name]
    content = code.read(path)
    if hashlib.sha256(content).hexdigest() != source.sha256:
        raise CodeError(f"'{path}' has just changed; try again")
    spec = importlib.util.spec_from_loader(name, _Loader(source.path, content))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _search_last(str(path.parent))
    with _forgotten_after_an_error(path), _same_settings():
        sys.modules[name] = module  # dataclasses look themselves up there
        spec.loader.exec_module(module)
    return module


def _run_module(source: Source) -> ModuleType:
    """Imports a module by its name."""
    path, name = Path(source.path), source.reference.rpartition(":")[0]
    depth = name.count(".") + (path.name == "__init__.py")
    _search_last(str(path.parents[depth]))
    if code.digest(code.files_of_module(name)) != source.sha256:
        raise CodeError(f"'{path}' has just changed; try again")
    with _forgotten_after_an_error(path), _same_settings():
        module = importlib.import_module(name)
    if module.__file__ != source.path:
        raise CodeError(f"module {name!r} is '{module.__file__}' here, not '{path}'")
    if _IMPORTED.setdefault(name, source.sha256) != source.sha256:
        raise CodeError(f"'{path}' has changed since this process imported it; start Python again")
    return module


def _search_last(directory: str) -> None:
    """Lets code import the files beside it. The directory comes last, so that it hides nothing."""
    if directory not in sys.path:
        sys.path.append(directory)


@contextmanager
def _forgotten_after_an_error(path: Path) -> Iterator[None]:
    """Makes Python import code again after an error, with what lies beside it: it would be half done."""

    def is_beside(name: str) -> bool:
        file = getattr(sys.modules[name], "__file__", None) or ""
        is_installed = "site-packages" in Path(file).parts
        return file == str(path) or (Path(file).is_relative_to(path.parent) and not is_installed)

    before = set(sys.modules)
    try:
        yield
    except BaseException:
        for name in filter(is_beside, set(sys.modules) - before):
            del sys.modules[name]
        raise


@contextmanager
def _same_settings() -> Iterator[None]:
    """Makes sure that code leaves JAX as it was.

    Raises:
        CodeError: With every setting that was changed. They are restored, also if the code raised an error.
    """
    import jax

    config, variables = {name: getattr(jax.config, name) for name in SETTINGS}, _variables()
    try:
        yield
    finally:
        changed = [name for name in SETTINGS if getattr(jax.config, name) != config[name]]
        for name in changed:
            jax.config.update(name, config[name])
        now = _variables()
        changed += [name for name in sorted({*variables, *now}) if variables.get(name) != now.get(name)]
        for name in now:
            del os.environ[name]
        os.environ.update(variables)
    if changed:
        raise CodeError(
            f"importing it changes {', '.join(changed)}, but JAX has started already; set it for the whole "
            f"command instead, as in {changed[0].upper()}=... ppo-jax train"
        )


def _variables() -> dict[str, str]:
    """Returns the environment variables that JAX reads."""
    return {name: value for name, value in os.environ.items() if name.startswith(("JAX_", "XLA_"))}
