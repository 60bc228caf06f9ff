"""Known policies on disk: found in other runs, copied, verified, and never exchanged without a word."""

import dataclasses
import json
import re
import shutil

import numpy as np
import pytest

import ppo_jax
from ppo_jax import registered
from ppo_jax.algorithm.leaves import by_path
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import agents, known, origins, policy, request, verify
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from tests.host.conftest import run_command
from tests.support.agents import Config, init_agent

pytestmark = pytest.mark.usefixtures("compiled_once", "blank_pictures")

SMALL = {"num_envs": 2, "num_steps": 8, "num_epochs": 1, "num_minibatches": 1, "total_timesteps": 64}
CONFIG = Config("CartPole-v1", **SMALL, normalize_observations=True, normalize_rewards=True)
REWARDS = {"num_samples": 40, "mean": 0.5, "variance": 4.0}


@pytest.fixture(autouse=True)
def forgotten():
    """What one test has loaded or registered, the next one does not know."""
    yield
    registered.POLICIES.clear()


@pytest.fixture
def source(tmp_path):
    """A run that has ended, as far as its policy goes."""
    run = RunDirectory(tmp_path / "source")
    run.path.mkdir()
    request.write(run, Request(None, CONFIG, ppo_jax.Hyperparams(), seed=0))
    tensors = {path: np.asarray(x) for path, x in by_path(init_agent(CONFIG)).items()}
    policy.save(run, CONFIG, tensors, REWARDS)
    return run


def ask(source, **changes):
    config = dataclasses.replace(CONFIG, initial_policy=str(source.path), teacher=str(source.path), **changes)
    return origins.find(Request(None, config, ppo_jax.Hyperparams(), seed=0))


@pytest.fixture
def taken(source, tmp_path):
    """A run directory with copies, and its request."""
    run = RunDirectory(tmp_path / "run")
    asked, found = ask(source)
    run.path.mkdir()
    request.write(run, asked)
    known.keep(run, found)
    return run, asked


def test_a_copy_is_loaded_with_everything_that_was_saved(taken, source):
    run, asked = taken
    shutil.rmtree(source.path)  # it is not needed any more
    known.load(run, request.read(run), print)
    entered = registered.POLICIES[asked.config.teacher]
    assert (entered.config, entered.rewards, entered.is_own) == (CONFIG, REWARDS, False)
    for path, x in by_path(init_agent(CONFIG)).items():
        np.testing.assert_array_equal(entered.tensors[path], x)


def test_the_request_remembers_the_digests_and_one_without_policies_has_no_such_field(taken):
    run, asked = taken
    assert dict(asked.policies).keys() == {"initial_policy", "teacher"}
    assert request.read(run) == asked
    plain = Request(None, CONFIG, ppo_jax.Hyperparams(), seed=0)
    assert "policies" not in request.to_json(plain)
    digests = {request.digest(one) for one in (asked, plain, asked._replace(policies=asked.policies[:1]))}
    assert len(digests) == 3


def damage(run):
    content = (run.policies / "teacher" / "policy.safetensors").read_bytes()
    flipped = bytes([*content[:-1], content[-1] ^ 1])
    (run.policies / "teacher" / "policy.safetensors").write_bytes(flipped)


@pytest.mark.parametrize("harm", [damage, lambda run: shutil.rmtree(run.policies / "teacher")])
def test_a_damaged_copy_is_noticed_and_made_again_while_its_origin_is_as_it_was(taken, source, harm):
    run, asked = taken
    harm(run)
    with pytest.raises(UsageError, match="the copy of its teacher,"):
        known.load(run, asked, print)
    assert [finding for finding in verify.verify(run) if "teacher" in finding.problem]
    said = []
    origins.restore(run, asked, said.append)
    known.load(run, asked, said.append)
    assert len(said) == 1
    assert "it was made again from" in said[0]

    harm(run)
    agents.save(source, CONFIG, init_agent(CONFIG))  # without its rewards: another policy
    with pytest.raises(UsageError, match="has changed as well: put the files back"):
        origins.restore(run, asked, print)
    shutil.rmtree(source.path)
    with pytest.raises(UsageError, match=r"is of no help: .* is not a directory"):
        origins.restore(run, asked, print)


def test_a_run_is_not_continued_with_a_teacher_that_has_changed(taken, source):
    _, before = taken
    typed = before._replace(policies=())
    request.check_continuation(before, origins.find_again(typed, before))
    agents.save(source, CONFIG, init_agent(CONFIG))
    changed = origins.find_again(typed, before)
    with pytest.raises(UsageError, match=r"teacher = '.*' has changed since the run was started with it"):
        request.check_continuation(before, changed)
    shutil.rmtree(source.path)
    request.check_continuation(before, origins.find_again(typed, before))  # with the copies


def test_a_policy_registered_in_python_is_copied_too_and_another_of_that_name_is_refused(tmp_path):
    ppo_jax.register_policy("mine", CONFIG, init_agent(CONFIG))
    config = dataclasses.replace(CONFIG, teacher="mine")
    asked, found = origins.find(Request(None, config, ppo_jax.Hyperparams(), seed=0))
    run = RunDirectory(tmp_path)
    known.keep(run, found)
    known.load(run, asked, print)
    assert registered.POLICIES["mine"].is_own
    other = init_agent(CONFIG)
    other.params["log_std"] = np.zeros(2, np.float32)
    ppo_jax.register_policy("mine", CONFIG, other)
    with pytest.raises(
        UsageError, match="'mine' is registered in this process, but is not the policy of the run"
    ):
        known.load(run, asked, print)
    registered.POLICIES.clear()  # in another process, nobody knows it
    known.load(run, asked, print)
    assert "mine" in registered.POLICIES


