"""The StableHLO form: the compiled function of JAX, for CPU, GPU and TPU, for any network.

JAX reads such a file for about six months after its own release. It is for running, not for keeping.
"""

import re
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

from ppo_jax.errors import UsageError, explained
from ppo_jax.host.export.formats import FORMS, GREEDY, SAMPLED, Act, Arrays, check_values
from ppo_jax.host.export.subject import Ports, Subject, make_act, spec_of

PLATFORMS = ("cpu", "cuda", "tpu")
# The functions outside of the program that one of ours calls: a check of shapes, which JAX itself answers.
ALLOWED_CALLS = {"shape_assertion"}
OPERATIONS = ("infeed", "outfeed", "send", "recv")  # that reach outside of the program


def write(subject: Subject, ports: Ports, contract: dict[str, Any], folder: Path) -> None:
    """Writes both functions.

    Args:
        subject: The policy.
        ports: Its inputs and outputs.
        contract: Its contract, which is not needed.
        folder: The directory to write to.

    Raises:
        UsageError: If the user's own network depends on the size of the batch.
    """
    del contract
    (size,) = export.symbolic_shape("N")
    for form in FORMS:
        inputs = {port.name: spec_of(port, size) for port in ports.inputs if form in port.forms}
        with explained("exporting the network for any size of the batch"):
            exported = export.export(jax.jit(make_act(subject)), platforms=PLATFORMS)(inputs)
        (folder / f"{form}.stablehlo").write_bytes(exported.serialize())


def read(contents: dict[str, bytes], contract: dict[str, Any]) -> Act:
    """Makes the function that acts, and compiles it for single observations.

    Args:
        contents: The files by name.
        contract: The contract.

    Raises:
        UsageError: If a file cannot be read, has other inputs and outputs than the contract, or calls
            anything outside of itself.
    """
    functions = {}
    for form in FORMS:
        name = f"{form}.stablehlo"
        try:
            exported = export.deserialize(bytearray(contents[name]))
            given = exported.in_tree.unflatten(exported.in_avals)[0][0]
            returned = exported.out_tree.unflatten(exported.out_avals)
            _check(name, exported.mlir_module())
            found = {"inputs": _describe(given), "outputs": _describe(returned)}
            check_values(name, form, contract, found)
        except UsageError:
            raise
        except Exception as error:  # a foreign file may raise anything
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise UsageError(f"{name} cannot be read: {reason}; it is damaged, foreign or too old") from error
        functions[form] = jax.jit(exported.call)
        first = {key: np.zeros((1, *x.shape[1:]), x.dtype) for key, x in given.items()}
        functions[form](first)

    def act(inputs: Arrays) -> Arrays:
        outputs = functions[SAMPLED if "noise" in inputs else GREEDY](dict(inputs))
        return {name: np.asarray(x) for name, x in outputs.items()}

    return act


def act_to_check(contents: dict[str, bytes], contract: dict[str, Any]) -> tuple[Act, str]:
    """Makes the function that acts, to be compared with the trained policy; and says what it runs on."""
    return read(contents, contract), f"jax {jax.__version__} on {jax.default_backend()}"


def _check(name: str, module: str) -> None:
    """Makes sure that a program calls nothing outside of itself.

    Raises:
        UsageError: If it does.
    """
    called = re.findall(r'custom_call\s+@"?([^"(\s]+)|call_target_name\s*=\s*"([^"]*)"', module)
    outside = sorted({one or other for one, other in called} - ALLOWED_CALLS)
    outside += [operation for operation in OPERATIONS if re.search(rf"stablehlo\.{operation}\b", module)]
    if outside:
        raise UsageError(f"{name} calls {', '.join(outside)}, which is outside of the program: it is foreign")


def _describe(values: dict[str, Any]) -> dict[str, Any]:
    """Returns the dtypes and shapes of inputs or outputs, by name."""
    return {name: (str(x.dtype), ["N", *x.shape[1:]]) for name, x in values.items()}
