"""Formats of an export: one file and one row of `FORMATS` for each.

The libraries of a format are optional extras of this package, imported only if the format is used.
"""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ppo_jax.errors import UsageError

Arrays = Mapping[str, np.ndarray]
Act = Callable[[Arrays], Arrays]  # from inputs [N, ...] to outputs [N, ...], by name; greedy without "noise"

FORMS = GREEDY, SAMPLED = "greedy", "sampled"


class Format(NamedTuple):
    """A row of the table of formats.

    Attributes:
        module: The module that has its `write(subject, ports, contract, folder)`, which writes the files,
            `read(contents, contract) -> Act`, which takes the contents of the files by name, and
            `act_to_check(contents, contract) -> (Act, what it runs on)`, with which they are checked.
        files: The names of the files.
        extra: The extra of this package that installs its libraries; None if nothing is missing.
        writing: The modules that have to be installed to write it.
        reading: The modules that have to be installed to act with it.
        tolerance: The largest difference from the trained policy (see `parity.difference`).
        only_own: Whether it is written from the layers of this package's networks, and of no others.
    """

    module: str
    files: tuple[str, ...]
    extra: str | None
    writing: tuple[str, ...]
    reading: tuple[str, ...]
    tolerance: float
    only_own: bool


FORMATS = {
    "numpy": Format(
        module="ppo_jax.host.export.formats.as_numpy",
        files=("policy.safetensors", "policy.json", "policy.py"),
        extra=None,
        writing=(),
        reading=(),
        tolerance=1e-6,
        only_own=True,
    ),
    "onnx": Format(
        module="ppo_jax.host.export.formats.as_onnx",
        files=("greedy.onnx", "sampled.onnx"),
        extra="onnx",
        writing=("onnx",),
        reading=("onnxruntime",),
        tolerance=1e-5,
        only_own=True,
    ),
    "stablehlo": Format(
        module="ppo_jax.host.export.formats.as_stablehlo",
        files=("greedy.stablehlo", "sampled.stablehlo"),
        extra="stablehlo",
        writing=("flatbuffers",),
        reading=("jax", "flatbuffers"),
        tolerance=1e-6,
        only_own=False,
    ),
}


def check(names: Sequence[str], network: str | None) -> None:
    """Makes sure that formats exist and can be written, without importing their libraries.

    Args:
        names: The names of the formats.
        network: The user's own network, as `Config.network` names it; None for one of this package.

    Raises:
        UsageError: With everything that is wrong.
    """
    unknown = [str(name) for name in names if name not in FORMATS]
    if unknown or not names:
        raise UsageError(f"format = {' '.join(unknown)!r} is unknown; choose from {', '.join(FORMATS)}")
    problems = [
        f"format = {name!r} is written from the layers of this package's own networks, and this run has "
        f"network = {network!r}; give format = 'stablehlo', which takes any network"
        for name in names
        if FORMATS[name].only_own and network is not None
    ]
    problems += [missing for name in names if (missing := _missing(name, FORMATS[name].writing))]
    if problems:
        raise UsageError(problems)


def module_of(name: str) -> Any:
    """Imports the module of a format."""
    return importlib.import_module(FORMATS[name].module)


def check_readable(name: str) -> None:
    """Makes sure that the libraries are installed with which a format acts.

    Raises:
        UsageError: If one is missing; it says what to install.
    """
    if missing := _missing(name, FORMATS[name].reading):
        raise UsageError(missing)


def check_values(
    file: str, form: str, contract: Mapping[str, Any], found: Mapping[str, Mapping[str, Any]]
) -> None:
    """Makes sure that a program has the inputs and outputs that the contract says.

    Args:
        file: The name of its file.
        form: Its form.
        contract: The contract.
        found: Its "inputs" and "outputs" by name, each with its dtype and its shape, which begins with "N".

    Raises:
        UsageError: If it has others.
    """
    for what, given in found.items():
        named = {
            port["name"]: (port["dtype"], port["shape"])
            for port in contract[what]
            if form in port.get("forms", FORMS)
        }
        if named != given:
            raise UsageError(
                f"{file} has the {what} {given}, and the contract {named}; it is damaged or foreign"
            )


def _missing(name: str, modules: Sequence[str]) -> str | None:
    missing = [module for module in modules if importlib.util.find_spec(module) is None]
    if not missing:
        return None
    return (
        f"format = {name!r} needs {' and '.join(missing)}, which is not installed; install it: "
        f"pip install 'ppo-jax[{FORMATS[name].extra}]'"
    )
