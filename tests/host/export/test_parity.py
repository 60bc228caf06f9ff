"""An exported policy is the trained one, in every format, where this package is not installed."""

import subprocess
import sys

import jax
import numpy as np
import pytest

from ppo_jax.errors import UsageError
from ppo_jax.host.export import formats, parity
from ppo_jax.host.export.formats import FORMATS, as_onnx
from ppo_jax.host.export.subject import make_act, make_subject, ports_of
from tests.host.export import cases
from tests.support import variables

pytestmark = pytest.mark.usefixtures("toy")

FEW = [("masked multi-discrete with a shared memory", True), ("CNN", False), ("continuous", True)]
OTHERS = [case for case in cases.ALL if case not in FEW]

# Acts with every export in a directory, as somebody would who has never heard of this package.
STRANGER = """
import importlib.util, json, sys
from pathlib import Path
import numpy as np
import jax, onnx, onnxruntime
from jax import export

def numpy_acts(folder):
    spec = importlib.util.spec_from_file_location("policy", folder / "policy.py")
    policy = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(policy)
    layers = policy.load(folder)
    return lambda inputs: policy.act(layers, **inputs)

def onnx_acts(folder):
    def act(inputs):
        path = folder / ("sampled.onnx" if "noise" in inputs else "greedy.onnx")
        model = onnx.load(path)
        assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)], model.opset_import
        assert model.ir_version <= 8
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(path)
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs)))
    return act

def stablehlo_acts(folder):
    def act(inputs):
        path = folder / ("sampled.stablehlo" if "noise" in inputs else "greedy.stablehlo")
        exported = export.deserialize(bytearray(path.read_bytes()))
        assert set(exported.platforms) == {"cpu", "cuda", "tpu"}
        return exported.call(inputs)
    return act

for folder in map(Path, sys.argv[1:]):
    inputs = dict(np.load(folder / "inputs.npz"))
    greedy = {name: x for name, x in inputs.items() if name != "noise"}
    for name, make in (("numpy", numpy_acts), ("onnx", onnx_acts), ("stablehlo", stablehlo_acts)):
        act = make(folder)
        for form, given in (("greedy", greedy), ("sampled", inputs)):
            np.savez(folder / f"{name}-{form}.npz", **act(given))
assert "ppo_jax" not in sys.modules and "flax" not in sys.modules
"""


def exported(kinds, place):
    """What exported policies make of 1,000 observations in a process of its own, and the trained ones."""
    trained = {}
    for number, (kind, normalized) in enumerate(kinds):
        config = cases.config_of(kind, normalized)
        subject = make_subject(config, cases.agent_of(config))
        ports, samples = ports_of(subject), parity.gather(subject, seed=0)
        folder = place / str(number)
        folder.mkdir()
        for name in FORMATS:
            formats.module_of(name).write(subject, ports, {}, folder)
        np.savez(folder / "inputs.npz", **{key: x for key, x in samples.inputs.items() if x is not None})
        trained[kind, normalized] = folder, subject, samples
    command = [
        sys.executable,
        "-W",
        "error",
        "-c",
        STRANGER,
        *(str(folder) for folder, *_ in trained.values()),
    ]
    environment = variables.compiling_soon(1)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return trained


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    return exported(FEW, tmp_path_factory.mktemp("few"))


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    return exported(OTHERS, tmp_path_factory.mktemp("others"))


def assert_same(trained, name):
    """The outputs in the other process are those of the trained policy."""
    folder, _, samples = trained
    assert samples.inputs["observation"].shape[0] == 1000
    tolerance = 1e-5 if name == "onnx" else 1e-6
    assert FORMATS[name].tolerance == tolerance
    for form, expected in samples.expected.items():
        found = np.load(folder / f"{name}-{form}.npz")
        assert {key: found[key].shape for key in found} == {key: x.shape for key, x in expected.items()}
        for output, x in expected.items():
            if x.dtype == np.float32:
                assert parity.difference(x, found[output]) <= tolerance
            else:
                assert (x != found[output]).sum() <= 1  # where noise falls as good as between two actions


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", FEW, ids=str)
def test_an_exported_policy_is_the_trained_one_where_the_package_is_not(few, case, name):
    assert_same(few[case], name)


@pytest.mark.long
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_so_is_an_exported_policy_of_every_other_kind(others, case, name):
    assert_same(others[case], name)


