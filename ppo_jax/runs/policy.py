"""A trained policy on disk: tensors as safetensors, their meaning as JSON. No pickle."""

import dataclasses
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ppo_jax.config import Config, config_from, validate
from ppo_jax.errors import UsageError
from ppo_jax.runs.directory import DRAFT, RunDirectory, read_json, write_json
from ppo_jax.runs.manifest import sync

FORMAT = "ppo_jax policy"
VERSION = 2


def save(directory: RunDirectory, config: Config, tensors: dict[str, np.ndarray]) -> None:
    """Writes a policy into a run directory.

    Args:
        directory: Of the run.
        config: Of the run; says which environment and network the tensors belong to.
        tensors: By their path in the policy, such as "params/actor/params/Dense_0/kernel".
    """
    draft = directory.tensors.with_name(directory.tensors.name + DRAFT)
    draft.write_bytes(safetensors.numpy.save(tensors))
    sync(draft)
    draft.replace(directory.tensors)
    description = {
        "format": FORMAT,
        "version": VERSION,
        "config": dataclasses.asdict(config),
        "tensors": {name: _describe(tensor) for name, tensor in tensors.items()},
    }
    write_json(directory.policy, description)


def load(directory: RunDirectory) -> tuple[Config, dict[str, np.ndarray]]:
    """Reads a policy back, trusting nothing.

    Args:
        directory: Of the run.

    Returns:
        The configuration, and the tensors by their path in the policy.

    Raises:
        UsageError: If a file is missing or damaged, or the two do not belong together.
    """
    description = read_json(directory.policy)
    if (description.get("format"), description.get("version")) != (FORMAT, VERSION):
        raise UsageError(f"'{directory.policy}' does not describe a {FORMAT} of version {VERSION}")
    config = _config(directory, description.get("config"))
    try:
        tensors = safetensors.numpy.load_file(directory.tensors)
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise UsageError(
            f"'{directory.tensors}' cannot be read: {error}; it is missing or damaged"
        ) from error
    if {name: _describe(tensor) for name, tensor in tensors.items()} != description.get("tensors"):
        raise UsageError(
            f"'{directory.tensors}' does not hold the tensors that '{directory.policy}' names; "
            "one of them is damaged or from another run"
        )
    broken = [name for name, tensor in tensors.items() if not np.isfinite(tensor).all()]
    if broken:
        raise UsageError(f"'{directory.tensors}' is damaged: {', '.join(broken)} is not finite")
    return config, tensors


def _config(directory: RunDirectory, fields: Any) -> Config:
    try:
        config = config_from(fields)
        validate(config)
    except (TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"'{directory.policy}' is damaged: its config is not valid ({error})") from error
    return config


def _describe(tensor: np.ndarray) -> dict[str, Any]:
    return {"shape": list(tensor.shape), "dtype": str(tensor.dtype)}
