"""The ONNX form: one graph for greedy and one for sampled actions, in operators that old readers know."""

import importlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.host.export.formats import FORMS, GREEDY, SAMPLED, Act, Arrays, check_values
from ppo_jax.host.export.standalone import ILLEGAL
from ppo_jax.host.runs import written

OPSET = 17  # later ones are not read by TensorRT on a Jetson
IR_VERSION = 8  # that of the first onnx with this opset
CONTRACT = "ppo_jax_contract"  # the key of the contract in the metadata of a graph
FLOAT, INT32, BOOL = 1, 6, 9  # of onnx.TensorProto
_TYPES = {"tensor(float)": "float32", "tensor(int32)": "int32", "tensor(bool)": "bool"}


def write(subject: Any, ports: Any, contract: dict[str, Any], folder: Path) -> None:
    """Writes both graphs.

    Args:
        subject: The policy (see `subject.Subject`); its layers become operators.
        ports: Its inputs and outputs.
        contract: Its contract, which goes into the metadata as JSON.
        folder: The directory to write to.
    """
    helper: Any = importlib.import_module("onnx.helper")
    checker: Any = importlib.import_module("onnx.checker")

    def values(some: Any) -> list[Any]:
        kinds = {name: helper.np_dtype_to_tensor_dtype(np.dtype(name)) for name in _TYPES.values()}
        return [
            helper.make_tensor_value_info(port.name, kinds[port.dtype], ["N", *port.shape]) for port in some
        ]

    for form in FORMS:
        graph = _Graph()
        given = [port for port in ports.inputs if form in port.forms]
        outputs = _act(graph, subject.layers, {port.name for port in given})
        for name, value in outputs.items():
            graph.nodes.append(helper.make_node("Identity", [value], [name]))
        made = helper.make_graph(graph.nodes, form, values(given), values(ports.outputs), graph.tensors)
        model = helper.make_model(
            made,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=written.version(),
        )
        helper.set_model_props(model, {CONTRACT: json.dumps(contract, allow_nan=False), "form": form})
        checker.check_model(model, full_check=True)
        (folder / f"{form}.onnx").write_bytes(model.SerializeToString(deterministic=True))


