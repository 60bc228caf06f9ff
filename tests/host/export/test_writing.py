"""An export is whole or not there, says what it is, and is the same from the command line and from Python."""

import dataclasses
import hashlib
import json
import re

import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import ppo_jax
from ppo_jax import registered
from ppo_jax.host.export import card, contract, formats, options, subject, writing
from ppo_jax.host.export.formats import FORMATS
from ppo_jax.host.export.options import ExportOptions
from ppo_jax.host.pictures import film
from ppo_jax.host.runs import agents, request
from ppo_jax.host.runs.directory import create
from ppo_jax.host.runs.request import Request
from tests.host.conftest import run_command
from tests.host.export import cases


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """An export of a trained run with a card, as the command writes it."""
    path = tmp_path_factory.mktemp("export") / "of-cartpole"
    with pytest.MonkeyPatch.context() as patch:  # drawing takes longer than all the rest
        patch.setattr(film, "draw", lambda played, output: output.write_bytes(f"GIF {played.steps}".encode()))
        assert run_command("export", trained.path, path, "--format", "numpy", "onnx", "--card") == 0
    return path


def contract_of(path):
    return json.loads((path / "contract.json").read_text())


def test_the_command_writes_what_it_says(exported, trained):
    found = contract_of(exported)
    assert sorted(path.name for path in exported.iterdir()) == sorted([*found["files"], "contract.json"])
    assert {*FORMATS["numpy"].files, *FORMATS["onnx"].files, "README.md", "episode.gif"} == {*found["files"]}
    for name, claim in found["files"].items():
        content = (exported / name).read_bytes()
        assert claim == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    asked = request.read(trained)
    assert found["run"]["digest"] == request.digest(asked)
    assert found["run"]["command"] == request.command(asked)
    assert (found["run"]["update"], found["run"]["env_steps"]) == (31, 31 * 128)
    assert found["environment"] == {"name": "CartPole-v1", "arguments": {}}
    assert found["action"]["n"] == 2
    assert found["memory"] is None
    assert found["observation"]["normalization"]["inside"] is False


def test_the_contract_has_the_largest_difference_and_the_results(exported, trained):
    found = contract_of(exported)
    for name in ("numpy", "onnx"):
        parity = found["formats"][name]["parity"]
        assert parity["observations"] == 1000
        assert 0 < parity["largest_difference"] <= parity["tolerance"] == FORMATS[name].tolerance
    assert "onnxruntime" in found["formats"]["onnx"]["parity"]["checked_with"]
    evaluated = json.loads(trained.summary.read_text())["evaluation"]
    (result,) = found["results"]
    assert (result["kind"], result["episodes"], result["mean"]) == ("greedy", 100, evaluated["mean"])
    low, high = result["interval_95"]
    assert low + high == pytest.approx(2 * evaluated["mean"])
    assert (high - low) / 2 == pytest.approx(1.96 * evaluated["std"] / np.sqrt(99))


def test_the_graphs_have_the_contract_but_for_the_files(exported):
    import onnx

    model = onnx.load(exported / "sampled.onnx")
    metadata = {one.key: one.value for one in model.metadata_props}
    whole = contract_of(exported)
    assert json.loads(metadata["ppo_jax_contract"]) == {
        name: x for name, x in whole.items() if name not in ("formats", "files")
    }
    assert [one.name for one in model.graph.input] == [port["name"] for port in whole["inputs"]]
    assert [one.name for one in model.graph.output] == [port["name"] for port in whole["outputs"]]


def test_the_card_is_what_hubs_read(exported):
    text = (exported / "README.md").read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert (head["library_name"], head["license"]) == ("ppo_jax", "unknown")
    assert {"reinforcement-learning", "CartPole-v1", "numpy", "onnx"} <= {*head["tags"]}
    (model,) = head["model-index"]
    (result,) = model["results"]
    assert result["task"]["type"] == "reinforcement-learning"
    assert result["dataset"]["type"] == "CartPole-v1"
    mean = contract_of(exported)["results"][0]["mean"]
    assert result["metrics"][0]["value"].startswith(f"{mean:.2f} +/- ")
    assert "![An episode of the policy](episode.gif)" in text
    assert int((exported / "episode.gif").read_text().removeprefix("GIF ")) > 100
    assert f"| greedy | 100 | {mean:.2f} [" in text
    assert contract_of(exported)["run"]["command"] in text
    assert "None" not in re.sub("```.*?```", "", text, flags=re.DOTALL)


def test_the_lines_of_the_card_load_the_policy(exported, monkeypatch):
    (lines,) = re.findall(r"```python\n(.*?)```", (exported / "README.md").read_text(), flags=re.DOTALL)
    scope = {"observation": np.zeros(4)}
    exec(lines.replace("the directory of this file", str(exported)), scope)
    assert scope["action"] in (0, 1)


def test_python_writes_the_same_bytes(exported, trained, tmp_path):
    path = ppo_jax.open_run(trained.path).export(tmp_path / "export", ["numpy", "onnx"])
    assert path == tmp_path / "export"
    for name in (*FORMATS["numpy"].files, *FORMATS["onnx"].files):
        assert (path / name).read_bytes() == (exported / name).read_bytes()


