"""A trained policy on disk: the tensors as safetensors, their meaning as JSON. No pickle."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ppo_jax.config import Config, as_fields, config_from
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import written
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json, whole
from ppo_jax.validation import validate

FORMAT = "ppo_jax policy"
VERSION = 2


def save(
    run: RunDirectory,
    config: Config,
    tensors: dict[str, np.ndarray],
    rewards: Mapping[str, Any] | None = None,
) -> None:
    """Writes a policy into a run directory; takes what `encode` takes, and the directory."""
    files = encode(config, tensors, rewards)
    for path in (run.tensors, run.policy):  # the description last
        with whole(path) as draft:
            draft.write_bytes(files[path.name])


def encode(
    config: Config, tensors: dict[str, np.ndarray], rewards: Mapping[str, Any] | None = None
) -> dict[str, bytes]:
    """Returns the content of the files of a policy, by their names.

    Args:
        config: The configuration of the run; it says which network the tensors belong to.
        tensors: The arrays by their paths in the `Agent`, such as "params/actor/params/Dense_0/kernel".
        rewards: The statistics that rewards were scaled with, which tell the units of the critic's values:
            the `num_samples`, the `mean` and the `variance`. None if they were not scaled.
    """
    description = {
        "format": FORMAT,
        "version": VERSION,
        written.KEY: written.version(),
        "config": as_fields(config),
        "tensors": {name: _describe(tensor) for name, tensor in tensors.items()},
    }
    if rewards is not None:
        description["rewards"] = dict(rewards)
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    return {"policy.json": text.encode(), "policy.safetensors": safetensors.numpy.save(tensors)}


def rewards_in(path: Path, description: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Returns the statistics of rewards in a description; None if it has none.

    Raises:
        UsageError: If they are not three numbers.
    """
    rewards = description.get("rewards")
    if rewards is None:
        return None
    try:
        numbers = [rewards[name] for name in ("num_samples", "mean", "variance")]
        is_valid = (
            all(math.isfinite(number) for number in numbers) and 0 <= numbers[0] < 2**32 and numbers[2] >= 0
        )
    except (KeyError, TypeError, IndexError):
        is_valid = False
    if not is_valid:
        raise UsageError(f"'{path}' is damaged: its rewards are {rewards!r}, not three numbers")
    return rewards


def is_newest(run: RunDirectory) -> bool:
    """Whether nothing newer than the policy of a run was saved: no checkpoint of a run that went on."""
    newest = next(directories.readable(run.checkpoints), None)
    if newest is None:
        return True
    try:
        summary = read_json(run.summary)
    except UsageError:  # the summary is written last
        return False
    updates, has_failed = summary.get("updates"), summary.get("status") == "failed"
    is_older = not isinstance(updates, int) or updates < newest.manifest.update
    return run.policy.exists() and not is_older and not has_failed


def load(run: RunDirectory) -> tuple[Config, dict[str, np.ndarray]]:
    """Reads a policy without trusting its files.

    Returns:
        The configuration, and the tensors by their paths in the `Agent`.

    Raises:
        UsageError: If a file is missing or damaged, or the two do not belong together.
    """
    if not run.policy.exists():
        raise UsageError(
            f"'{run.policy}' is missing, and so is any checkpoint; if the run is training, wait for the "
            "first, or else resume it"
        )
    description = read_json(run.policy)
    if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
        raise UsageError(f"'{run.policy}' does not describe a {FORMAT} of version {VERSION}")
    written.check(f"'{run.policy}'", description)
    try:
        config = config_from(description["config"])
        validate(config, environment=config.env)  # looked for when it is needed
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"'{run.policy}' is damaged: its config is not valid ({error})") from error
    try:
        tensors = safetensors.numpy.load_file(run.tensors)
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise UsageError(f"'{run.tensors}' cannot be read: {error}; it is missing or damaged") from error
    if {name: _describe(tensor) for name, tensor in tensors.items()} != description.get("tensors"):
        raise UsageError(
            f"'{run.tensors}' does not hold the tensors that '{run.policy}' names; "
            "one of them is damaged or from another run"
        )
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise UsageError(f"'{run.tensors}' is damaged: {', '.join(broken)} is not finite")
    return config, tensors


def _describe(tensor: np.ndarray) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
