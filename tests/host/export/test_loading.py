"""A loaded policy acts as the trained one, on single observations and batches, if need be without JAX."""

import subprocess
import sys

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm.evaluate import begin_play, play_step
from ppo_jax.host.export import formats, parity, writing
from ppo_jax.host.export.formats import FORMATS
from ppo_jax.host.export.options import ExportOptions
from ppo_jax.host.export.subject import make_subject
from ppo_jax.host.runs import agents, request
from ppo_jax.host.runs.directory import create
from ppo_jax.host.runs.request import Request
from tests.host.export import cases
from tests.support import variables

pytestmark = pytest.mark.usefixtures("toy")

KINDS = {
    "GRU": ("masked multi-discrete with a shared memory", True, ("numpy", "onnx", "stablehlo")),
    "MLP": ("MLP", False, ("numpy",)),
    "continuous": ("continuous", True, ("numpy",)),
}


@pytest.fixture(scope="module")
def exports(toy, tmp_path_factory):
    """Exports of policies, their subjects and samples, by the kind of policy."""
    place, made = tmp_path_factory.mktemp("exports"), {}
    for name, (kind, normalized, wanted) in KINDS.items():
        config = cases.config_of(kind, normalized)
        run = create(
            place / f"{name}-run", "label", request.to_json(Request(None, config, ppo_jax.Hyperparams(), 0))
        )
        agents.save(run, config, cases.agent_of(config))
        writing.export(run, ExportOptions(place / name, wanted))
        subject = make_subject(config, cases.agent_of(config))
        made[name] = place / name, subject, parity.gather(subject, seed=1)
    return made


@pytest.mark.parametrize("format", FORMATS)
def test_a_batch_and_its_rows_take_the_actions_of_the_trained_policy(exports, format):
    path, _, samples = exports["GRU"]
    policy = ppo_jax.load_policy(path, format)
    inputs, expected = samples.inputs, samples.expected["greedy"]
    some = slice(100, 105)
    action, state = policy.act(inputs["observation"][some], inputs["memory"][some], mask=inputs["mask"][some])
    assert np.array_equal(action, expected["action"][some])
    assert action.dtype == np.int32
    np.testing.assert_allclose(state, expected["next_memory"][some], atol=1e-6)
    for row in range(100, 105):
        action, state = policy.act(
            inputs["observation"][row], inputs["memory"][row], mask=inputs["mask"][row]
        )
        assert np.array_equal(action, expected["action"][row])
        np.testing.assert_allclose(state, expected["next_memory"][row], atol=1e-6)


@pytest.mark.parametrize("format", ["numpy", "stablehlo"])
def test_episodes_of_the_exported_policy_have_the_returns_of_the_trained_one(exports, format):
    """In the same environments, with the same random numbers, over several episodes each."""
    path, subject, _ = exports["GRU"]
    environment, network = subject.environment, subject.network
    policy = ppo_jax.load_policy(path, format)
    step_environment = jax.jit(lambda key, *rest: environment.step(environment.draw_one(8, key), *rest))
    trained_step = jax.jit(lambda play: play_step(environment, network, subject.agent, True, play))
    play = begin_play(environment, network, 8, jax.random.key(2))
    world, observation, key, state = play.state, play.observation, play.key, None
    returns = np.zeros((2, 8))
    for _ in range(40):
        play, time_step = trained_step(play)
        key, _, environment_key = jax.random.split(key, 3)
        mask = observation.legal_actions
        action, state = policy.act(observation.features, state, mask=mask)
        world, other = step_environment(environment_key, world, action)
        state = np.where(np.asarray(other.done)[:, None], 0, state)
        observation = other.observation
        returns += time_step.reward, other.reward
    assert np.array_equal(*returns)
    assert np.ptp(returns) > 1  # they are not all the same


def test_a_seed_repeats_its_actions_and_a_generator_goes_on(exports):
    path, _, samples = exports["MLP"]
    policy, observation = ppo_jax.load_policy(path), samples.inputs["observation"]
    first, _ = policy.act(observation, key=3)
    assert np.array_equal(policy.act(observation, key=3)[0], first)
    generator = np.random.default_rng(3)
    assert np.array_equal(policy.act(observation, key=generator)[0], first)
    assert not np.array_equal(policy.act(observation, key=generator)[0], first)
    greedy, _ = policy.act(observation)
    assert not np.array_equal(greedy, first)


def test_sampled_actions_are_as_frequent_as_they_are_probable(exports):
    path, _, samples = exports["MLP"]
    policy, generator = ppo_jax.load_policy(path), np.random.default_rng(0)
    logits = samples.expected["greedy"]["logits"].astype(np.float64)
    probable = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).mean(axis=0)
    actions = np.concatenate([policy.act(samples.inputs["observation"], key=generator)[0] for _ in range(20)])
    frequent = np.bincount(actions, minlength=3) / actions.size
    np.testing.assert_allclose(frequent, probable, atol=0.02)  # over five standard errors