def test_an_unknown_scale_of_rewards_is_said(source, tmp_path):
    agents.save(source, CONFIG, init_agent(CONFIG))
    asked, found = ask(source)
    run, said = RunDirectory(tmp_path / "run"), []
    known.keep(run, found)
    known.load(run, asked, said.append)
    assert len(said) == 1
    assert "does not tell how its rewards were scaled" in said[0]


def test_a_statistic_of_rewards_that_is_none_is_refused(source):
    description = json.loads(source.policy.read_text())
    for wrong in ({"mean": 1.0}, {**REWARDS, "variance": -1.0}, [1, 2, 3], {**REWARDS, "mean": "x"}):
        with pytest.raises(UsageError, match="is damaged: its rewards are"):
            policy.rewards_in(source.policy, {**description, "rewards": wrong})


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (["--initial-policy", "nowhere"], "initial_policy = 'nowhere': RUN = 'nowhere' is not a directory"),
        (["--teacher", "{half}"], "teacher = '.*half': '.*policy.json' is missing"),
        (["--initial-policy", "{source}", "--critic-warmup-updates", "900"], "leaves none of the .* updates"),
        (["--initial-parts", "actor"], "initial_parts = 'actor' has no effect"),
    ],
)
def test_the_command_line_refuses_what_is_not_there_and_makes_no_directory(
    source, tmp_path, capsys, flags, problem
):
    half = tmp_path / "half"
    half.mkdir()
    request.write(RunDirectory(half), Request(None, CONFIG, ppo_jax.Hyperparams(), seed=0))
    words = [word.format(half=half, source=source.path) for word in flags]
    assert run_command("train", *words, "--run-dir", tmp_path / "new") == 2
    assert re.search(problem, capsys.readouterr().err)
    assert not (tmp_path / "new").exists()


def test_a_policy_that_does_not_fit_is_refused_and_leaves_no_directory(source, tmp_path, capsys):
    status = run_command(
        "train", "--env", "Pendulum-v1", "--initial-policy", source.path, "--hidden-sizes", "8",
        "--normalize-observations", "--normalize-rewards", "--run-dir", tmp_path / "new", "--quiet",
    )  # fmt: skip
    assert status == 2
    assert "params/actor/params/Dense_0/kernel is [4, 8], not [3, 8]" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


# Whole runs

WHOLE = dataclasses.replace(
    CONFIG, critic_warmup_updates=1, env_args={"length": "0.5..1.0@32"}, total_timesteps=16 * 6
)
HYPER = ppo_jax.Hyperparams(teacher_coefficient=0.5, teacher_steps=64.0)


@pytest.mark.long
def test_a_run_that_is_resumed_without_its_teacher_has_the_bits_of_one_that_never_stopped(source, tmp_path):
    config = dataclasses.replace(WHOLE, initial_policy=str(source.path), teacher=str(source.path))
    whole = ppo_jax.run(config, HYPER, run_dir=tmp_path / "whole", quiet=True)
    with ppo_jax.start_run(config, HYPER, run_dir=tmp_path / "part", quiet=True) as training:
        training.advance()
    shutil.rmtree(source.path)
    registered.POLICIES.clear()
    assert run_command("resume", tmp_path / "part", "--quiet") == 0
    part = ppo_jax.open_run(tmp_path / "part")
    tensors = [run.path / "policy.safetensors" for run in (whole, part)]
    assert tensors[0].read_bytes() == tensors[1].read_bytes()
    for name in ("teacher_kl", "teacher_coefficient", "env_args_length"):
        np.testing.assert_array_equal(whole.metrics[name], part.metrics[name])
    np.testing.assert_allclose(whole.metrics["teacher_coefficient"], [0.5, 0.375, 0.25, 0.125, 0, 0])
    np.testing.assert_allclose(whole.metrics["env_args_length"], [0.5, 0.75, 1, 1, 1, 1])
    assert run_command("verify", tmp_path / "part") == 0
    assert json.loads((whole.path / "policy.json").read_text())["rewards"]["num_samples"] == 40 + 16 * 6
    assert run_command("evaluate", tmp_path / "part", "--episodes", "2", "--env-args", "length=0.7") == 0


@pytest.mark.long
def test_the_members_of_a_sweep_share_a_start_and_a_teacher_and_may_be_sources_themselves(source, tmp_path):
    config = dataclasses.replace(WHOLE, initial_policy=str(source.path), teacher=str(source.path))
    points = ppo_jax.grid({"teacher_coefficient": [0.0, 1.0]})
    sweep = ppo_jax.run_sweep(config, points, 2, HYPER, run_dir=tmp_path / "sweep", quiet=True)
    registered.POLICIES.clear()
    member = sweep.member(3)
    alone = ppo_jax.run(
        config, HYPER._replace(teacher_coefficient=1.0), seed=1, run_dir=tmp_path / "alone", quiet=True
    )
    np.testing.assert_array_equal(member.metrics["teacher_kl"], alone.metrics["teacher_kl"])
    assert (member.path / "policy.safetensors").read_bytes() == (
        alone.path / "policy.safetensors"
    ).read_bytes()
    assert run_command("resume", member.path, "--total-timesteps", "128", "--quiet") == 0
    further = dataclasses.replace(CONFIG, initial_policy=str(sweep.path / "members" / "2"))
    last = ppo_jax.run(further, ppo_jax.Hyperparams(), run_dir=tmp_path / "last", quiet=True)
    assert last.summary["status"] == "done"
