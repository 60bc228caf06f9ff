"""Directories that are damaged or foreign are refused with the reason, and nothing in them is carried out."""

import hashlib
import json
import os
import pickle
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
import safetensors.numpy
from jax import export

import ppo_jax
from ppo_jax.host.export import formats, writing
from ppo_jax.host.export.formats import as_stablehlo
from ppo_jax.host.export.options import ExportOptions
from ppo_jax.host.runs import agents, request
from ppo_jax.host.runs.directory import create
from ppo_jax.host.runs.request import Request
from tests.host.export import cases

pytestmark = pytest.mark.usefixtures("toy")


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory):
    """A good export in all formats, of a policy with a memory, a mask and normalized observations."""
    place = tmp_path_factory.mktemp("whole")
    config = cases.config_of("masked multi-discrete with a shared memory", True)
    asked = Request(None, config, ppo_jax.Hyperparams(), seed=0)
    run = create(place / "run", "label", request.to_json(asked))
    agents.save(run, config, cases.agent_of(config))
    writing.export(run, ExportOptions(place / "export", ("numpy", "onnx", "stablehlo")))
    return place / "export"


@pytest.fixture
def exported(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "export")


def contract_of(exported):
    return json.loads((exported / "contract.json").read_text())


def rewrite(exported, **changes):
    content = {name: x for name, x in {**contract_of(exported), **changes}.items() if x is not None}
    (exported / "contract.json").write_text(json.dumps(content))


def put(exported, name, content):
    """Writes a file, and a contract that fits, as an attacker could."""
    (exported / name).write_bytes(content)
    claim = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    rewrite(exported, files={**contract_of(exported)["files"], name: claim})


def change_layers(exported, change):
    content = json.loads((exported / "policy.json").read_text())
    change(content["layers"])
    put(exported, "policy.json", json.dumps(content).encode())


def change_tensors(exported, change):
    tensors = safetensors.numpy.load_file(exported / "policy.safetensors")
    change(tensors)
    put(exported, "policy.safetensors", safetensors.numpy.save(tensors))


def set_port(exported, what, number, **changes):
    ports = contract_of(exported)[what]
    ports[number] |= changes
    rewrite(exported, **{what: ports})


