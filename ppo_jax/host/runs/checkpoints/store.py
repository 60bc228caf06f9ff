"""Saves the state of a run as a checkpoint, and loads the newest good checkpoint."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.runs.checkpoints import arrays, directories, manifest
from ppo_jax.host.runs.checkpoints.arrays import SaveError
from ppo_jax.host.runs.checkpoints.directories import Checkpoint
from ppo_jax.host.runs.checkpoints.manifest import DamageError, Facts
from ppo_jax.host.runs.files import sync

Leaves = dict[str, dict[str, Any]]  # shapes and dtypes of the arrays of a state, by their paths

_LENGTHS_OF_KEYS = {2, 4}  # of the generators threefry2x32, and rbg or unsafe_rbg


class Store(NamedTuple):
    """The place where a run keeps its checkpoints.

    Attributes:
        path: The directory of all checkpoints, which need not exist.
        run_digest: Digest of the run's request; a checkpoint of any other run is not loaded.
        keep: The number of newest checkpoints to keep, in addition to the one with the best return.
    """

    path: Path
    run_digest: str
    keep: int


class Progress(NamedTuple):
    """The progress of a run, which is saved in addition to its state.

    Attributes:
        update: Updates done.
        return_window: Mean return of the last 100 episodes; None before there are 100.
        rewinds: The number of times the run has gone back to a good state.
    """

    update: int
    return_window: float | None
    rewinds: int


def save(store: Store, state: Any, progress: Progress) -> None:
    """Saves a state. Once this returns, the state survives a crash or a loss of power.

    Args:
        store: The place to save to.
        state: The train state.
        progress: The progress of the run.

    Raises:
        SaveError: If something in the state is not finite, or Orbax cannot write it; older checkpoints are
            unchanged.
        OSError: If anything else cannot be written; older checkpoints are unchanged.
    """
    leaves = arrays.leaves(state)
    if nonfinite := arrays.nonfinite(leaves):
        raise SaveError(f"{nonfinite[0]} is not finite")
    draft = store.path / directories.SAVING
    store.path.mkdir(exist_ok=True)
    sync(store.path.parent)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        arrays.write(draft / directories.ARRAYS, leaves)
        manifest.seal(draft, Facts(*progress, store.run_digest, arrays.describe(leaves)))
        draft.rename(store.path / directories.name_of(progress.update))
    except (SaveError, OSError):
        shutil.rmtree(draft, ignore_errors=True)
        raise
    sync(store.path)
    with suppress(OSError):  # the state is saved; old checkpoints can be removed next time
        directories.prune(store.path, store.keep)


def load_newest(store: Store, template: Any, tell: Callable[[str], None]) -> tuple[Progress, Any] | None:
    """Loads the newest checkpoint in which everything is as it was written, to continue from it.

    Newer checkpoints, which are damaged, are set aside under other names.

    Args:
        store: The place to load from.
        template: Shapes and dtypes of the state, from `jax.eval_shape`.
        tell: A function that is called with a sentence about each newer checkpoint that is damaged.

    Returns:
        The progress of the run, and its state, on the host; None if there is no checkpoint at all.

    Raises:
        DamageError: If there are checkpoints but none can be loaded; all are left unchanged.
    """
    if not directories.newest_first(store.path):
        return None
    progress, state = read_newest(store, template, tell)
    for other in directories.newest_first(store.path):
        if int(other.name) > progress.update:
            directories.set_aside(other)
    return progress, state


def read_newest(store: Store, template: Any, tell: Callable[[str], None]) -> tuple[Progress, Any]:
    """Loads the newest good checkpoint as `load_newest` does, but changes nothing.

    Raises:
        DamageError: If none can be loaded.
    """
    for path in directories.newest_first(store.path):
        try:
            checkpoint = directories.read(path)
            state = load(store, checkpoint, template)
        except DamageError as error:
            tell(f"checkpoint {path.name} is damaged and skipped: {error}")
            continue
        found = checkpoint.manifest
        return Progress(found.update, found.return_window, found.rewinds), state
    raise DamageError(f"none of the checkpoints in '{store.path}' can be loaded; nothing was changed")


def load(store: Store, checkpoint: Checkpoint, template: Any) -> Any:
    """Loads a checkpoint, after checking that it is complete and belongs to this run.

    Raises:
        DamageError: If anything in it has changed since it was written, or it belongs to another run.
        UsageError: If the state of the run is now made of other arrays.
    """
    directories.check(checkpoint, store.run_digest)
    _check_state(checkpoint, arrays.expected(template, checkpoint.manifest.leaves))
    return arrays.read(checkpoint.path / directories.ARRAYS, template)


def _check_state(checkpoint: Checkpoint, expected: Leaves) -> None:
    """Makes sure that a good checkpoint holds the arrays that the environment and the network ask for now."""
    found = checkpoint.manifest.leaves
    changes = dict.fromkeys(expected.keys() - found.keys(), "is new")
    changes |= dict.fromkeys(found.keys() - expected.keys(), "is gone")
    for name in expected.keys() & found.keys():
        if found[name] != expected[name]:
            was, now = (f"{row['dtype']}{row['shape']}" for row in (found[name], expected[name]))
            changes[name] = f"was {was} and is {now}"
    if changes:
        shown = [f"{name} {change}" for name, change in sorted(changes.items())]
        cause, remedy = _cause_of(found, expected)
        raise UsageError(
            f"checkpoint {checkpoint.path.name} is good, but {cause} has changed since: "
            f"{', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}; {remedy}, or start another run"
        )


def _cause_of(found: Leaves, expected: Leaves) -> tuple[str, str]:
    """Returns what has changed between the arrays of a checkpoint and those of now, and what to do.

    A setting of JAX changes all arrays of a kind: the lengths of keys, or the widths of numbers.
    """
    if found.keys() == expected.keys():
        pairs = [(found[name], expected[name]) for name in found if found[name] != expected[name]]
        kinds = {(before["dtype"].strip("3264"), before["shape"] == now["shape"]) for before, now in pairs}
        if all({*before["shape"][-1:], *now["shape"][-1:]} == _LENGTHS_OF_KEYS for before, now in pairs):
            return "JAX's setting JAX_DEFAULT_PRNG_IMPL", "resume with the one that the run was started with"
        if all(is_same and kind in ("int", "uint", "float") for kind, is_same in kinds):
            return "JAX's setting JAX_ENABLE_X64", "resume with the one that the run was started with"
    return "the environment, the network or a setting of JAX", "go on with what the run was started with"
