import json
import math
import shlex

import pytest

import ppo_jax
from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.runs import request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.runs.written import NewerError
from tests.host.conftest import EVERYTHING, SMALL, changed

OPTIONS = RunOptions(
    checkpoint_every=5, keep=1, evaluate_every=7, on_nonfinite="rewind", log_to=("wandb", "tensorboard")
)
PRESET = Request("CartPole-v1", *presets.preset("CartPole-v1"), seed=0)
REQUESTS = {
    "a preset": PRESET,
    "a preset with changes": changed(SMALL, seed=7, max_grad_norm=math.inf, target_kl=0.02),
    "defaults": Request(preset=None, config=Config(), hyper=Hyperparams(), seed=2**32 - 1),
    "everything": EVERYTHING._replace(options=OPTIONS),
}
REQUEST = pytest.mark.parametrize("asked", REQUESTS.values(), ids=REQUESTS)


@REQUEST
def test_a_request_is_read_as_it_was_written(tmp_path, asked):
    run = RunDirectory(tmp_path)
    request.write(run, asked)
    assert request.read(run) == asked
    content = request.to_json(asked)
    assert request.from_json(json.loads(json.dumps(content, allow_nan=False))) == asked


@REQUEST
def test_a_request_without_options_reads_as_one_with_the_defaults(asked):
    """The first runs had none in their config.json."""
    content = request.to_json(asked)
    del content["options"]
    assert request.from_json(content) == asked._replace(options=RunOptions())


def test_options_that_are_missing_have_their_defaults():
    content = {**request.to_json(PRESET), "options": {"keep": 9}}
    assert request.from_json(content).options == RunOptions(keep=9)