def test_nothing_is_ever_overwritten(exported, trained, tmp_path, capsys):
    before = {path: path.read_bytes() for path in exported.iterdir()}
    assert run_command("export", trained.path, exported) == 2
    assert "exists and is not an empty directory" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in exported.iterdir()} == before
    (tmp_path / "link").symlink_to(tmp_path)
    assert run_command("export", trained.path, tmp_path / "link") == 2


def test_every_mistake_is_found_at_once_and_without_jax(trained, tmp_path, monkeypatch):
    (tmp_path / "taken").write_text("")
    row = FORMATS["stablehlo"]._replace(writing=("no_such_module",))
    monkeypatch.setitem(formats.FORMATS, "stablehlo", row)
    with pytest.raises(ppo_jax.UsageError) as refused:
        options.check(trained, ExportOptions(tmp_path / "taken", ("stablehlo",), license="My own!"))
    missing, taken, license = refused.value.problems
    assert "needs no_such_module, which is not installed" in missing
    assert "pip install 'ppo-jax[stablehlo]'" in missing
    assert "exists" in taken
    assert "'My own!' is not an abbreviation" in license
    with pytest.raises(ppo_jax.UsageError, match="format = 'pickle' is unknown; choose from numpy"):
        options.check(trained, ExportOptions(tmp_path / "new", ("pickle",)))
    with pytest.raises(ppo_jax.UsageError, match="choose from numpy"):
        options.check(trained, ExportOptions(tmp_path / "new", ()))


def saved(path, config, agent):
    run = create(path, "label", request.to_json(Request(None, config, ppo_jax.Hyperparams(), seed=0)))
    agents.save(run, config, agent)
    return run


def test_a_policy_that_is_not_the_trained_one_leaves_nothing_behind(toy, tmp_path, monkeypatch):
    config = cases.config_of("MLP", False)
    run = saved(tmp_path / "run", config, cases.agent_of(config))
    original = subject.layers_of

    def wrong(*arguments):
        *layers, head = original(*arguments)
        last = layers[-1]
        return (
            *layers[:-1],
            last._replace(tensors={**last.tensors, "bias": last.tensors["bias"] + 1e-4}),
            head,
        )

    monkeypatch.setattr(subject, "layers_of", lambda *a: wrong(*a))
    with pytest.raises(ppo_jax.UsageError, match=r"in the format 'numpy' is not the trained one"):
        writing.export(run, ExportOptions(tmp_path / "export"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.long
def test_a_network_of_ones_own_is_exported_as_stablehlo_and_refused_elsewhere(toy, tmp_path, monkeypatch):
    from tests.support.own import networks

    monkeypatch.setattr(registered, "NETWORKS", {})
    ppo_jax.register_network("mine", networks.of_flax)
    config = dataclasses.replace(cases.config_of("continuous", True), network="mine")
    run = saved(tmp_path / "run", config, cases.agent_of(config))
    for name in ("numpy", "onnx"):
        with pytest.raises(ppo_jax.UsageError, match="give format = 'stablehlo', which takes any network"):
            writing.export(run, ExportOptions(tmp_path / "export", (name,)))
    found = writing.export(run, ExportOptions(tmp_path / "export", ("stablehlo",)))
    assert found["formats"]["stablehlo"]["parity"]["largest_difference"] <= 1e-6
    action, _ = ppo_jax.load_policy(tmp_path / "export").act(np.ones(5))
    assert action.shape == (2,)


def test_a_policy_trained_in_bfloat16_is_exported_in_float32_and_the_contract_says_so(toy, tmp_path):
    config = dataclasses.replace(cases.config_of("MLP", False), precision="bfloat16")
    run = saved(tmp_path / "run", config, cases.agent_of(config))
    found = writing.export(run, ExportOptions(tmp_path / "export"))
    assert found["precision"]["trained"] == "bfloat16"
    assert found["precision"]["exported"] == "float32"
    assert 1e-4 < found["precision"]["largest_difference"] < 0.1
    assert found["formats"]["numpy"]["parity"]["largest_difference"] <= 1e-6
    assert found["results"] == []  # it was never evaluated


def test_a_run_with_an_unchanged_preset_has_the_recorded_results(trained):
    asked = request.read(trained)
    untouched = asked.origin._replace(seed=3)
    (recorded,) = contract.results_of(create_empty(trained), untouched, False, None)
    assert recorded["kind"] == "recorded for the preset"
    assert recorded["seeds"] == 20
    text = "\n\n".join(card._results([recorded]))
    assert "has not been evaluated" in text
    assert "The same settings from 20 seeds" in text


def create_empty(run):
    return run._replace(path=run.path / "nothing")


@pytest.mark.long
def test_memory_that_is_not_zero_when_an_episode_begins_is_noticed(toy, tmp_path, monkeypatch):
    """A network made by hand may break what the contract promises; the comparison finds it."""
    config = cases.config_of("GRU", False)
    run = saved(tmp_path / "run", config, cases.agent_of(config))
    make = subject.network_for

    def forgetful(*arguments):
        network = make(*arguments)

        def apply(params, memory, observation, start):
            memory = {**memory, "actor": jnp.where(start[:, None], 1.0, memory["actor"])}
            return network.apply(params, memory, observation, start & False)

        return network._replace(apply=apply)

    monkeypatch.setattr(subject, "network_for", forgetful)
    with pytest.raises(ppo_jax.UsageError, match="a memory that is not zero when an episode begins"):
        writing.export(run, ExportOptions(tmp_path / "export"))