class _Graph:
    """A graph to which operators are added.

    Attributes:
        nodes: The operators, in order.
        tensors: The constants.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def tensor(self, name: str, array: Any) -> str:
        """Adds a constant, and returns its name."""
        numpy_helper: Any = importlib.import_module("onnx.numpy_helper")
        self.tensors.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def add(self, operator: str, *inputs: str, count: int = 1, **attributes: Any) -> Any:
        """Adds an operator, and returns the name of its output; a list of names if there are more."""
        helper: Any = importlib.import_module("onnx.helper")
        stem = f"{operator.lower()}_{len(self.nodes)}"
        outputs = [stem] if count == 1 else [f"{stem}_{i}" for i in range(count)]
        self.nodes.append(helper.make_node(operator, list(inputs), outputs, **attributes))
        return outputs[0] if count == 1 else outputs


def _act(graph: _Graph, layers: Any, inputs: set[str]) -> dict[str, str]:
    """Adds the operators of all layers (see `standalone.act`), and returns the names of the outputs."""
    x, memory, outputs = "observation", None, {}
    noise = "noise" if "noise" in inputs else None
    mask = "mask" if "mask" in inputs else None
    for layer in layers:
        its = {name: graph.tensor(f"{layer.name}/{name}", array) for name, array in layer.tensors.items()}
        match layer.kind:
            case "normalize":
                x = _normalize(graph, x, layer.constants["clip"], its)
            case "convolution":
                x = _convolve(graph, x, layer)
            case "flatten":
                x = graph.add("Flatten", x, axis=1)
            case "dense":
                x = graph.add("Gemm", x, its["kernel"], its["bias"])
            case "tanh":
                x = graph.add("Tanh", x)
            case "relu":
                x = graph.add("Relu", x)
            case "gru":
                x = memory = _remember(graph, x, its)
            case "categorical":
                outputs = _choose_one(graph, x, layer.constants["size"], mask, noise)
            case "multi_categorical":
                outputs = _choose(graph, x, layer.constants["sizes"], mask, noise)
            case "gaussian":
                outputs = _gaussian(graph, x, its, noise)
    return outputs if memory is None else {**outputs, "next_memory": memory}


def _normalize(graph: _Graph, x: str, clip: float, its: dict[str, str]) -> str:
    low, high = (
        graph.tensor(f"{name}_clip", np.float32(sign * clip)) for name, sign in (("low", -1), ("high", 1))
    )
    nan = graph.tensor("nan", np.float32(np.nan))
    scaled = graph.add("Mul", graph.add("Sub", x, its["mean"]), its["scale"])
    clipped = graph.add("Clip", scaled, low, high)
    # Clipping alone would hide an infinity.
    is_wrong = graph.add("Or", graph.add("IsInf", x), graph.add("IsNaN", x))
    return graph.add("Where", is_wrong, nan, clipped)


def _convolve(graph: _Graph, x: str, layer: Any) -> str:
    """Adds a 3 x 3 convolution of images [N, height, width, channels]."""
    kernel = layer.tensors["kernel"]  # [9 C, O]
    kernel = kernel.reshape(3, 3, -1, kernel.shape[1]).transpose(3, 2, 0, 1)  # [O, C, 3, 3]
    weights = graph.tensor(f"{layer.name}/weights", kernel)
    channels_first = graph.add("Transpose", x, perm=[0, 3, 1, 2])
    convolved = graph.add("Conv", channels_first, weights, f"{layer.name}/bias", kernel_shape=[3, 3])
    return graph.add("Transpose", convolved, perm=[0, 2, 3, 1])


def _remember(graph: _Graph, x: str, its: dict[str, str]) -> str:
    of_x = graph.add("Gemm", x, its["input_kernel"], its["input_bias"])
    of_memory = graph.add("Gemm", "memory", its["memory_kernel"], its["memory_bias"])
    reset_x, update_x, new_x = graph.add("Split", of_x, axis=1, count=3)
    reset_memory, update_memory, new_memory = graph.add("Split", of_memory, axis=1, count=3)
    reset = graph.add("Sigmoid", graph.add("Add", reset_x, reset_memory))
    update = graph.add("Sigmoid", graph.add("Add", update_x, update_memory))
    new = graph.add("Tanh", graph.add("Add", new_x, graph.add("Mul", reset, new_memory)))
    rest = graph.add("Sub", graph.tensor("one", np.float32(1)), update)
    return graph.add("Add", graph.add("Mul", rest, new), graph.add("Mul", update, "memory"))


def _choose_one(graph: _Graph, logits: str, size: int, mask: str | None, noise: str | None) -> dict[str, str]:
    """Adds the choice of an action that has no components, [N]."""
    axis = graph.tensor("component_axis", np.array([1]))
    outputs = _choose(graph, logits, [size], mask, noise and graph.add("Unsqueeze", noise, axis))
    return {**outputs, "action": graph.add("Squeeze", outputs["action"], axis)}


def _choose(
    graph: _Graph, logits: str, sizes: list[int], mask: str | None, noise: str | None
) -> dict[str, str]:
    """Adds the choice of a value for each component (see `standalone.choose`)."""

    def split(x: str, widths: list[int]) -> list[str]:
        return graph.add(
            "Split", x, graph.tensor(f"widths_of_{x}", np.array(widths)), axis=1, count=len(sizes)
        )

    is_one = len(sizes) == 1
    parts = [logits] if is_one else split(logits, sizes)
    if mask:
        masks = [mask] if is_one else split(mask, sizes)
        illegal = graph.tensor("illegal", ILLEGAL)
        parts = [_masked(graph, part, one, illegal) for part, one in zip(parts, masks, strict=True)]
    chances = parts
    if noise:
        noises = [noise] if is_one else split(noise, [1] * len(sizes))
        zero, axis = graph.tensor("zero", np.float32(0)), graph.tensor("axis", np.array(1))
        chances = [_exceeding(graph, part, one, zero, axis) for part, one in zip(parts, noises, strict=True)]
    found = [graph.add("ArgMax", one, axis=1, keepdims=1) for one in chances]
    actions = [graph.add("Cast", one, to=INT32) for one in found]
    return {
        "action": actions[0] if is_one else graph.add("Concat", *actions, axis=1),
        "logits": parts[0] if is_one else graph.add("Concat", *parts, axis=1),
    }


def _masked(graph: _Graph, logits: str, mask: str, illegal: str) -> str:
    """Replaces the logits that the mask does not allow; where it allows none, all are allowed."""
    is_any = graph.add("ReduceMax", graph.add("Cast", mask, to=FLOAT), axes=[1], keepdims=1)
    allowed = graph.add("Or", mask, graph.add("Not", graph.add("Cast", is_any, to=BOOL)))
    return graph.add("Where", allowed, logits, illegal)


def _exceeding(graph: _Graph, logits: str, noise: str, zero: str, axis: str) -> str:
    """Marks the values whose cumulative probability exceeds the noise, [N, A] float32."""
    largest = graph.add("ReduceMax", logits, axes=[1], keepdims=1)
    weights = graph.add("Exp", graph.add("Sub", logits, largest))
    sums = graph.add("CumSum", weights, axis)
    sums = graph.add("Where", graph.add("Greater", weights, zero), sums, zero)
    threshold = graph.add("Mul", noise, graph.add("ReduceMax", sums, axes=[1], keepdims=1))
    return graph.add("Cast", graph.add("Greater", sums, threshold), to=FLOAT)


def _gaussian(graph: _Graph, x: str, its: dict[str, str], noise: str | None) -> dict[str, str]:
    mean = graph.add("Add", its["middle"], graph.add("Mul", its["scale"], x))
    action = mean
    if noise:
        action = graph.add("Add", mean, graph.add("Mul", graph.add("Exp", its["log_std"]), noise))
    action = graph.add("Min", graph.add("Max", action, its["low"]), its["high"])
    log_std = graph.add("Expand", its["log_std"], graph.add("Shape", x))
    return {"action": action, "mean": mean, "log_std": log_std}


def read(contents: dict[str, bytes], contract: dict[str, Any]) -> Act:
    """Makes the function that acts, with onnxruntime on the CPU.

    Args:
        contents: The files by name.
        contract: The contract.

    Raises:
        UsageError: If a graph cannot be read, or has other inputs and outputs than the contract.
    """
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more of them only wait for each other in so small a graph
    options.log_severity_level = 4
    sessions = {}
    for form in FORMS:
        try:
            # From bytes, so that no other file can be named in it.
            session = onnxruntime.InferenceSession(
                contents[f"{form}.onnx"], options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # onnxruntime raises errors of several kinds
            reason = str(error).splitlines()[0]
            raise UsageError(f"{form}.onnx cannot be read: {reason}; it is damaged or foreign") from error
        found = {"inputs": _describe(session.get_inputs()), "outputs": _describe(session.get_outputs())}
        check_values(f"{form}.onnx", form, contract, found)
        sessions[form] = session
    names = [port["name"] for port in contract["outputs"]]

    def act(inputs: Arrays) -> Arrays:
        session = sessions[SAMPLED if "noise" in inputs else GREEDY]
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return act


def act_to_check(contents: dict[str, bytes], contract: dict[str, Any]) -> tuple[Act, str]:
    """Makes the function that acts, to be compared with the trained policy; and says what it runs on.

    Without onnxruntime it is the slow evaluator that comes with onnx.
    """
    if importlib.util.find_spec("onnxruntime") is not None:
        version = importlib.import_module("onnxruntime").__version__
        return read(contents, contract), f"onnxruntime {version}"
    onnx: Any = importlib.import_module("onnx")
    reference: Any = importlib.import_module("onnx.reference")
    evaluators = {
        form: reference.ReferenceEvaluator(onnx.load_from_string(contents[f"{form}.onnx"])) for form in FORMS
    }
    names = [port["name"] for port in contract["outputs"]]

    def act(inputs: Arrays) -> Arrays:
        evaluator = evaluators[SAMPLED if "noise" in inputs else GREEDY]
        return dict(zip(names, evaluator.run(names, dict(inputs)), strict=True))

    return act, f"the reference evaluator of onnx {onnx.__version__}"


def _describe(values: Any) -> dict[str, Any]:
    """Returns the dtypes and shapes of the inputs or outputs of a session, by name."""
    return {value.name: (_TYPES.get(value.type, value.type), value.shape) for value in values}