@pytest.fixture(scope="module")
def compared():
    """A subject, its samples, and a function that acts as it does, but for what a test changes."""
    config = cases.config_of("masked multi-discrete with a shared memory", True)
    subject = make_subject(config, cases.agent_of(config))
    act = jax.jit(make_act(subject))
    return subject, parity.gather(subject, seed=0), lambda inputs: jax.device_get(act(dict(inputs)))


def test_samples_have_masks_memories_and_beginnings_of_episodes(compared):
    _, samples, _ = compared
    memory = samples.inputs["memory"]
    begins = (memory == 0).all(axis=1)
    assert begins[:8].all()
    assert 20 < begins.sum() < 400
    assert not samples.inputs["mask"].all()
    assert len(np.unique(samples.expected["sampled"]["action"], axis=0)) > 5
    # The policy meets what it remembers: the memory of a step is that after the step before.
    after = samples.expected["sampled"]["next_memory"][:-8]
    assert np.array_equal(memory[8:][~begins[8:]], after[~begins[8:]])


def test_the_policy_itself_passes_and_the_difference_is_told(compared):
    subject, samples, act = compared
    found = parity.check("numpy", act, subject, samples, 1e-6)
    assert found["observations"] == 1000
    assert 0 <= found["largest_difference"] <= 1e-6


CHANGES = {
    "logits that are a little too large": lambda inputs, outputs: {
        **outputs,
        "logits": outputs["logits"] * 1.00001,
    },
    "a logit that is not a number": lambda inputs, outputs: {**outputs, "logits": outputs["logits"] * np.nan},
    "a memory that is not a number": lambda inputs, outputs: {
        **outputs,
        "next_memory": outputs["next_memory"] * np.nan,
    },
    "another action": lambda inputs, outputs: {
        **outputs,
        "action": outputs["action"] ^ (np.arange(3) == 0).astype(np.int32),
    },
    "an action that there is not": lambda inputs, outputs: {**outputs, "action": outputs["action"] + 9},
    "a memory that stays": lambda inputs, outputs: {**outputs, "next_memory": inputs["memory"]},
    "actions of 64 bits": lambda inputs, outputs: {**outputs, "action": outputs["action"].astype(np.int64)},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_another_policy_is_refused(compared, change):
    subject, samples, act = compared
    with pytest.raises(UsageError, match="is not the trained one: over 1,000 observations,"):
        parity.check("numpy", lambda inputs: change(inputs, act(inputs)), subject, samples, 1e-6)


def test_without_onnxruntime_the_evaluator_of_onnx_compares(compared, tmp_path, monkeypatch):
    subject, samples, _ = compared
    ports = ports_of(subject)
    as_onnx.write(subject, ports, {}, tmp_path)
    monkeypatch.setattr(as_onnx.importlib.util, "find_spec", lambda name: None)
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    outputs = [{"name": port.name} for port in ports.outputs]
    act, with_what = as_onnx.act_to_check(contents, {"outputs": outputs})
    assert with_what.startswith("the reference evaluator of onnx")
    assert parity.check("onnx", act, subject, samples, 1e-5)["observations"] == 1000


def test_a_difference_is_relative_to_the_largest_output_of_an_observation_and_absolute_below_one():
    expected = np.array([[0.5, 0.0], [100.0, 1.0]], np.float32)
    assert parity.difference(expected, expected + np.float32([[0, 0.25], [0, 0]])) == 0.25
    assert parity.difference(expected, expected + np.float32([[0, 0], [0, 1]])) == pytest.approx(0.01)
    masked = np.array([[-1e30, 2.0]], np.float32)
    assert parity.difference(masked, np.array([[-1e30, 4.0]], np.float32)) == 1.0
    assert parity.difference(masked, np.array([[-1e29, 2.0]], np.float32)) == np.inf


@pytest.mark.long
def test_a_critic_leaves_no_trace(tmp_path):
    """Whatever the critic has learned, the files are the same."""
    config = cases.config_of("GRU", True)
    agent = cases.agent_of(config)
    other = agent._replace(params={**agent.params, "critic": cases.agent_of(config, seed=1).params["critic"]})
    written = []
    for number, one in enumerate((agent, other)):
        folder = tmp_path / str(number)
        folder.mkdir()
        subject = make_subject(config, one)
        for name in FORMATS:
            formats.module_of(name).write(subject, ports_of(subject), {}, folder)
        written.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert len(written[0]) == 7
    assert written[0] == written[1]
