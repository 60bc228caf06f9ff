"""Modules that are imported only once something of them is used."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class DeferredModule(ModuleType):
    """Stands in for a module until the first use of one of its names, which imports it."""

    def __getattr__(self, name: str) -> Any:
        """Looks a name up in the module itself."""
        _remove(self)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Defers the import of modules by whatever is imported meanwhile; those already there are left alone."""
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
