"""Presets are complete, valid, and the classic one is what the paper's first implementations use."""

import math

import pytest

from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.registry import library_of, missing
from ppo_jax.errors import UsageError
from ppo_jax.presets import named_after, names, preset, read
from ppo_jax.validation import validate

EVERY_PRESET = pytest.mark.parametrize("name", names())


def test_there_are_presets_for_cartpole():
    assert {"CartPole-v1", "CartPole-v1-paper"} <= set(names())


@EVERY_PRESET
def test_a_preset_names_every_field_so_that_no_default_can_change_it(name):
    table = read(name)
    # A preset is about an environment and a network as they are, on any number of devices, from the start.
    own = (
        "env_args",
        "network",
        "shuffle_groups",
        "initial_policy",
        "initial_parts",
        "critic_warmup_updates",
    )
    own += ("teacher", "teacher_sees", "teacher_coefficient", "teacher_steps", "target_kl")
    assert list(table["config"]) == [name for name in Config.__dataclass_fields__ if name not in own]
    assert list(table["hyper"]) == [name for name in Hyperparams._fields if name not in own]


@EVERY_PRESET
def test_a_preset_is_valid_and_hashable(name):
    config, hyper = preset(name)
    if why := missing(library_of(config.env) or "gymnax"):
        pytest.skip(why)
    validate(config, hyper)
    hash(config)
    assert hyper.target_kl is None  # which TOML cannot say
    assert all(type(getattr(hyper, field)) is float for field in read(name)["hyper"])


@EVERY_PRESET
def test_a_preset_loads_what_its_file_says(name):
    config, hyper = preset(name)
    table = read(name)
    of_others = {"target_kl": None, "teacher_coefficient": 1.0, "teacher_steps": math.inf}
    assert hyper._asdict() == {**table["hyper"], **of_others}
    assert {field: getattr(config, field) for field in table["config"]} == {
        **table["config"],
        "hidden_sizes": tuple(table["config"]["hidden_sizes"]),
    }


@EVERY_PRESET
def test_a_preset_is_named_after_its_environment(name):
    assert name.startswith(preset(name)[0].env.replace(":", "-"))  # a colon has no place in names of files


def test_a_preset_is_found_by_its_environment():
    assert named_after("CartPole-v1") == "CartPole-v1"
    assert named_after("gymnasium:LunarLander-v3") == "gymnasium-LunarLander-v3"
    assert named_after("gymnasium:Pendulum-v1") is None


def test_the_paper_preset_is_the_classic_teaching_run():
    config, hyper = preset("CartPole-v1-paper")
    assert config == Config(
        env="CartPole-v1",
        num_envs=1,
        num_steps=512,
        total_timesteps=60 * 512,
        num_epochs=4,
        num_minibatches=8,
        hidden_sizes=(64, 64),
        activation="tanh",
        normalize_advantages=True,
        objective="clipped",
        learning_rate_schedule="linear",
    )
    assert (config.num_updates, config.minibatch_size) == (60, 64)
    assert hyper == Hyperparams(
        learning_rate=3e-4,
        final_learning_rate=3e-4,
        gamma=0.99,
        gae_lambda=0.95,
        clip_epsilon=0.2,
        value_clip_epsilon=math.inf,
        value_coefficient=1.0,
        entropy_coefficient=0.01,
        target_kl=None,
        max_grad_norm=0.5,
        adam_epsilon=1e-5,
    )


@pytest.mark.parametrize("given", ["cartpole-v1", "CartPole"])
def test_an_unknown_preset_gets_the_closest_name(given):
    with pytest.raises(UsageError, match=r"did you mean .*'CartPole-v1'") as error:
        preset(given)
    assert repr(given) in str(error.value)


def test_an_unknown_preset_that_resembles_none_gets_all_names():
    with pytest.raises(UsageError, match="choose one of: " + ", ".join(names())):
        preset("zzz")
