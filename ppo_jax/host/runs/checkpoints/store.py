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
    """Loads the newest checkpoint in which everything is as it was written.

    Args:
        store: The place to load from.
        template: Shapes and dtypes of the state, from `jax.eval_shape`.
        tell: A function that is called with a sentence about each newer checkpoint that is damaged. These
            checkpoints are set aside under other names.

    Returns:
        The progress of the run, and its state, on the host; None if there is no checkpoint at all.

    Raises:
        DamageError: If there are checkpoints but none can be loaded; all are left unchanged.
    """
    damaged: list[Path] = []
    for path in directories.newest_first(store.path):
        try:
            checkpoint = directories.read(path)
            state = load(store, checkpoint, template)
        except DamageError as error:
            tell(f"checkpoint {path.name} is damaged and skipped: {error}")
            damaged.append(path)
            continue
        for other in damaged:
            directories.set_aside(other)
        found = checkpoint.manifest
        return Progress(found.update, found.return_window, found.rewinds), state
    if damaged:
        raise DamageError(f"none of the checkpoints in '{store.path}' can be loaded; nothing was changed")
    return None


def load(store: Store, checkpoint: Checkpoint, template: Any) -> Any:
    """Loads a checkpoint, after checking that it is complete and belongs to this run.

    Raises:
        DamageError: If anything in it has changed since it was written, or it belongs to another run.
        UsageError: If the state of the run is now made of other arrays.
    """
    directories.check(checkpoint, store.run_digest)
    _check_state(checkpoint, arrays.expected(template))
    return arrays.read(checkpoint.path / directories.ARRAYS, template)


def _check_state(checkpoint: Checkpoint, expected: dict[str, dict[str, Any]]) -> None:
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
        raise UsageError(
            f"checkpoint {checkpoint.path.name} is good, but the environment, the network or a setting of "
            f"JAX has changed since: {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}; "
            "go on with what the run was started with, or start another run"
        )
