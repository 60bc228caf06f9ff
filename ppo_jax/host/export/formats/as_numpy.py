"""The NumPy form: tensors as safetensors, layers as JSON, and the Python file that acts with them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from ppo_jax.errors import UsageError
from ppo_jax.host.export import standalone
from ppo_jax.host.export.formats import FORMATS, Act, Arrays

TENSORS, LAYERS, RUNTIME = FORMATS["numpy"].files
BOUNDS = ("low", "high")  # the only tensors that may be infinite


def write(subject: Any, ports: Any, contract: dict[str, Any], folder: Path) -> None:
    """Writes the files of this form.

    Args:
        subject: The policy (see `subject.Subject`).
        ports: Its inputs and outputs; its layers say enough.
        contract: Its contract, likewise.
        folder: The directory to write to.
    """
    del ports, contract
    described = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "tensors": {name: list(tensor.shape) for name, tensor in layer.tensors.items()},
            "constants": layer.constants,
        }
        for layer in subject.layers
    ]
    tensors = {
        f"{layer.name}/{name}": np.asarray(tensor, order="C")
        for layer in subject.layers
        for name, tensor in layer.tensors.items()
    }
    (folder / TENSORS).write_bytes(safetensors.numpy.save(tensors))
    (folder / LAYERS).write_text(json.dumps({"layers": described}, indent=1, allow_nan=False) + "\n")
    (folder / RUNTIME).write_text(Path(standalone.__file__).read_text())


def read(contents: dict[str, bytes], contract: dict[str, Any]) -> Act:
    """Makes the function that acts. The Python file of the export is not used.

    Args:
        contents: The files by name.
        contract: The contract.

    Raises:
        UsageError: If the files are damaged, or are not those of the contract.
    """
    try:
        layers = json.loads(contents[LAYERS])["layers"]
        tensors = safetensors.numpy.load(contents[TENSORS])
    except (ValueError, KeyError, TypeError, RecursionError, safetensors.SafetensorError) as error:
        raise UsageError(f"{LAYERS} or {TENSORS} cannot be read: {error}; the export is damaged") from error
    try:
        _check_layers(layers, contract)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"{LAYERS} is damaged or foreign: {error}") from error
    named = {f"{layer['name']}/{name}": shape for layer in layers for name, shape in layer["tensors"].items()}
    found = {name: list(tensor.shape) for name, tensor in tensors.items() if tensor.dtype == np.float32}
    if found != named or len(found) != len(tensors):
        raise UsageError(f"{TENSORS} does not hold the tensors of float32 that {LAYERS} names; it is damaged")
    for name, tensor in tensors.items():
        is_bound = name.rpartition("/")[2] in BOUNDS
        if np.isnan(tensor).any() or not (is_bound or np.isfinite(tensor).all()):
            raise UsageError(f"{TENSORS} is damaged: {name} is not finite")
    assembled = standalone.assemble(layers, tensors)

    def act(inputs: Arrays) -> Arrays:
        return standalone.act(assembled, **inputs)

    return act


def act_to_check(contents: dict[str, bytes], contract: dict[str, Any]) -> tuple[Act, str]:
    """Makes the function that acts, to be compared with the trained policy; and says what it runs on."""
    return read(contents, contract), f"numpy {np.__version__}"


def _check_layers(layers: list[dict[str, Any]], contract: dict[str, Any]) -> None:
    """Follows the shapes from the observation through all layers to the outputs, for one observation.

    Raises:
        ValueError: If a layer is unknown or does not fit the one before it, or the last one does not fit the
            contract.
        KeyError, TypeError: If something is missing, or of another type.
    """
    inputs, outputs = (
        {port["name"]: port["shape"][1:] for port in contract[what]} for what in ("inputs", "outputs")
    )
    shape = inputs["observation"]
    names = [layer["name"] for layer in layers]
    if not names or not all(isinstance(name, str) and name for name in names) or len({*names}) != len(names):
        raise ValueError(f"its layers have the names {names}")
    remembers = "gru" in [layer["kind"] for layer in layers]
    if remembers != ("memory" in inputs) or remembers != ("next_memory" in outputs):
        raise ValueError("its layers have a memory where the contract has none, or the other way round")
    for layer in layers[:-1]:
        needed, shape = _shapes(layer, shape, inputs.get("memory"))
        _check_tensors(layer, needed)
    head = layers[-1]
    (width,) = shape
    head_outputs, needed = _head(head, width)
    _check_tensors(head, needed)
    given = {name: x for name, x in outputs.items() if name != "next_memory"}
    if head_outputs != given:
        raise ValueError(f"its outputs are {head_outputs}, and those of the contract {given}")
    if "mask" in inputs and inputs["mask"] != given.get("logits"):
        raise ValueError(f"its mask has the shape {inputs['mask']}, which is not that of its logits")
    if inputs.get("noise") != given["action"]:
        raise ValueError(f"its noise has the shape {inputs.get('noise')}, which is not that of its actions")


def _check_tensors(layer: dict[str, Any], needed: dict[str, list[int]]) -> None:
    if layer["tensors"] != needed:
        raise ValueError(f"{layer['name']} has tensors {layer['tensors']}, where {needed} would fit")
    if not isinstance(layer["constants"], dict):
        raise TypeError(f"{layer['name']} has constants {layer['constants']!r}")


def _shapes(layer: dict[str, Any], shape: list[int], memory: Any) -> tuple[dict[str, list[int]], list[int]]:
    """Returns the shapes of the tensors that a layer needs, and of what it returns.

    Args:
        layer: The layer.
        shape: The shape of what it is given.
        memory: The shape of the memory; None without one.

    Raises:
        ValueError: If the layer is unknown, or cannot be given such a shape.
    """
    # The number of outputs can only be taken from the file; that it fits is seen at the layer behind.
    claimed = layer["tensors"].get("bias", [0])
    match layer["kind"], shape:
        case "normalize", _:
            clip = layer["constants"]["clip"]
            if type(clip) is not float or not 0 < clip < np.inf:
                raise ValueError(f"it clips normalized observations to {clip!r}")
            return {"mean": shape, "scale": shape}, shape
        case "convolution", [height, width, channels] if min(height, width) >= 3:
            (outputs,) = claimed
            return {"kernel": [9 * channels, outputs], "bias": claimed}, [height - 2, width - 2, outputs]
        case "flatten", _:
            return {}, [int(np.prod(shape))]
        case "dense", [inputs]:
            (outputs,) = claimed
            return {"kernel": [inputs, outputs], "bias": claimed}, claimed
        case "tanh" | "relu", _:
            return {}, shape
        case "gru", [inputs]:
            (size,) = memory
            kernels = {"input_kernel": [inputs, 3 * size], "memory_kernel": [size, 3 * size]}
            return {**kernels, "input_bias": [3 * size], "memory_bias": [3 * size]}, [size]
    raise ValueError(f"it has the layer {layer['kind']!r} for the shape {shape}, which no export has")


def _head(layer: dict[str, Any], width: int) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
    """Returns the shapes of the outputs of the last layer, and of the tensors that it needs.

    Raises:
        ValueError: If it is not a distribution over actions, or not one with so many numbers.
    """
    match layer["kind"], layer["constants"]:
        case "categorical", {"size": int(size)} if size == width:
            return {"action": [], "logits": [width]}, {}
        case "multi_categorical", {"sizes": [*sizes]} if all(type(n) is int and n > 0 for n in sizes):
            if sum(sizes) == width:
                return {"action": [len(sizes)], "logits": [width]}, {}
        case "gaussian", {}:
            names = ("middle", "scale", "log_std", *BOUNDS)
            outputs = {name: [width] for name in ("action", "mean", "log_std")}
            return outputs, {name: [width] for name in names}
    raise ValueError(f"its last layer is {layer['kind']!r} of {layer['constants']} for {width} numbers")
