"""Writes and reads the arrays of a train state with Orbax. The only file that imports Orbax."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint.experimental.v1 as ocp
from orbax.checkpoint._src.serialization import tensorstore_utils
from orbax.checkpoint.experimental.v1._src.saving import execution

from ppo_jax.algorithm.leaves import by_path, is_key
from ppo_jax.count import Count
from ppo_jax.host.runs.checkpoints.manifest import DamageError

Leaves = dict[str, np.ndarray]  # by their path in the state, such as "learner/params/actor/kernel"


class SaveError(Exception):
    """A state could not be saved; the message says why."""


def leaves(state: Any) -> Leaves:
    """Copies a state to the host as a flat dictionary; typed keys become the numbers they consist of."""
    return {name: np.asarray(leaf) for name, leaf in jax.device_get(_flatten(state)).items()}


def describe(arrays: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the shape and dtype of each array, as JSON can hold them."""
    return {name: {"shape": list(x.shape), "dtype": str(x.dtype)} for name, x in arrays.items()}


def expected(template: Any, found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Describes the leaves of a state of which only shapes and dtypes are known (see `jax.eval_shape`).

    Args:
        template: Shapes and dtypes of the state.
        found: The description of the arrays that were saved. Earlier versions saved counts as int32.
    """
    flat = jax.eval_shape(_flatten, template)
    wanted = describe(flat)
    for name, leaf in flat.items():
        if isinstance(leaf, Count) and found.get(name) == {**wanted[name], "dtype": "int32"}:
            wanted[name] = found[name]
    return wanted


def nonfinite(arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Returns the names of the arrays in which a number is NaN or infinite."""
    return [name for name, x in arrays.items() if not np.isfinite(x).all()]


def write(path: Path, arrays: Leaves) -> None:
    """Saves arrays into a directory, which Orbax makes.

    Args:
        path: The directory.
        arrays: The arrays by their paths in the state.

    Raises:
        SaveError: If it fails for any reason, such as a full disk.
    """
    # Orbax refuses arrays without elements; `read` makes them again from their shapes.
    present = {name: x for name, x in arrays.items() if x.size}
    try:
        with _orbax():
            ocp.save(str(path.absolute()), present)
    except MemoryError:
        raise
    except Exception as error:  # whatever the storage underneath raises
        raise SaveError(_last_line(error)) from error


def read(path: Path, template: Any) -> Any:
    """Restores a state whose leaves `write` saved.

    Args:
        path: The directory that `write` made.
        template: Shapes and dtypes of the state, from `jax.eval_shape`.

    Returns:
        The state, on the host.

    Raises:
        DamageError: If it cannot be read or holds other arrays; these are never unpacked.
    """
    try:
        with _orbax():
            arrays = _load(path, template)
    except (DamageError, MemoryError):
        raise
    except Exception as error:  # whatever the storage underneath raises
        raise DamageError(_last_line(error)) from error
    restored = [_restore(like, arrays[name]) for name, like in by_path(template).items()]
    structure = jax.tree.structure(template, is_leaf=lambda node: isinstance(node, Count))
    return jax.tree.unflatten(structure, restored)


def _load(path: Path, template: Any) -> Leaves:
    """Loads arrays that have to be as expected; Orbax itself would convert or unpack whatever it finds."""
    stored = ocp.metadata(str(path.absolute())).metadata
    wanted = expected(template, describe(stored))
    present = {name: row for name, row in wanted.items() if 0 not in row["shape"]}
    # `write` stores each array in one piece; a larger piece would be unpacked into RAM.
    in_one_piece = [tuple(x.storage_metadata.chunk_shape) == tuple(x.shape) for x in stored.values()]
    if describe(stored) != present or not all(in_one_piece):
        raise DamageError("its arrays are not those of this run")
    arrays: Leaves = ocp.load(str(path.absolute()))
    if describe(arrays) != present:
        raise DamageError("its arrays are not those of this run")
    empty = {
        name: np.zeros(row["shape"], row["dtype"]) for name, row in wanted.items() if name not in present
    }
    return {**arrays, **empty}


@contextmanager
def _orbax() -> Iterator[None]:
    """Makes Orbax fail at once rather than wait for directories, and log nothing, since the caller reports.

    It does not sync files either: `manifest.seal` does, also on file systems that cannot sync directories,
    where Orbax would fail. Orbax has no option for that, only the default that is changed here.

    After a failure its threads continue to log errors for a while, so their logs then stay silent.
    """
    logs = [logging.getLogger(name) for name in ("absl", "asyncio", "concurrent.futures")]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    # Of the processes of a run only one saves: the others are not waited for, nor asked where they save.
    alone = jax.process_index()
    execution._check_directory_consistency = lambda directory: None
    options = ocp.options.MultiprocessingOptions(
        primary_host=alone, active_processes={alone}, barrier_sync_key_prefix="ppo_jax"
    )
    context = ocp.Context(multiprocessing_options=options)
    context.asynchronous.create_directories_asynchronously = False
    defaults: dict[str, Any] = tensorstore_utils._DEFAULT_OCDBT_TS_CONTEXT
    defaults["file_io_sync"] = False
    try:
        with context:
            yield
    finally:
        del defaults["file_io_sync"]
    for log, level in zip(logs, levels, strict=True):
        log.setLevel(level)


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


def _flatten(state: Any) -> dict[str, Any]:
    """Returns the leaves of a state by their paths; typed keys become the numbers they consist of."""
    leaves = by_path(state).items()
    return {name: jax.random.key_data(leaf) if is_key(leaf) else leaf for name, leaf in leaves}


def _restore(like: Any, array: np.ndarray) -> Any:
    """Makes a count or a typed key from its numbers where the template has one."""
    if isinstance(like, Count):
        return Count.of(array)
    if not is_key(like):
        return array
    if like.dtype != jax.random.key(0).dtype:
        raise DamageError(f"its keys are {like.dtype}, not those of jax_default_prng_impl")
    return jax.random.wrap_key_data(jnp.asarray(array))
