"""Writes the records of benchmarks, which pages quote."""

import json
from importlib import metadata
from pathlib import Path
from typing import Any

from ppo_jax.envs.registry import LIBRARIES
from ppo_jax.host.programs import system
from ppo_jax.host.runs import files


def complete(result: dict[str, Any]) -> dict[str, Any]:
    """Returns a result with the versions and the hardware that it was measured with."""
    return {**result, "versions": system.versions(), "hardware": system.hardware()}


def version_of(library: str) -> dict[str, str]:
    """Returns the version of a library of environments, by the name of its row."""
    return {library: metadata.version(LIBRARIES[library].extra or library)}


def write(path: Path | None, content: dict[str, Any]) -> None:
    """Writes a record as JSON, if a file is named."""
    if path is not None:
        with files.output(path) as draft:
            draft.write_text(json.dumps(content, indent=1) + "\n")
