"""Acts with an exported policy: NumPy in and out, in a control loop."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.host.export import formats
from ppo_jax.host.export.opening import Opened, open_export


def load_policy(path: Path | str, format: str | None = None) -> "Policy":
    """Loads a policy that `ppo-jax export` wrote. Its files are checked first, and none is ever executed.

    The NumPy form needs neither JAX nor Flax, and imports neither. The ONNX form needs onnxruntime. The
    StableHLO form needs JAX, and is compiled here for single observations; for a batch of another size it is
    compiled when it is first given one.

    Args:
        path: The directory of the export.
        format: "numpy", "onnx" or "stablehlo"; by default the first of them that the export has.

    Raises:
        UsageError: If the export is damaged, foreign or of a newer version, with the reason; or if a
            library is missing.
    """
    if not isinstance(path, str | os.PathLike):
        raise UsageError(f"path = {path!r} is not a path; give a text or a pathlib.Path")
    if format is not None and format not in formats.FORMATS:
        raise UsageError(f"format = {format!r} is unknown; choose from {', '.join(formats.FORMATS)}")
    opened = open_export(Path(os.path.expanduser(path)), format)
    formats.check_readable(opened.format)
    return Policy(opened)


class Policy:
    """An exported policy that acts. It remembers nothing between calls.

    Attributes:
        contract: The content of `contract.json`.
        format: The format that it was loaded from.
    """

    def __init__(self, opened: Opened):
        self.contract, self.format = opened.contract, opened.format
        self._act = formats.module_of(opened.format).read(opened.contents, opened.contract)
        shapes = {port["name"]: tuple(port["shape"][1:]) for port in opened.contract["inputs"]}
        self._observation_shape = shapes["observation"]
        self._mask_shape = shapes.get("mask")
        self._memory_shape = shapes.get("memory")
        self._noise_shape = shapes.get("noise")
        self._is_gaussian = "mean" in {port["name"] for port in opened.contract["outputs"]}
        self._try()

    def act(
        self,
        observation: Any,
        state: np.ndarray | None = None,
        key: int | np.random.Generator | None = None,
        mask: Any = None,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Chooses an action for an observation, or one for each observation of a batch.

        Args:
            observation: One observation as the environment gives it, of the shape in the contract, or N of
                them, [N, ...]. It is normalized inside, if the policy was trained so.
            state: The state that the call before returned, [H] or [N, H]; None when episodes begin. Set
                the rows of single episodes that begin to 0. A policy without a memory has no state.
            key: A generator of NumPy, with which actions are sampled; or a seed, which gives the same
                random numbers each time. By default the most probable action is taken.
            mask: The actions that are allowed, bool, if the policy was trained with masks.

        Returns:
            The action, within its bounds, [...] or [N, ...]; and the state for the next call, None if the
            policy has no memory.

        Raises:
            UsageError: If an input is missing, of another shape, or not finite.
        """
        shape = self._observation_shape
        observation = _as_array("observation", observation, np.float32)
        is_single = observation.shape == shape
        if is_single:
            observation = observation[None]
        elif observation.shape[1:] != shape or not observation.ndim or not len(observation):
            raise UsageError(
                f"observation has the shape {list(observation.shape)}; give {list(shape)} or N of them"
            )
        if not np.isfinite(observation).all():
            raise UsageError("observation is not finite; give the policy no NaN and no infinity")
        inputs = {"observation": observation}
        if mask is not None or self._mask_shape:
            inputs["mask"] = _fitted("mask", mask, self._mask_shape, observation, is_single, bool)
        if self._memory_shape and state is None:
            inputs["memory"] = np.zeros((len(observation), *self._memory_shape), np.float32)
        elif state is not None:
            inputs["memory"] = _fitted("state", state, self._memory_shape, observation, is_single)
        if key is not None:
            inputs["noise"] = self._draw(key, len(observation))
        outputs = self._act(inputs)
        action, state = outputs["action"], outputs.get("next_memory")
        if is_single:
            return action[0], None if state is None else state[0]
        return action, state

    def _try(self) -> None:
        """Makes sure that both forms give what the contract says for an observation of ones.

        Raises:
            UsageError: If they do not.
        """
        inputs = {
            port["name"]: np.ones((1, *port["shape"][1:]), port["dtype"]) for port in self.contract["inputs"]
        }
        inputs["noise"] = inputs["noise"] / 2
        wanted = {port["name"]: (port["shape"][1:], port["dtype"]) for port in self.contract["outputs"]}
        for given in (inputs, {name: x for name, x in inputs.items() if name != "noise"}):
            outputs = self._act(given)
            found = {name: (list(x.shape[1:]), x.dtype.name) for name, x in outputs.items()}
            if found != wanted or not all(np.isfinite(x).all() for x in outputs.values()):
                raise UsageError(
                    f"the files of the format {self.format!r} do not give finite {wanted}, as the contract "
                    "says; they are damaged or foreign"
                )

    def _draw(self, key: Any, size: int) -> np.ndarray:
        """Draws the noise with which N actions are sampled."""
        is_seed = isinstance(key, int | np.integer) and not isinstance(key, bool) and key >= 0
        if not is_seed and not isinstance(key, np.random.Generator):
            raise UsageError(
                f"key = {key!r} is neither a seed nor a numpy.random.Generator; give one of them"
            )
        generator = np.random.default_rng(key)  # one that is given is used as it is
        shape = (size, *(self._noise_shape or ()))
        draw = generator.standard_normal if self._is_gaussian else generator.random
        return draw(shape, np.float32)


def _as_array(name: str, given: Any, dtype: Any) -> np.ndarray:
    try:
        return np.asarray(given, dtype)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name} is a {type(given).__name__}, not an array of numbers ({error})") from error


def _fitted(
    name: str, given: Any, shape: Any, observation: np.ndarray, is_single: bool, dtype: Any = np.float32
) -> np.ndarray:
    """Returns an input as an array [N, ...] that fits the observations.

    Raises:
        UsageError: If the policy has no such input, or it is missing or of another shape.
    """
    if shape is None:
        raise UsageError(f"{name} is given, but this policy has none; leave it out")
    if given is None:
        raise UsageError(
            f"{name} is missing: this policy chooses among allowed actions; give {list(shape)} bool"
        )
    wanted = shape if is_single else (len(observation), *shape)
    array = _as_array(name, given, dtype)
    if array.shape != wanted:
        raise UsageError(f"{name} has the shape {list(array.shape)}; give {list(wanted)}")
    return array[None] if is_single else array
