"""The table of contents of a checkpoint, which is written last and read first.

A checkpoint is trusted only if every byte agrees with it.
"""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.host.runs.files import sync

SCHEMA = 1
NAME = "manifest.json"
MAX_BYTES = 2**24  # enough for a hundred thousand arrays


class DamageError(Exception):
    """Something on disk is not what was written there; the message says what is wrong."""


class Facts(NamedTuple):
    """The facts about a saved state that a manifest records.

    Attributes:
        update: Updates done when the state was saved.
        return_window: Mean return of the last 100 episodes by then; None before there are 100.
        rewinds: The number of times the run had gone back to a good state by then.
        run_digest: Digest of the run's request (see `request.digest`).
        leaves: Shape and dtype of every array of the state, by its path.
    """

    update: int
    return_window: float | None
    rewinds: int
    run_digest: str
    leaves: dict[str, dict[str, Any]]


class Manifest(NamedTuple):
    """The table of contents of a checkpoint.

    Attributes:
        schema: Version of this format.
        update: See `Facts`.
        return_window: See `Facts`.
        rewinds: See `Facts`.
        run_digest: See `Facts`.
        leaves: See `Facts`.
        files: Size in bytes and SHA-256 of every other file of the checkpoint, by its path.
    """

    schema: int
    update: int
    return_window: float | None
    rewinds: int
    run_digest: str
    leaves: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]


def seal(checkpoint: Path, facts: Facts) -> None:
    """Writes the manifest of a checkpoint whose other files are complete, and syncs everything to the disk.

    Args:
        checkpoint: The directory of the checkpoint.
        facts: The facts about the state that the manifest records.
    """
    files = {name: _measure(checkpoint / name) for name in _walk(checkpoint)}
    for name in files:
        sync(checkpoint / name)
    with (checkpoint / NAME).open("xb") as file:
        file.write(_encode(Manifest(SCHEMA, *facts, files)._asdict()))
    sync(checkpoint / NAME)
    for directory, _, _ in os.walk(checkpoint):
        sync(Path(directory))


def verify(checkpoint: Path) -> Manifest:
    """Reads a manifest and compares every file with it. Files of the wrong size are not even read.

    Args:
        checkpoint: The directory of the checkpoint.

    Raises:
        DamageError: If a file is missing, changed, or not named by the manifest.
    """
    manifest = read(checkpoint)
    found = set(_walk(checkpoint)) - {NAME}
    if missing := sorted(manifest.files.keys() - found):
        raise DamageError(f"{missing[0]!r} is missing")
    if unknown := sorted(found - manifest.files.keys()):
        raise DamageError(f"{unknown[0]!r} is not named by its manifest")
    for name, expected in manifest.files.items():
        if (checkpoint / name).stat().st_size != expected["size"]:
            raise DamageError(f"{name!r} is not of the size it was written with")
        if _measure(checkpoint / name) != expected:
            raise DamageError(f"{name!r} has changed since it was written")
    return manifest


def read(checkpoint: Path) -> Manifest:
    """Reads a manifest, without the files that it describes.

    Args:
        checkpoint: The directory of the checkpoint.

    Raises:
        DamageError: If the manifest is missing, changed, or not a manifest.
    """
    path = checkpoint / NAME
    if not path.is_file() or path.is_symlink():
        raise DamageError(f"{NAME} is missing")
    if path.stat().st_size > MAX_BYTES:
        raise DamageError(f"{NAME} is longer than any that was written")

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    data = path.read_bytes()
    try:
        content = json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{NAME} cannot be read as JSON") from error
    if not isinstance(content, dict):
        raise DamageError(f"{NAME} is not a JSON object")
    content.pop("sha256", None)
    if _encode(content) != data:
        raise DamageError(f"{NAME} has changed since it was written")
    if content.get("schema") != SCHEMA:
        raise DamageError(f"{NAME} is of schema {content.get('schema')!r}; this version reads {SCHEMA}")
    if content.keys() != set(Manifest._fields) or not _is_well_formed(Manifest(**content)):
        raise DamageError(f"{NAME} does not hold what a manifest holds")
    return Manifest(**content)


def _is_well_formed(manifest: Manifest) -> bool:
    """Whether all values have the right types, since whoever wrote them may have meant harm."""

    def is_table(table: Any, columns: dict[str, type]) -> bool:
        return isinstance(table, dict) and all(
            isinstance(row, dict)
            and row.keys() == columns.keys()
            and all(isinstance(row[name], kind) for name, kind in columns.items())
            for row in table.values()
        )

    return (
        isinstance(manifest.update, int)
        and isinstance(manifest.return_window, float | None)
        and isinstance(manifest.rewinds, int)
        and isinstance(manifest.run_digest, str)
        and is_table(manifest.leaves, {"shape": list, "dtype": str})
        and is_table(manifest.files, {"size": int, "sha256": str})
    )


def _walk(checkpoint: Path) -> Iterator[str]:
    """Yields every file below a directory by its relative path; only plain files may be there."""
    for entry in checkpoint.rglob("*"):  # does not follow links
        mode, name = entry.lstat().st_mode, entry.relative_to(checkpoint).as_posix()
        if stat.S_ISREG(mode):
            yield name
        elif not stat.S_ISDIR(mode):
            raise DamageError(f"{name!r} is neither a plain file nor a directory")


def _measure(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return {
        "size": path.stat().st_size,
        "sha256": digest.hexdigest(),
    }


def _encode(content: dict[str, Any]) -> bytes:
    """Encodes content as JSON with its own SHA-256 last; decoding and encoding again gives the same bytes."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": digest}, indent=1, allow_nan=False) + "\n").encode()
