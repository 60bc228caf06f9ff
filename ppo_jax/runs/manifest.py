"""What a checkpoint holds: written last, read first, and believed only if every byte agrees."""

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

SCHEMA = 1
NAME = "manifest.json"
MAX_BYTES = 2**24  # of the file; room for a hundred thousand leaves


class DamageError(Exception):
    """Something on disk is not what was written there; says what."""


class Manifest(NamedTuple):
    """The table of contents of a checkpoint.

    Attributes:
        schema: Version of this description.
        update: Updates done when the state was saved.
        return_window: Mean return of the last 100 episodes by then; None before there are 100.
        rewinds: How often the training had gone back to a good state by then.
        run_digest: Of what the run was asked for (see `request.digest`).
        leaves: Shape and dtype of every array of the state, by its path.
        files: Size in bytes and SHA-256 of every other file of the checkpoint, by its path.
    """

    schema: int
    update: int
    return_window: float | None
    rewinds: int
    run_digest: str
    leaves: dict[str, dict[str, Any]]
    files: dict[str, dict[str, Any]]


class Facts(NamedTuple):
    """What a manifest says of a state beside its files; see `Manifest`."""

    update: int
    return_window: float | None
    rewinds: int
    run_digest: str
    leaves: dict[str, dict[str, Any]]


def seal(checkpoint: Path, facts: Facts) -> None:
    """Writes the manifest of a checkpoint whose other files are all there, and syncs it all to disk.

    Args:
        checkpoint: Its directory.
        facts: What it is to say.
    """
    files = {name: _describe(checkpoint / name) for name in _walk(checkpoint)}
    for name in files:
        sync(checkpoint / name)
    manifest = Manifest(SCHEMA, *facts, files)
    with (checkpoint / NAME).open("xb") as file:
        file.write(_encode(manifest._asdict()))
    sync(checkpoint / NAME)
    for directory, _, _ in os.walk(checkpoint):
        sync(Path(directory))


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a directory, would survive a loss of power."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def verify(checkpoint: Path) -> Manifest:
    """Reads a manifest and compares every file with it; never reads one that is of the wrong size.

    Args:
        checkpoint: Its directory.

    Raises:
        DamageError: If anything is missing, changed, or there without being named.
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
        if _describe(checkpoint / name) != expected:
            raise DamageError(f"{name!r} has changed since it was written")
    return manifest


def read(checkpoint: Path) -> Manifest:
    """Reads a manifest alone.

    Args:
        checkpoint: The directory it is in.

    Raises:
        DamageError: If it is missing, changed, or not a manifest.
    """
    path = checkpoint / NAME
    if not path.is_file() or path.is_symlink():
        raise DamageError(f"{NAME} is missing")
    if path.stat().st_size > MAX_BYTES:
        raise DamageError(f"{NAME} is longer than any that was written")
    data = path.read_bytes()
    content = _decode(data)
    if _encode(content) != data:
        raise DamageError(f"{NAME} has changed since it was written")
    if content.get("schema") != SCHEMA:
        raise DamageError(f"{NAME} is of schema {content.get('schema')!r}; this version reads {SCHEMA}")
    if content.keys() != set(Manifest._fields) or not _is_well_formed(Manifest(**content)):
        raise DamageError(f"{NAME} does not hold what a manifest holds")
    return Manifest(**content)


def _walk(checkpoint: Path) -> Iterator[str]:
    """Yields every file below a directory, by its path in it; only plain ones may be there."""
    for directory, names, files in os.walk(checkpoint):
        entries = [Path(directory, name) for name in (*names, *files)]
        special = next(filter(_is_special, entries), None)
        if special is not None:
            inside = special.relative_to(checkpoint).as_posix()
            raise DamageError(f"{inside!r} is neither a plain file nor a directory")
        yield from (path.relative_to(checkpoint).as_posix() for path in entries if path.is_file())


def _is_special(path: Path) -> bool:
    mode = path.lstat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _describe(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"size": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _encode(content: dict[str, Any]) -> bytes:
    """Writes content with its own SHA-256 as the last entry; always the same bytes for the same content."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return (json.dumps({**content, "sha256": digest}, indent=1, allow_nan=False) + "\n").encode()


def _decode(data: bytes) -> dict[str, Any]:
    """Reads content, without its own SHA-256."""
    try:
        content = json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise DamageError(f"{NAME} cannot be read as JSON") from error
    if not isinstance(content, dict):
        raise DamageError(f"{NAME} is not an object of JSON")
    content.pop("sha256", None)
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _is_well_formed(manifest: Manifest) -> bool:
    """Whether all values have the types that were written; whoever wrote them may have meant harm."""
    return (
        isinstance(manifest.update, int)
        and isinstance(manifest.return_window, float | None)
        and isinstance(manifest.rewinds, int)
        and isinstance(manifest.run_digest, str)
        and _is_table(manifest.leaves, {"shape": list, "dtype": str})
        and _is_table(manifest.files, {"size": int, "sha256": str})
    )


def _is_table(table: Any, columns: dict[str, type]) -> bool:
    return isinstance(table, dict) and all(
        isinstance(row, dict)
        and row.keys() == columns.keys()
        and all(isinstance(row[name], kind) for name, kind in columns.items())
        for row in table.values()
    )