DAMAGES = {
    "no preset": lambda content: content.pop("preset"),
    "an unknown preset": lambda content: content.update(preset="../../etc"),
    "no config": lambda content: content.pop("config"),
    "a config that is a list": lambda content: content.update(config=["env", 3]),
    "a config that is not valid": lambda content: content["config"].update(num_envs=0),
    "no hyperparameters": lambda content: content.pop("hyper"),
    "hyperparameters that are a list": lambda content: content.update(hyper=[1]),
    "a hyperparameter that is not valid": lambda content: content["hyper"].update(gamma=2.0),
    "a hyperparameter of a wrong type": lambda content: content["hyper"].update(gamma={"a": []}),
    "no seed": lambda content: content.pop("seed"),
    "a seed that is a word": lambda content: content.update(seed="zero"),
    "a seed below 0": lambda content: content.update(seed=-1),
    "options that are a number": lambda content: content.update(options=7),
    "options that are not valid": lambda content: content["options"].update(keep=0),
    "a number of checkpoints that is a word": lambda content: content["options"].update(keep="three"),
    "no number of checkpoints": lambda content: content["options"].update(keep=None),
    "half an update": lambda content: content["options"].update(checkpoint_every=0.5),
    "evaluations before the start": lambda content: content["options"].update(evaluate_every=-1),
    "an unknown choice": lambda content: content["options"].update(on_nonfinite="hope"),
    "a sink without a name": lambda content: content["options"].update(log_to=[7]),
    "a sink that is a number": lambda content: content["options"].update(log_to=3),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_what_is_not_a_valid_request_is_damaged(damage):
    content = request.to_json(PRESET)
    damage(content)
    with pytest.raises(
        ppo_jax.UsageError, match=r"^config\.json does not say what to train: .*; it is damaged$"
    ):
        request.from_json(content)


@pytest.mark.parametrize(
    ("writer", "fix"),
    [
        ({}, "does not know; correct the name"),
        (
            {"written_by": "ppo-jax 9.9"},
            r"does not know; it was .* 9\.9: install that version",
        ),
        ({"written_by": None}, "it was written by a version that did not record its name"),
    ],
)
@pytest.mark.parametrize("section", ["config", "hyper", "options"])
def test_a_field_of_another_version_is_named(section, writer, fix):
    content = {**request.to_json(PRESET), **writer}
    if content["written_by"] is None:
        del content["written_by"]
    content[section]["colour"] = "red"
    with pytest.raises(NewerError, match=rf"^config\.json has {section}\.colour, .*{fix}"):
        request.from_json(content)


def test_the_digest_is_that_of_version_0_1_0():
    """Checkpoints carry it: with another one, no run from before could be resumed."""
    assert request.digest(PRESET) == "185da299630bfdeb1d677b25572168a9fef38a987beb80e6c2399a6bb8d7c236"


def test_the_digest_tells_what_decides_the_result_from_what_does_not():
    digest = request.digest(EVERYTHING)
    assert digest == request.digest(changed(EVERYTHING, total_timesteps=32_000))
    assert digest == request.digest(EVERYTHING._replace(options=OPTIONS))
    assert digest == request.digest(EVERYTHING._replace(preset="CartPole-v1"))  # where the values came from
    others = {
        request.digest(changed(EVERYTHING, **{name: value}))
        for name, value in {"seed": 4, "gamma": 0.5, "num_epochs": 3, "max_grad_norm": math.inf}.items()
    }
    assert len(others - {digest}) == 4


def test_a_run_may_continue_as_what_it_was_or_for_longer():
    request.check_continuation(SMALL, SMALL)
    request.check_continuation(SMALL, changed(SMALL, total_timesteps=8000, keep=9, on_nonfinite="rewind"))
    with pytest.raises(ppo_jax.UsageError) as caught:
        request.check_continuation(
            SMALL, changed(SMALL, total_timesteps=3999, gamma=0.5, num_epochs=3, seed=1)
        )
    assert [problem.split(" = ")[0] for problem in caught.value.problems] == [
        *("seed", "num_epochs", "gamma", "total_timesteps")
    ]
    assert "num_epochs = 3, but the run was started with 2; give the same" in caught.value.problems[1]


def test_every_mistake_of_config_hyperparameters_options_and_seed_is_reported_at_once():
    request.check(SMALL)
    with pytest.raises(ppo_jax.UsageError) as caught:
        request.check(changed(SMALL, seed=2**32, keep=0, num_envs=0, gamma=1.5))
    assert len(caught.value.problems) == 4


@REQUEST
def test_the_command_repeats_the_request(asked):
    """It is read here as the command line reads it."""
    from ppo_jax.cli.program import parse

    program, *arguments = shlex.split(request.command(asked))
    assert program == "ppo-jax"
    given = parse(arguments)
    repeated = Request(given.preset, given.config, given.hyper, given.seed, given.options)
    assert repeated._replace(preset=None) == asked._replace(preset=None)


@pytest.mark.parametrize(
    ("asked", "command"),
    [
        (PRESET, "ppo-jax train --preset CartPole-v1 --seed 0"),
        (
            SMALL,
            "ppo-jax train --preset CartPole-v1 --num-envs 4 --total-timesteps 4000 --num-epochs 2 --seed 0",
        ),
        (
            changed(PRESET, normalize_advantages=False, normalize_rewards=True, hidden_sizes=(8, 4), keep=1),
            "ppo-jax train --preset CartPole-v1 --hidden-sizes 8 4 --no-normalize-advantages "
            "--normalize-rewards --keep 1 --seed 0",
        ),
        (
            changed(PRESET, max_grad_norm=math.inf, log_to=("wandb", "trackio")),
            "ppo-jax train --preset CartPole-v1 --max-grad-norm inf --log-to wandb trackio --seed 0",
        ),
        (
            Request(preset=None, config=Config(env="Catch-bsuite"), hyper=Hyperparams(), seed=3),
            "ppo-jax train --preset Catch-bsuite",
        ),
        (
            Request(None, Config(env="gymnasium:LunarLander-v3"), Hyperparams(), seed=0),
            "ppo-jax train --preset gymnasium-LunarLander-v3",
        ),
    ],
)
def test_the_command_names_what_differs_from_the_preset_and_nothing_else(asked, command):
    assert request.command(asked).startswith(command)


def test_a_request_describes_itself():
    assert request.describe(changed(SMALL, gamma=0.5)).splitlines() == [
        "PPO on CartPole-v1: preset CartPole-v1 with num_envs = 4, total_timesteps = 4000, num_epochs = 2, "
        "gamma = 0.5, seed 0",
        "31 updates of 4 environments x 32 steps = 3,968 steps",
        "each update: 2 epochs of 4 minibatches of 32 samples",
        "solved when 100 consecutive episodes reach a mean return of 475",
    ]
    assert (SMALL.label, SMALL.total_steps, SMALL.solved_return) == ("CartPole-v1", 31 * 128, 475)
    assert EVERYTHING.label == EVERYTHING.config.env
