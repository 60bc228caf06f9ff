"""Run directories that version 0.1.0 wrote still evaluate, report, verify and resume.

`tests/support/runs_of_0_1_0` holds a run that was trained to its end, one that SIGTERM stopped halfway, and
what version 0.1.0 itself (commit 69f681b) made of the second when it resumed a copy. All have a memory,
normalized observations and rewards, an adapted learning rate and two schedules, so that everything is in
their states. Their pictures were left out.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from ppo_jax.host.pictures import plots
from ppo_jax.host.programs import chunks, evaluation
from ppo_jax.host.report import page
from ppo_jax.host.runs import agents, records, request, verify
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.training import start
from tests.host.conftest import changed

pytestmark = pytest.mark.usefixtures("blank_pictures")

WRITTEN = Path(__file__).parents[2] / "support" / "runs_of_0_1_0"
RESUMED = WRITTEN / "resumed"
# Where these runs were made, the numbers agree to the bit. Another processor or version of XLA rounds
# otherwise: with AVX2 instead of AVX-512 and with jax 0.11 they differed by at most 5e-5 after 20 updates.
TOLERANCE = 1e-3


@pytest.fixture(params=["trained", "half"])
def run(request, tmp_path):
    return copy_of(request.param, tmp_path)


def copy_of(name, tmp_path):
    return RunDirectory(shutil.copytree(WRITTEN / name, tmp_path / name))


def test_every_file_is_found_whole(run):
    findings = verify.verify(run)
    assert not [finding for finding in findings if finding.problem]
    assert {finding.path.name for finding in findings} >= {
        *("config.json", "metrics.jsonl", "summary.json", "policy.json", "0000000020")
    }


def test_its_request_is_read_as_it_was_asked(run):
    asked = request.read(run)
    written = read_json(run.config)
    # Of these there was none yet.
    written["config"] |= {"env_args": {}, "network": None, "shuffle_groups": 1, "critic_warmup_updates": 0}
    written["config"] |= {"initial_policy": None, "initial_parts": "both"}
    written["config"] |= {"teacher": None, "teacher_sees": "actor"}
    written["hyper"] |= {"teacher_coefficient": 1.0, "teacher_steps": "inf"}
    now = {"sources": [], "written_by": f"ppo-jax {version('ppo-jax')}"}
    assert json.loads(json.dumps(request.to_json(asked))) == {**written, **now}
    assert (asked.preset, asked.seed, asked.config.memory_size) == ("CartPole-v1", 3, 4)
    assert request.digest(asked) == directories.find_best(run.checkpoints).manifest.run_digest
    assert records.read(run)["update"].tolist() == list(range(1, 21))


def test_its_agent_repeats_the_evaluation_that_was_recorded(tmp_path):
    run = copy_of("trained", tmp_path)
    config, agent = agents.load(run)
    recorded = read_json(run.summary)["evaluation"]
    again = evaluation.run(config, agent, recorded["episodes"], recorded["greedy"], recorded["seed"])
    assert again.episodes == recorded["episodes"]
    assert again.mean == pytest.approx(recorded["mean"], rel=0.02)  # of 17,505 actions, one might be another


def test_its_best_checkpoint_holds_the_agent_that_was_saved_as_its_policy(run):
    """In both runs it is the newest one."""
    config, agent = agents.load(run)
    same_config, best = agents.load(run, best=True)
    assert config == same_config
    jax.tree.map(np.testing.assert_array_equal, best, agent)


def test_it_can_be_drawn_and_reported(run):
    assert plots.draw([run]).read_bytes().startswith(b"\x89PNG")
    html = page.report(run).read_text()
    for text in ("CartPole-v1", "memory_size", "0.1.0"):
        assert text in html


@pytest.mark.long
def test_a_run_that_was_stopped_resumes_to_what_version_0_1_0_made_of_it(tmp_path, monkeypatch):
    # Compiled as it was then: other options round differently, and in the end another action is sampled.
    monkeypatch.setattr(chunks, "compiler_options", lambda: chunks.CPU_OPTIONS)
    run = copy_of("half", tmp_path)
    assert start.run(request.read(run), run.path, resume=True, quiet=True) == 0
    assert not [finding for finding in verify.verify(run) if finding.problem]
    found, expected = records.read(run), records.read(RunDirectory(RESUMED))
    assert found.keys() == expected.keys()
    for name in found.keys() - {"seconds"}:
        np.testing.assert_allclose(found[name], expected[name], rtol=TOLERANCE, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(found[name][:20], expected[name][:20])  # written by version 0.1.0
    tensors, as_expected = load_file(run.tensors), load_file(RunDirectory(RESUMED).tensors)
    assert tensors.keys() == as_expected.keys()
    for name, tensor in tensors.items():
        np.testing.assert_allclose(tensor, as_expected[name], rtol=TOLERANCE, atol=1e-4, err_msg=name)
    rows = [json.loads(line) for line in run.evaluations.read_text().splitlines()]
    assert [row["update"] for row in rows] == [10, 20, 30, 40]
    assert read_json(run.summary)["status"] == "done"


def test_a_run_that_was_trained_to_its_end_can_be_trained_for_longer(tmp_path):
    run = copy_of("trained", tmp_path)
    before = run.metrics.read_bytes()
    assert start.run(request.read(run), run.path, resume=True, quiet=True) == 0  # complete: nothing is done
    assert run.metrics.read_bytes() == before
    longer = changed(request.read(run), total_timesteps=22 * 256)
    assert start.run(longer, run.path, resume=True, quiet=True) == 0
    assert run.metrics.read_bytes().startswith(before)
    assert records.read(run)["update"].tolist() == list(range(1, 23))
