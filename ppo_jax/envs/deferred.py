"""Deferred imports: modules that are loaded only once something in them is used.

`importlib.util.LazyLoader` does not serve here: an `import` statement reads the `__spec__` of a module
that is already in `sys.modules`, which makes a lazy module load at once (Python 3.11 and 3.12).
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class DeferredModule(ModuleType):
    """A stand-in for a module, which imports the module as soon as one of its names is used."""

    def __getattr__(self, name: str) -> Any:
        """Looks a name up in the module itself."""
        _remove(self)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Defers imports of these modules inside the `with` block, except modules that are already imported."""
    modules = [DeferredModule(name) for name in names if name not in sys.modules]
    sys.modules.update((module.__name__, module) for module in modules)
    try:
        yield
    finally:
        for module in modules:
            _remove(module)


def _remove(module: ModuleType) -> None:
    if sys.modules.get(module.__name__) is module:
        del sys.modules[module.__name__]
