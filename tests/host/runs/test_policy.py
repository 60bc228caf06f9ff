import dataclasses
import json
import shutil
from functools import partial

import jax
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm.agent import act
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.algorithm.normalization import init_observation_statistics
from ppo_jax.algorithm.train import agent_of
from ppo_jax.envs.make import make_environment
from ppo_jax.host.programs import chunks, evaluation
from ppo_jax.host.runs import agents, policy
from ppo_jax.host.runs.directory import RunDirectory, create
from ppo_jax.host.runs.files import read_json
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import network_for
from tests.host.conftest import EVERYTHING
from tests.support.bits import digest, python

SHAPES = {
    "a plain one": {},
    "normalized observations": {"normalize_observations": True},
    "shared, normalized and with a memory": {
        "shared_torso": True,
        "normalize_observations": True,
        "memory_size": 3,
    },
    "continuous actions": {"env": "Pendulum-v1"},
}


@pytest.fixture
def copy(trained, tmp_path) -> RunDirectory:
    return RunDirectory(shutil.copytree(trained.path, tmp_path / "copy"))


def _save(path, config, agent):
    run = create(path, "label", {})
    agents.save(run, config, agent)
    return run


@pytest.mark.parametrize("choices", SHAPES.values(), ids=SHAPES.keys())
def test_a_saved_policy_comes_back_bit_for_bit(tmp_path, choices):
    config = ppo_jax.Config(hidden_sizes=(8,), **choices)
    init = jax.jit(ppo_jax.make_ppo(config).init)
    agent = agent_of(init(ppo_jax.Hyperparams(), jax.random.key(0)))
    loaded_config, restored = agents.load(_save(tmp_path / "run", config, agent))
    assert loaded_config == config
    jax.tree.map(np.testing.assert_array_equal, restored, agent)
    assert jax.tree.structure(restored) == jax.tree.structure(agent)


NORMALIZING = EVERYTHING.config
OBSERVATIONS = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


def played(agent):
    """Logits and greedy actions for some observations, and the returns of ten greedy episodes."""
    environment = make_environment(NORMALIZING.env)
    network = network_for(NORMALIZING, environment, make_network)

    @jax.jit
    def choose(agent, observation):
        start = np.ones(len(observation), bool)
        _, prediction = act(network, agent, network.init_memory(len(observation)), observation, start)
        return prediction.policy.logits, prediction.policy.mode()

    evaluate = jax.jit(partial(ppo_jax.evaluate, NORMALIZING, num_episodes=10))
    episodes = evaluate(jax.random.key(1), agent.params, statistics=agent.statistics)
    return *choose(agent, OBSERVATIONS), episodes


@pytest.fixture(scope="module")
def normalizing():
    """The state of a training with normalized observations, as it is in memory."""
    program = chunks.compile_program(NORMALIZING, EVERYTHING.hyper)
    hyper = EVERYTHING.hyper._replace(learning_rate=1e-2)
    state, _ = chunks.begin(program, hyper, seed=0)
    training = chunks.Training(program, NORMALIZING, hyper, state)
    while training.update < 4:
        training.advance(until=4)
    return agent_of(training.state)


def test_a_policy_with_normalized_observations_acts_in_a_new_process_as_in_its_training(
    tmp_path, normalizing
):
    run = _save(tmp_path / "run", NORMALIZING, normalizing)
    program = f"""
from pathlib import Path
from ppo_jax.host.runs import agents
from ppo_jax.host.runs.directory import RunDirectory
from tests.host.runs.test_policy import played
from tests.host.conftest import EVERYTHING
from tests.support.bits import digest
_, agent = agents.load(RunDirectory(Path({str(run.path)!r})))
print(digest(played(agent)))
"""
    assert python(program, timeout=240) == digest(played(normalizing))


def test_the_statistics_are_a_part_of_what_is_saved(normalizing):
    """Without them the policy would choose otherwise, so that the test above can tell."""
    assert int(normalizing.statistics.num_samples) == 4 * 256
    names = {name for name in by_path(normalizing) if name.startswith("statistics/")}
    assert names == {"statistics/num_samples", "statistics/mean", "statistics/variance"}
    blank = normalizing._replace(statistics=init_observation_statistics(OBSERVATIONS))
    mine, other = played(normalizing), played(blank)
    assert (mine[1] != other[1]).any()
    assert digest(mine[2]) != digest(other[2])


def test_the_restored_policy_repeats_the_evaluation_of_the_training(trained):
    config, agent = agents.load(trained)
    recorded = read_json(trained.summary)["evaluation"]
    again = evaluation.run(config, agent, recorded["episodes"], recorded["greedy"], recorded["seed"])
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
    "an older version": _edit(version=1),
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
    tensors.pop("params/actor/params/Dense_0/kernel")
    with pytest.raises(ppo_jax.UsageError, match="Dense_0/kernel"):
        agents.restore(config, tensors)


def test_a_policy_without_the_statistics_that_its_config_asks_for_is_refused(copy):
    config, tensors = policy.load(copy)
    with pytest.raises(ppo_jax.UsageError, match="statistics/mean"):
        agents.restore(dataclasses.replace(config, normalize_observations=True), tensors)


def _summarize(run, **fields):
    run.summary.write_text(json.dumps(read_json(run.summary) | fields))


LATER = {
    "the run went on, and was killed": lambda run: _summarize(run, updates=1),
    "the run failed later": lambda run: _summarize(run, status="failed"),
    "the summary was lost": lambda run: run.summary.unlink(),
    "there is no policy": lambda run: run.policy.unlink(),
    "the summary is damaged": lambda run: _summarize(run, updates="many"),
}


@pytest.mark.parametrize("change", LATER.values(), ids=LATER)
def test_a_policy_is_the_newest_only_if_nothing_was_saved_after_it(copy, change):
    assert policy.is_newest(copy)
    change(copy)
    assert not policy.is_newest(copy)
