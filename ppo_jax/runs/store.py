"""Saving the state of a training, and getting the newest good one back."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax.runs import arrays, checkpoints, manifest
from ppo_jax.runs.arrays import SaveError
from ppo_jax.runs.checkpoints import Checkpoint
from ppo_jax.runs.manifest import DamageError, Facts


class Store(NamedTuple):
    """Where a run keeps its checkpoints.

    Attributes:
        path: Directory of them all, which need not exist.
        run_digest: Of what the run was asked for; a checkpoint of anything else is not loaded.
        keep: How many of the newest to keep, beside the one with the best return.
    """

    path: Path
    run_digest: str
    keep: int


class Progress(NamedTuple):
    """How far a training is, beside its state.

    Attributes:
        update: Updates done.
        return_window: Mean return of the last 100 episodes, None before there are 100.
        rewinds: How often it has gone back to a good state.
    """

    update: int
    return_window: float | None
    rewinds: int


def save(store: Store, state: Any, progress: Progress) -> None:
    """Saves a state; once this returns, neither a crash nor a loss of power takes it away.

    Args:
        store: Where to.
        state: Of the training.
        progress: How far it is.

    Raises:
        SaveError: If something in the state is not finite, or writing it fails; older checkpoints are
            as they were.
        OSError: Likewise.
    """
    leaves = arrays.leaves(state)
    if nonfinite := arrays.nonfinite(leaves):
        raise SaveError(f"{nonfinite[0]} is not finite")
    draft = store.path / checkpoints.SAVING
    store.path.mkdir(exist_ok=True)
    manifest.sync(store.path.parent)
    shutil.rmtree(draft, ignore_errors=True)
    try:
        arrays.write(draft / checkpoints.ARRAYS, leaves)
        manifest.seal(draft, Facts(*progress, store.run_digest, arrays.describe(leaves)))
        draft.rename(store.path / checkpoints.name_of(progress.update))
    except (SaveError, OSError):
        shutil.rmtree(draft, ignore_errors=True)
        raise
    manifest.sync(store.path)
    with suppress(OSError):  # what is saved is saved; what is too old goes the next time
        checkpoints.prune(store.path, store.keep)


def load_newest(store: Store, template: Any, tell: Callable[[str], None]) -> tuple[Progress, Any] | None:
    """Loads the newest checkpoint in which everything is as it was written.

    Args:
        store: Where from.
        template: Shapes and dtypes of the state, from `jax.eval_shape`.
        tell: Is told of each newer one that is damaged; those are set aside under another name.

    Returns:
        How far it was, and the state, on the host; None if there is no checkpoint at all.

    Raises:
        DamageError: If there are some, but none can be loaded; all are left as they are.
    """
    damaged: list[Path] = []
    for path in checkpoints.directories(store.path):
        try:
            checkpoint = checkpoints.read(path)
            state = load(store, checkpoint, template)
        except DamageError as error:
            tell(f"checkpoint {path.name} is damaged and skipped: {error}")
            damaged.append(path)
            continue
        for other in damaged:
            checkpoints.set_aside(other)
        found = checkpoint.manifest
        return Progress(found.update, found.return_window, found.rewinds), state
    if damaged:
        raise DamageError(f"none of the checkpoints in '{store.path}' can be loaded; nothing was changed")
    return None


def load(store: Store, checkpoint: Checkpoint, template: Any) -> Any:
    """Loads a checkpoint; what costs nothing to check comes first.

    Raises:
        DamageError: If anything in it is not as it was written, or it belongs to another run.
    """
    if checkpoint.manifest.leaves != arrays.expected(template):
        raise DamageError("its arrays are not those of this run")
    checkpoints.check(checkpoint, store.run_digest)
    return arrays.read(checkpoint.path / checkpoints.ARRAYS, template)
