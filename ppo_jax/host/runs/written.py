"""Says which version of this package wrote a file, and notices what only a newer version knows."""

import dataclasses
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.runs.options import RunOptions

KEY = "written_by"  # the field of a JSON file that says so; the first versions did not write it
_KNOWN = {  # the fields of each section
    "config": [field.name for field in dataclasses.fields(Config)],
    "hyper": Hyperparams._fields,
    "options": [field.name for field in dataclasses.fields(RunOptions)],
}


class NewerError(UsageError):
    """A file is good, but was written by a version of this package that knows more than this one."""


def version() -> str:
    """Returns the name and version of this package, as the files of a run record it."""
    return f"ppo-jax {metadata.version('ppo-jax')}"


def check(name: str, content: Mapping[str, Any]) -> None:
    """Makes sure that this version knows every field in the sections of a JSON file.

    Args:
        name: The name of the file.
        content: Its content.

    Raises:
        NewerError: If there are others.
    """
    unknown = [
        f"{section}.{field}"
        for section, fields in _KNOWN.items()
        if isinstance(content.get(section), Mapping)
        for field in content[section]
        if field not in fields
    ]
    if unknown:
        writer = content.get(KEY, "a version that did not record its name")
        fix = (
            "correct the name" if writer == version() else f"it was written by {writer}: install that version"
        )
        raise NewerError(
            f"{name} has {', '.join(unknown)}, which this version, {version()}, does not know; {fix}"
        )
