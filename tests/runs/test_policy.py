import json
import shutil

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.networks import flatten, unflatten
from ppo_jax.runs import evaluation, policy
from ppo_jax.runs.directory import RunDirectory, create, read_json


@pytest.fixture
def copy(trained, tmp_path) -> RunDirectory:
    return RunDirectory(shutil.copytree(trained.path, tmp_path / "copy"))


def test_a_saved_policy_comes_back_bit_for_bit(tmp_path):
    config = ppo_jax.Config(hidden_sizes=(8,))
    key = jax.random.key(0)
    params = ppo_jax.make_ppo(config).init(ppo_jax.Hyperparams(), key).learner.params
    run = create(tmp_path / "run", "label")
    policy.save(run, config, jax.device_get(flatten(params)))
    loaded_config, tensors = policy.load(run)
    assert loaded_config == config
    jax.tree.map(np.testing.assert_array_equal, unflatten(tensors), params)


def test_the_restored_policy_repeats_the_evaluation_of_the_training(trained):
    config, tensors = policy.load(trained)
    params = evaluation.restore(config, tensors)
    recorded = read_json(trained.summary)["evaluation"]
    again = evaluation.run(config, params, recorded["episodes"], recorded["greedy"], recorded["seed"])
    assert again._asdict() == recorded


def _truncate(run):
    run.tensors.write_bytes(run.tensors.read_bytes()[:-100])


def _claim_a_trillion_elements(run):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    run.tensors.write_bytes(len(header).to_bytes(8, "little") + header)


def _poison(run):
    config, tensors = policy.load(run)
    name = next(iter(tensors))
    policy.save(run, config, tensors | {name: np.full_like(tensors[name], np.nan)})


def _edit(**fields):
    def edit(run):
        run.policy.write_text(json.dumps(read_json(run.policy) | fields))

    return edit


BROKEN = {
    "no tensors": lambda run: run.tensors.unlink(),
    "empty tensors": lambda run: run.tensors.write_bytes(b""),
    "not tensors": lambda run: run.tensors.write_bytes(b"\x80\x04pickle" * 99),
    "truncated": _truncate,
    "a trillion elements": _claim_a_trillion_elements,
    "not finite": _poison,
    "no description": lambda run: run.policy.unlink(),
    "description not JSON": lambda run: run.policy.write_text("{"),
    "description too deep": lambda run: run.policy.write_text("[" * 100_000),
    "description a list": lambda run: run.policy.write_text("[]"),
    "description binary": lambda run: run.policy.write_bytes(b"\xff\xfe\x00"),
    "another format": _edit(format="something else"),
    "another version": _edit(version=99),
    "config missing": _edit(config=None),
    "config unknown field": _edit(config={"colour": "red"}),
    "config invalid": _edit(config={"num_envs": -1}),
    "tensors of another run": _edit(tensors={}),
}


@pytest.mark.parametrize("damage", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_policy_is_refused_with_its_path(copy, damage):
    damage(copy)
    with pytest.raises(ppo_jax.UsageError, match="copy/policy"):
        policy.load(copy)


def test_tensors_that_do_not_fit_the_network_are_refused(copy):
    config, tensors = policy.load(copy)
    tensors.pop("actor/params/Dense_0/kernel")
    with pytest.raises(ppo_jax.UsageError, match="Dense_0/kernel"):
        evaluation.restore(config, tensors)
