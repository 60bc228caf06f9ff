"""Says which version of this package wrote a file, and notices what only a newer version knows."""

from collections.abc import Collection, Mapping
from importlib import metadata
from typing import Any

from ppo_jax.errors import UsageError

KEY = "written_by"  # the field of a JSON file that says so; the first versions did not write it


class NewerError(UsageError):
    """A file is good, but was written by a version of this package that knows more than this one."""


def version() -> str:
    """Returns the name and version of this package, as the files of a run record it."""
    return f"ppo-jax {metadata.version('ppo-jax')}"


def check(name: str, content: Mapping[str, Any], known: Mapping[str, Collection[str]]) -> None:
    """Makes sure that this version knows every field of some sections of a JSON file.

    Args:
        name: The name of the file.
        content: Its content.
        known: The known fields of each section, by the name of the section.

    Raises:
        NewerError: If there are others.
    """
    unknown = [
        f"{section}.{field}"
        for section, fields in known.items()
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
