"""Writes files whole or not at all, and reads JSON without trusting it."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppo_jax.errors import UsageError

DRAFT = ".tmp"  # the end of the name of a file that is not yet whole
# How a file system says that it has no locks, or cannot write through: some on networks and in user space.
_UNSUPPORTED = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
MAX_JSON_BYTES = 2**24  # far more than any JSON file of a run


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Replaces a file by a draft beside it, once the draft is complete and on the disk.

    After a crash or a loss of power there is either the old file or the new one, never a part of one.

    Args:
        path: The file to write.

    Yields:
        The draft, an empty file in the same directory.

    Raises:
        OSError: With the name of the file, if it cannot be written; it is then unchanged.
    """
    draft = path.with_name(path.name + DRAFT)
    try:
        draft.touch()
        yield draft
        sync(draft)
        draft.replace(path)
        sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def output(path: Path) -> Iterator[Path]:
    """Does what `whole` does, for a file that the user named; makes its directory if need be.

    Raises:
        UsageError: If the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as draft:
            yield draft
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"output = '{path}' cannot be written: {reason}; give another path") from error


def sync(path: Path) -> None:
    """Waits until a file, or the list of files in a directory, would survive a loss of power.

    Where the file system has no such function, nothing can be waited for (see `directory.limits`).
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        is_supported(os.fsync, descriptor)
    finally:
        os.close(descriptor)


def is_supported(call: Callable[..., None], *arguments: int) -> bool:
    """Calls a function of the file system, and returns whether the file system has it.

    Raises:
        OSError: If it has the function, but the call failed.
    """
    try:
        call(*arguments)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        return False
    return True


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes an object as JSON, whole or not at all.

    Args:
        path: The file to write.
        content: Strict JSON: no NaN and no infinity.

    Raises:
        OSError: With the name of the file, if it cannot be written.
    """
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    with whole(path) as draft:
        draft.write_text(text)


def read_json(path: Path) -> dict[str, Any]:
    """Reads a file that holds one JSON object.

    Raises:
        UsageError: If it is missing, unreadable, too long, or holds something else.
    """
    if not path.is_file():
        raise UsageError(f"'{path}' is missing; give a run that has one, or resume this one")
    if path.stat().st_size > MAX_JSON_BYTES:
        raise UsageError(f"'{path}' is longer than {MAX_JSON_BYTES:,} bytes; it is damaged")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"'{path}' cannot be read as JSON: {error}; it is damaged") from error
    if not isinstance(content, dict):
        raise UsageError(f"'{path}' is not a JSON object; it is damaged")
    return content


def check_free(path: Path) -> None:
    """Makes sure that a directory can be written: there is none of this name, or an empty one.

    Raises:
        UsageError: If there is anything else.
    """
    is_empty = path.is_dir() and not path.is_symlink() and not any(path.iterdir())
    if (path.exists() or path.is_symlink()) and not is_empty:
        raise UsageError(
            f"directory = '{path}' exists and is not an empty directory; nothing is ever overwritten: give "
            "another one, or remove this one"
        )


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """Writes a directory whole or not at all.

    Args:
        path: The directory, of which there is none yet, or an empty one.

    Yields:
        A draft beside it, whose files are put there when the block ends without an error.

    Raises:
        UsageError: If the directory is not free, or cannot be written.
    """
    check_free(path)
    path = path.absolute()
    draft = path.with_name(f"{path.name}.{os.getpid()}{DRAFT}")
    try:
        draft.mkdir(parents=True)
        yield draft
        for file in (*draft.iterdir(), draft):
            sync(file)
        draft.replace(path)  # fails if someone else has put files there
        sync(path.parent)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"directory = '{path}' cannot be written: {reason}; give another one") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