def test_continuous_actions_are_within_their_bounds_and_differ_by_noise(exports):
    path, _, samples = exports["continuous"]
    policy, observation = ppo_jax.load_policy(path), samples.inputs["observation"]
    greedy, state = policy.act(observation)
    assert state is None
    sampled, _ = policy.act(observation, key=0)
    assert sampled.dtype == np.float32
    for action in (greedy, sampled):
        assert action[:, 0].min() >= -2
        assert action[:, 0].max() <= 3
    np.testing.assert_allclose(greedy, samples.expected["greedy"]["action"], rtol=1e-6, atol=1e-6)
    assert (sampled[:, 1] != greedy[:, 1]).all()


def test_the_contract_comes_with_the_policy(exports):
    path, _, _ = exports["GRU"]
    contract = ppo_jax.load_policy(path).contract
    assert [port["name"] for port in contract["inputs"]] == ["observation", "mask", "memory", "noise"]
    assert [port["name"] for port in contract["outputs"]] == ["action", "logits", "next_memory"]


BAD = [
    ("MLP", {"observation": np.zeros(4)}, r"shape \[4\]; give \[5\] or N of them"),
    ("MLP", {"observation": np.zeros((0, 5))}, r"shape \[0, 5\]"),
    ("MLP", {"observation": np.full(5, np.nan)}, "not finite"),
    ("MLP", {"observation": "five"}, "is a str, not an array of numbers"),
    ("MLP", {"observation": np.zeros(5), "state": np.zeros(3)}, "state is given, but this policy has none"),
    (
        "MLP",
        {"observation": np.zeros(5), "mask": np.ones(3, bool)},
        "mask is given, but this policy has none",
    ),
    ("MLP", {"observation": np.zeros(5), "key": "zero"}, "neither a seed nor a numpy.random.Generator"),
    ("MLP", {"observation": np.zeros(5), "key": -1}, "neither a seed nor a numpy.random.Generator"),
    ("GRU", {"observation": np.zeros(5)}, r"mask is missing: .* give \[7\] bool"),
    ("GRU", {"observation": np.zeros(5), "mask": np.ones(6, bool)}, r"mask has the shape \[6\]; give \[7\]"),
    (
        "GRU",
        {"observation": np.zeros((2, 5)), "mask": np.ones((2, 7), bool), "state": np.zeros(3)},
        r"state has the shape \[3\]; give \[2, 3\]",
    ),
]


@pytest.mark.parametrize(("kind", "arguments", "problem"), BAD)
def test_a_wrong_input_is_refused_with_the_rule(exports, kind, arguments, problem):
    policy = ppo_jax.load_policy(exports[kind][0])
    with pytest.raises(ppo_jax.UsageError, match=problem):
        policy.act(**arguments)


def test_what_is_no_export_is_refused(tmp_path):
    with pytest.raises(ppo_jax.UsageError, match="is not a directory; give one that `ppo-jax export` wrote"):
        ppo_jax.load_policy(tmp_path / "nothing")
    with pytest.raises(ppo_jax.UsageError, match="path = None is not a path"):
        ppo_jax.load_policy(None)


def test_the_numpy_form_imports_neither_jax_nor_flax(exports):
    program = (
        "import sys, numpy, ppo_jax\n"
        f"policy = ppo_jax.load_policy({str(exports['GRU'][0])!r})\n"
        "policy.act(numpy.zeros(5), key=0, mask=numpy.ones(7, bool))\n"
        "print(*{'jax', 'jaxlib', 'flax', 'gymnax', 'optax', 'onnx', 'onnxruntime'} & set(sys.modules))"
    )
    command = [sys.executable, "-W", "error", "-c", program]
    environment = variables.of_this_process()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_nothing_is_compiled_in_a_control_loop(exports, caplog):
    path, _, samples = exports["GRU"]
    policy = ppo_jax.load_policy(path, "stablehlo")
    inputs = {name: samples.inputs[name][0] for name in ("observation", "mask")}
    with jax.log_compiles(), caplog.at_level("WARNING"):
        _, state = policy.act(**inputs)
        policy.act(**inputs, state=state, key=0)
        assert not [one for one in caplog.messages if "ompil" in one]
        policy.act(samples.inputs["observation"][:3], mask=samples.inputs["mask"][:3])
        assert [one for one in caplog.messages if "ompil" in one]  # a batch of another size is compiled for


def test_every_format_has_a_file_of_its_own():
    for name in FORMATS:
        module = formats.module_of(name)
        assert all(callable(getattr(module, function)) for function in ("write", "read", "act_to_check"))
