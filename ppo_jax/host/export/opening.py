"""Opens the directory of an export without trusting it: all of it is checked before anything is loaded."""

import hashlib
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.export.formats import FORMATS
from ppo_jax.host.runs.files import read_json

FORMAT = "ppo_jax export"
VERSION = 1
CONTRACT = "contract.json"
EXTRAS = ("README.md", "episode.gif")  # files that are no part of any format
MAX_FILE_BYTES = 2**31 - 1  # also the most that an ONNX file can hold
MAX_ELEMENTS = 2**28  # of one input or output, for one observation
DTYPES = ("float32", "int32", "bool")
INPUTS = ("observation", "mask", "memory", "noise")
OUTPUTS = ("action", "logits", "mean", "log_std", "next_memory")


class Opened(NamedTuple):
    """An export whose files are what its contract says.

    Attributes:
        contract: The contract.
        format: The name of the format that was chosen.
        contents: The contents of the files of that format, by name: the bytes that were checked.
    """

    contract: dict[str, Any]
    format: str
    contents: dict[str, bytes]


def open_export(path: Path, name: str | None = None) -> Opened:
    """Reads an export, and checks everything that can be checked without its library.

    Args:
        path: The directory.
        name: The format to read; by default the first of FORMATS that the export has.

    Raises:
        UsageError: If it is damaged, foreign, or of a newer version, with the reason.
    """
    if not path.is_dir():
        raise UsageError(f"path = '{path}' is not a directory; give one that `ppo-jax export` wrote")
    if not (path / CONTRACT).exists():
        raise UsageError(f"path = '{path}' has no {CONTRACT}; give a directory that `ppo-jax export` wrote")
    if (path / CONTRACT).is_symlink():
        raise UsageError(f"'{path / CONTRACT}' is a link; `ppo-jax export` never writes one")
    contract = read_json(path / CONTRACT)
    try:
        _check(contract)
    except _DamageError as error:
        raise UsageError(f"'{path / CONTRACT}' {error}") from error
    formats = contract["formats"]
    chosen = name or next(one for one in FORMATS if one in formats)
    if chosen not in formats:
        raise UsageError(f"format = {chosen!r} is not in '{path}', which has {', '.join(formats)}; give that")
    contents = {}
    for file, claim in contract["files"].items():
        content = _read(path / file, claim)
        if file in FORMATS[chosen].files:
            contents[file] = content
    return Opened(contract, chosen, contents)


class _DamageError(ValueError):
    """The contract is not one; the message continues a sentence that begins with its path."""


def _check(contract: dict[str, Any]) -> None:
    """Checks what a contract says of itself, of the files, and of inputs and outputs.

    Raises:
        _DamageError: If it is not a contract that this version understands.
    """
    version = contract.get("version")
    if contract.get("format") != FORMAT or type(version) is not int:
        raise _DamageError(f"is not the contract of a {FORMAT}: it is foreign or damaged")
    if version > VERSION:
        raise _DamageError(
            f"is of version {version}, and this version of ppo-jax knows {VERSION}; it was written by "
            f"{contract.get('written_by')}: install that or a newer one"
        )
    formats, files = contract.get("formats"), contract.get("files")
    if version != VERSION or not isinstance(formats, dict) or not isinstance(files, dict) or not formats:
        raise _DamageError("does not say which formats and files there are; it is damaged")
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise _DamageError(f"names the format {unknown[0]!r}; there are {', '.join(FORMATS)}")
    known = {*EXTRAS, *(file for name in formats for file in FORMATS[name].files)}
    for name, claim in files.items():
        if name not in known:
            raise _DamageError(f"names the file {name!r}, which is none of its formats: it is foreign")
        if not _is_claim(claim):
            raise _DamageError(f"does not give the size and the SHA-256 of {name!r}; it is damaged")
        if claim["bytes"] > MAX_FILE_BYTES:
            raise _DamageError(
                f"claims {claim['bytes']:,} bytes for {name!r}; the most is {MAX_FILE_BYTES:,}"
            )
    missing = [file for name in formats for file in FORMATS[name].files if file not in files]
    if missing:
        raise _DamageError(f"does not list {missing[0]!r}; it is damaged")
    _check_ports("inputs", contract.get("inputs"), INPUTS, required="observation")
    _check_ports("outputs", contract.get("outputs"), OUTPUTS, required="action")


def _is_claim(claim: Any) -> bool:
    if not isinstance(claim, dict) or type(claim.get("bytes")) is not int or claim["bytes"] < 0:
        return False
    return isinstance(claim.get("sha256"), str) and bool(re.fullmatch("[0-9a-f]{64}", claim["sha256"]))


def _check_ports(what: str, ports: Any, names: tuple[str, ...], required: str) -> None:
    """Checks the names, shapes and dtypes of inputs or outputs."""
    if not isinstance(ports, list) or not all(isinstance(port, dict) for port in ports):
        raise _DamageError(f"does not list its {what}; it is damaged")
    given = [port.get("name") for port in ports]
    if required not in given or len(set(map(str, given))) != len(given) or not set(given) <= set(names):
        raise _DamageError(f"has {what} named {given}; they are some of {', '.join(names)}, each once")
    for port in ports:
        shape = port.get("shape")
        is_shape = isinstance(shape, list) and shape[:1] == ["N"]
        if not is_shape or not all(type(size) is int and size >= 1 for size in shape[1:]):
            raise _DamageError(
                f"gives {port['name']!r} the shape {shape}; it begins with 'N', then whole numbers"
            )
        if math.prod(shape[1:]) > MAX_ELEMENTS:
            raise _DamageError(
                f"gives {port['name']!r} the shape {shape}: more than {MAX_ELEMENTS:,} elements"
            )
        if port.get("dtype") not in DTYPES:
            raise _DamageError(
                f"gives {port['name']!r} the dtype {port.get('dtype')!r}, not {' or '.join(DTYPES)}"
            )


def _read(path: Path, claim: dict[str, Any]) -> bytes:
    """Reads a file whose size and SHA-256 have to be those that were claimed.

    Raises:
        UsageError: If they are not, or it is not a plain file.
    """
    if path.is_symlink() or not path.is_file():
        what = "is missing" if not path.exists() else "is not a plain file"
        raise UsageError(f"'{path}' {what}; the export is damaged: write it again")
    size = path.stat().st_size
    if size != claim["bytes"]:
        raise UsageError(
            f"'{path}' has {size:,} bytes, and {CONTRACT} says {claim['bytes']:,}; the export is damaged: "
            "write it again"
        )
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != claim["sha256"]:
        raise UsageError(
            f"'{path}' is not the file that was written: its SHA-256 is not that of {CONTRACT}; the export "
            "is damaged: write it again"
        )
    return content