class Harm:
    """What a pickle would do."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def link(path, target):
    path.unlink()
    path.symlink_to(target)


def name_a_file(exported, name):
    rewrite(exported, files={**contract_of(exported)["files"], name: {"bytes": 0, "sha256": "0" * 64}})


def claim(exported, **changes):
    files = contract_of(exported)["files"]
    files["policy.safetensors"] |= changes
    rewrite(exported, files=files)


def header(size, text=b"{}"):
    return size.to_bytes(8, "little") + text


def nest(exported):
    (exported / "contract.json").write_text('{"format":' * 100_000)


# What is done to an export, and a part of the reason for which it is refused.
DAMAGE = {
    "no contract": (lambda e: (e / "contract.json").unlink(), "has no contract.json"),
    "an empty contract": (lambda e: (e / "contract.json").write_text(""), "cannot be read as JSON"),
    "a contract that is nested deeply": (nest, "cannot be read as JSON"),
    "a contract that is a list": (lambda e: (e / "contract.json").write_text("[]"), "not a JSON object"),
    "a contract without an end": (lambda e: os.truncate(e / "contract.json", 2**40), "longer than"),
    "a contract that is a link": (lambda e: link(e / "contract.json", "/etc/passwd"), "is a link"),
    "a contract that is a pickle": (
        lambda e: (e / "contract.json").write_bytes(pickle.dumps(Harm())),
        "cannot be read as JSON",
    ),
    "a contract of something else": (lambda e: rewrite(e, format="a model"), "foreign"),
    "a newer contract": (
        lambda e: rewrite(e, version=2),
        "is of version 2, and this version of ppo-jax knows 1",
    ),
    "a version that is no number": (lambda e: rewrite(e, version="1"), "foreign or damaged"),
    "no formats": (lambda e: rewrite(e, formats={}), "does not say which formats"),
    "an unknown format": (lambda e: rewrite(e, formats={"pickle": {}}), "names the format 'pickle'"),
    "no inputs": (lambda e: rewrite(e, inputs=None), "does not list its inputs"),
    "an unknown input": (lambda e: set_port(e, "inputs", 1, name="reward"), "has inputs named"),
    "an unknown dtype": (lambda e: set_port(e, "outputs", 0, dtype="object"), "the dtype 'object'"),
    "a shape of fractions": (lambda e: set_port(e, "inputs", 0, shape=["N", 2.5]), "begins with 'N'"),
    "a shape that takes all memory": (
        lambda e: set_port(e, "inputs", 0, shape=["N", 10**9, 10**9]),
        "elements",
    ),
    "a missing file": (lambda e: (e / "greedy.onnx").unlink(), "is missing"),
    "a truncated file": (lambda e: os.truncate(e / "policy.safetensors", 100), "has 100 bytes"),
    "a flipped bit in a file": (lambda e: flip_a_bit(e / "policy.safetensors"), "its SHA-256"),
    "a flipped bit in a file of another format": (lambda e: flip_a_bit(e / "sampled.onnx"), "its SHA-256"),
    "changed Python": (lambda e: (e / "policy.py").write_text("import os"), "has 9 bytes"),
    "a file that is a link": (lambda e: link(e / "policy.safetensors", "/dev/zero"), "not a plain file"),
    "an absolute path": (lambda e: name_a_file(e, "/etc/passwd"), "names the file '/etc/passwd'"),
    "a path to the parent": (lambda e: name_a_file(e, "../secret"), "names the file '../secret'"),
    "a pickle among the files": (lambda e: put(e, "policy.pkl", pickle.dumps(Harm())), "'policy.pkl'"),
    "a file that is claimed to be huge": (lambda e: claim(e, bytes=2**40), "claims 1,099,511,627,776 bytes"),
    "a size that is negative": (lambda e: claim(e, bytes=-1), "does not give the size"),
    "a SHA-256 that is none": (lambda e: claim(e, sha256="none"), "does not give the size and the SHA-256"),
    "tensors that are a pickle": (
        lambda e: put(e, "policy.safetensors", pickle.dumps(Harm())),
        "cannot be read",
    ),
    "tensors with an endless header": (
        lambda e: put(e, "policy.safetensors", header(2**62)),
        "cannot be read",
    ),
    "a tensor with NaN": (
        lambda e: change_tensors(e, lambda t: t["dense_0/bias"].fill(np.nan)),
        "dense_0/bias is not finite",
    ),
    "a tensor of another shape": (
        lambda e: change_tensors(e, lambda t: t.update({"dense_0/bias": np.zeros(1, np.float32)})),
        "does not hold the tensors",
    ),
    "a tensor of 64 bits": (
        lambda e: change_tensors(e, lambda t: t.update({"dense_0/bias": np.zeros(8)})),
        "does not hold the tensors",
    ),
    "one more tensor": (
        lambda e: change_tensors(e, lambda t: t.update(more=np.zeros(1, np.float32))),
        "does not hold the tensors",
    ),
    "an unknown layer": (
        lambda e: change_layers(e, lambda layers: layers[2].update(kind="exec")),
        "it has the layer 'exec'",
    ),
    "layers in another order": (
        lambda e: change_layers(e, lambda layers: layers.insert(0, layers.pop(3))),
        "has tensors",
    ),
    "no layers": (lambda e: change_layers(e, lambda layers: layers.clear()), "its layers have the names"),
    "a last layer that is none": (
        lambda e: change_layers(e, lambda layers: layers[-1].update(kind="dense")),
        "its last layer is 'dense'",
    ),
    "a clip that is not a number": (
        lambda e: change_layers(e, lambda layers: layers[0]["constants"].update(clip="10")),
        "clips normalized observations",
    ),
    "layers without a memory": (
        lambda e: change_layers(e, lambda layers: layers.pop(-3)),
        "have a memory where the contract has none",
    ),
}


@pytest.mark.parametrize(("do_damage", "reason"), DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_or_foreign_export_is_refused_with_the_reason(exported, do_damage, reason, monkeypatch):
    assert ppo_jax.load_policy(exported).format == "numpy"
    do_damage(exported)
    monkeypatch.chdir(exported)
    with pytest.raises(ppo_jax.UsageError) as refused:
        ppo_jax.load_policy(exported)
    assert reason in str(refused.value)
    assert not (exported / "pwned").exists()


def test_there_are_thirty_and_more():
    assert len(DAMAGE) >= 30


FOREIGN = {
    "a pickle": (pickle.dumps(Harm()), "cannot be read"),
    "nothing": (b"", "cannot be read"),
}


@pytest.mark.parametrize("name", ["onnx", "stablehlo"])
@pytest.mark.parametrize(("content", "reason"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_file_of_another_format_that_is_foreign_is_refused(exported, name, content, reason, monkeypatch):
    monkeypatch.chdir(exported)
    put(exported, f"greedy.{name}", content)
    with pytest.raises(ppo_jax.UsageError, match=f"greedy.{name} {reason}"):
        ppo_jax.load_policy(exported, name)
    assert not (exported / "pwned").exists()


@pytest.mark.parametrize("name", ["onnx", "stablehlo"])
def test_a_graph_with_other_inputs_than_the_contract_is_refused(exported, name):
    put(exported, f"greedy.{name}", (exported / f"sampled.{name}").read_bytes())
    with pytest.raises(ppo_jax.UsageError, match=r"and the contract .* damaged or foreign"):
        ppo_jax.load_policy(exported, name)


def test_a_graph_of_onnx_that_names_another_file_is_refused(exported):
    secret = exported.parent / "secret"
    secret.write_bytes(bytes(1000))
    model = onnx.load(exported / "greedy.onnx")
    tensor = next(one for one in model.graph.initializer if one.name == "dense_0/bias")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=str(secret))
    put(exported, "greedy.onnx", model.SerializeToString())
    with pytest.raises(ppo_jax.UsageError, match=r"greedy.onnx cannot be read"):
        ppo_jax.load_policy(exported, "onnx")


def test_a_program_of_stablehlo_that_calls_something_outside_is_refused():
    made = export.export(jax.jit(jnp.linalg.cholesky))(np.eye(3, dtype=np.float32))
    with pytest.raises(ppo_jax.UsageError, match=r"greedy.stablehlo calls lapack_.*, which is outside"):
        as_stablehlo._check("greedy.stablehlo", made.mlir_module())


def test_a_graph_with_a_weight_that_is_not_a_number_is_refused(exported):
    model = onnx.load(exported / "sampled.onnx")
    tensor = next(one for one in model.graph.initializer if one.name == "dense_1/bias")
    tensor.raw_data = np.full(len(tensor.raw_data) // 4, np.nan, np.float32).tobytes()
    put(exported, "sampled.onnx", model.SerializeToString())
    with pytest.raises(ppo_jax.UsageError, match=r"'onnx' do not give finite"):
        ppo_jax.load_policy(exported, "onnx")


def test_a_format_that_an_export_does_not_have_is_named(exported):
    kept = {name: x for name, x in contract_of(exported)["files"].items() if name.startswith("policy.")}
    rewrite(exported, formats={"numpy": {}}, files=kept)
    with pytest.raises(ppo_jax.UsageError, match=r"'onnx' is not in .*, which has numpy"):
        ppo_jax.load_policy(exported, "onnx")
    with pytest.raises(ppo_jax.UsageError, match="choose from numpy, onnx, stablehlo"):
        ppo_jax.load_policy(exported, "pickle")


def test_a_library_that_is_missing_is_named_with_the_command(exported, monkeypatch):
    row = formats.FORMATS["onnx"]._replace(reading=("no_such_module",))
    monkeypatch.setitem(formats.FORMATS, "onnx", row)
    with pytest.raises(ppo_jax.UsageError, match=r"needs no_such_module.*pip install 'ppo-jax\[onnx\]'"):
        ppo_jax.load_policy(exported, "onnx")
