"""Mistakes in a configuration are found on the host, all at once, with the rule and the fix."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.validation import MAX_TIMESTEPS, validate

COUNTS = ("num_envs", "num_steps", "total_timesteps", "num_epochs", "num_minibatches")
SWITCHES = ("shared_torso", "normalize_advantages", "normalize_observations", "normalize_rewards")
SCHEDULED = {  # what decides how each of these moves
    "learning_rate": "learning_rate_schedule",
    "clip_epsilon": "clip_schedule",
    "entropy_coefficient": "entropy_schedule",
}
CHOICES = ("encoder", "objective", *SCHEDULED.values())
POSITIVE = ("learning_rate", "adam_epsilon", "desired_kl")
BOUNDS = ("clip_epsilon", "value_clip_epsilon", "target_kl", "max_grad_norm")
COEFFICIENTS = ("value_coefficient", "entropy_coefficient", "kl_coefficient")
FINALS = tuple(f"final_{name}" for name in SCHEDULED)
FRACTIONS = ("gamma", "gae_lambda")

BAD_CONFIGS = [
    *[(name, value) for name in COUNTS for value in (0, -1, 1.5, True, "8", None, math.nan)],
    *[("hidden_sizes", value) for value in ((0,), (64, -1), (64.0,), (True,), 64, "64", {64})],
    *[("activation", value) for value in ("Tanh", "gelu", "", None, 1)],
    *[("memory_size", value) for value in (-1, 1.5, 0.5, 0.0, True, False, "0", "8", None, math.nan)],
    *[(name, value) for name in SWITCHES for value in (1, 0, "yes", None)],
    *[(name, value) for name in CHOICES for value in ("", "none", None, 1, ["linear"])],
    *[(name, "adaptive_kl") for name in ("clip_schedule", "entropy_schedule")],
    *[("env", value) for value in ("CartPole", "", None, 1)],
    ("num_minibatches", 3),
    ("num_minibatches", 2048),
    ("total_timesteps", 1023),
    ("total_timesteps", MAX_TIMESTEPS + 1),
]
BAD_HYPERS = [
    *[
        (name, value)
        for name in Hyperparams._fields
        for value in (-1.0, math.nan, -math.inf, None, "1", True)
        if (name, value) != ("target_kl", None)
    ],
    *[(name, value) for name in POSITIVE + BOUNDS for value in (0, 0.0)],
    *[(name, math.inf) for name in POSITIVE + COEFFICIENTS + FINALS + FRACTIONS],
    *[(name, 1.0001) for name in FRACTIONS],
    *[
        ("learning_rate", value) for value in (1e-46, 1e39, 10**400, np.True_, np.array([1, -1.0]))
    ],  # of float32
]
FIXES = ("give", "choose", "did you mean", "divide", "lists those")


def problems_of(config=None, hyper=None, environment=None):
    """What `validate` complains about."""
    with pytest.raises(UsageError) as error:
        validate(config or Config(), hyper, environment)
    return error.value.problems


def reading(name):
    """A configuration that a hyperparameter matters to."""
    objective = {"kl_coefficient": "fixed_kl", "desired_kl": "adaptive_kl"}.get(name, "clipped")
    start = name.removeprefix("final_")
    return Config(objective=objective, **({SCHEDULED[start]: "linear"} if name in FINALS else {}))


def assert_names_the_mistake(problem, name, value):
    assert name in problem
    assert repr(value) in problem
    assert any(fix in problem for fix in FIXES), problem


@pytest.mark.parametrize(("name", "value"), BAD_CONFIGS)
def test_a_bad_static_value_is_reported_with_its_field_and_a_fix(name, value):
    (problem,) = problems_of(dataclasses.replace(Config(), **{name: value}))
    assert_names_the_mistake(problem, name, value)


@pytest.mark.parametrize(("name", "value"), BAD_HYPERS)
def test_a_bad_hyperparameter_is_reported_with_its_field_and_a_fix(name, value):
    (problem,) = problems_of(reading(name), Hyperparams()._replace(**{name: value}))
    assert_names_the_mistake(problem, name, value)


@pytest.mark.parametrize(
    ("minibatches", "nearest"),
    [(5, "4 and 6 divide it"), (7, "6 and 8 divide it"), (97, "96 divides it"), (1000, "96 divides it")],
)
def test_an_indivisible_batch_names_the_nearest_divisors(minibatches, nearest):
    (problem,) = problems_of(Config(num_envs=8, num_steps=12, num_minibatches=minibatches))
    assert problem == (
        f"num_envs * num_steps = 96 is not divisible by num_minibatches = {minibatches}; {nearest}"
    )


@pytest.mark.parametrize(("envs", "nearest"), [(6, "3 and 6 divide it"), (2, "2 divides it")])
def test_with_a_memory_minibatches_must_divide_the_environments(envs, nearest):
    """Without one, 4 minibatches divide the N * T = 16 * N samples."""
    config = Config(num_envs=envs, num_steps=16, num_minibatches=4)
    validate(config)
    (problem,) = problems_of(dataclasses.replace(config, memory_size=8))
    assert problem == (
        "with a memory, minibatches hold the whole sequences of environments, and "
        f"num_envs = {envs} is not divisible by num_minibatches = 4; {nearest}"
    )


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_clip_range_that_is_off_cannot_be_scheduled(schedule):
    config, hyper = Config(clip_schedule=schedule), Hyperparams(clip_epsilon=math.inf)
    (problem,) = problems_of(config, hyper)
    assert problem == "clip_epsilon = inf cannot be scheduled; give a number, or clip_schedule = 'constant'"
    validate(dataclasses.replace(config, clip_schedule="constant"), hyper)


KEPT = [*[(name, "constant") for name in SCHEDULED], ("learning_rate", "adaptive_kl")]


@pytest.mark.parametrize(("name", "schedule"), KEPT)
def test_an_unused_final_value_is_reported(name, schedule):
    kind = SCHEDULED[name]
    config, hyper = Config(**{kind: schedule}), Hyperparams()._replace(**{f"final_{name}": 0.125})
    (problem,) = problems_of(config, hyper)
    assert problem == (
        f"final_{name} = 0.125 has no effect with {kind} = {schedule!r}; give {kind} = 'linear' or 'cosine'"
    )
    validate(dataclasses.replace(config, **{kind: "cosine"}), hyper)


@pytest.mark.parametrize(("name", "schedule"), KEPT)
def test_an_unused_final_value_may_be_the_default_or_equal_the_first_value(name, schedule):
    config, start = Config(**{SCHEDULED[name]: schedule}), getattr(Hyperparams(), name)
    validate(config, Hyperparams())
    validate(config, Hyperparams()._replace(**{f"final_{name}": start}))


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("kl_coefficient", {}),
        ("kl_coefficient", {"objective": "unclipped"}),
        ("kl_coefficient", {"learning_rate_schedule": "adaptive_kl"}),
        ("desired_kl", {}),
        ("desired_kl", {"objective": "fixed_kl"}),
    ],
)
@pytest.mark.parametrize("value", [0.125, np.float32(0.125), np.array([0.125, 0.25], np.float32)])
def test_an_unused_kl_hyperparameter_is_reported(name, choices, value):
    config, hyper = Config(**choices), Hyperparams()._replace(**{name: value})
    (problem,) = problems_of(config, hyper)
    assert problem.startswith(f"{name} = {value} has no effect with objective = {config.objective!r}; give ")
    validate(dataclasses.replace(config, objective="adaptive_kl"), hyper)


@pytest.mark.parametrize("value", [np.float32(0.125), np.array([0.125, 0.25], np.float32)])
def test_unused_final_values_of_a_sweep_are_reported(value):
    (problem,) = problems_of(Config(), Hyperparams(final_clip_epsilon=value))
    assert "final_clip_epsilon" in problem
    assert "has no effect" in problem


@pytest.mark.parametrize("value", [0, 0.0, np.array([1.0, 0.0])])
def test_an_adaptive_penalty_cannot_start_from_zero(value):
    (problem,) = problems_of(Config(objective="adaptive_kl"), Hyperparams(kl_coefficient=value))
    assert "kl_coefficient = 0 cannot grow; give a positive number" in problem
    validate(Config(objective="fixed_kl"), Hyperparams(kl_coefficient=value))


@pytest.mark.parametrize("objective", ["unclipped", "fixed_kl", "adaptive_kl"])
def test_a_clip_range_that_clips_nothing_cannot_be_scheduled(objective):
    (problem,) = problems_of(Config(objective=objective, clip_schedule="linear"))
    assert "clip_schedule = 'linear' has no effect" in problem
    assert repr(objective) in problem


def test_every_final_value_without_effect_is_reported_in_one_pass():
    config = Config(learning_rate_schedule="constant")
    hyper = Hyperparams(final_learning_rate=0.1, final_clip_epsilon=0.1, final_entropy_coefficient=0.1)
    assert len(problems_of(config, hyper)) == 3


def test_a_run_shorter_than_one_update_says_how_long_it_must_be():
    (problem,) = problems_of(Config(total_timesteps=1000))
    assert "give at least 1024" in problem


@pytest.mark.parametrize(
    ("field", "given", "meant"),
    [
        ("env", "cartpole", "CartPole-v1"),
        ("env", "Acrobat-v1", "Acrobot-v1"),
        ("activation", "TANH", "tanh"),
        ("activation", "rleu", "relu"),
        ("encoder", "ccn", "cnn"),
        ("objective", "adaptive-kl", "adaptive_kl"),
        ("learning_rate_schedule", "cosinus", "cosine"),
        ("learning_rate_schedule", "adaptive", "adaptive_kl"),
        ("clip_schedule", "Linear", "linear"),
        ("entropy_schedule", "const", "constant"),
    ],
)
def test_a_mistyped_name_gets_the_closest_one(field, given, meant):
    (problem,) = problems_of(dataclasses.replace(Config(), **{field: given}))
    assert f"did you mean {meant!r}" in problem


def test_every_mistake_is_reported_in_one_pass():
    config = Config(
        env="nonsense",
        num_envs=0,
        hidden_sizes=(0,),
        activation="gelu",
        normalize_advantages=2,
        objective="trpo",
    )
    hyper = Hyperparams(learning_rate=math.nan, gamma=2.0, clip_epsilon=-1.0)
    named = [problem.split(" = ")[0] for problem in problems_of(config, hyper)]
    assert sorted(named) == [
        "activation",
        "clip_epsilon",
        "env",
        "gamma",
        "hidden_sizes",
        "learning_rate",
        "normalize_advantages",
        "num_envs",
        "objective",
    ]


def test_both_mistakes_of_size_are_reported_in_one_pass():
    assert len(problems_of(Config(num_minibatches=3, total_timesteps=10))) == 2


def test_an_update_has_no_more_samples_than_int32_can_number():
    (problem,) = problems_of(Config(num_envs=2**24, num_steps=128, total_timesteps=2**32))
    assert problem.startswith("num_envs * num_steps = 2147483648 is more than 2000000000")
    validate(Config(num_envs=2**24, num_steps=64, total_timesteps=2**32))


def test_the_error_is_a_value_error_whose_text_has_every_problem():
    problems = problems_of(Config(num_envs=0, num_steps=0))
    with pytest.raises(ValueError, match=r"num_envs(.|\n)*num_steps") as error:
        validate(Config(num_envs=0, num_steps=0))
    assert str(error.value).splitlines() == list(problems)


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(num_envs=1, num_steps=1, total_timesteps=1, num_epochs=1, num_minibatches=1),
        Config(num_minibatches=1024),
        Config(total_timesteps=1024),
        Config(total_timesteps=MAX_TIMESTEPS),
        Config(num_envs=4, num_steps=128, total_timesteps=10**15),
        Config(hidden_sizes=()),
        Config(activation="relu", normalize_advantages=False),
        Config(encoder="cnn", shared_torso=True, normalize_observations=True, normalize_rewards=True),
        Config(memory_size=1, num_envs=4, num_minibatches=4),
        *[Config(objective=value) for value in ("clipped", "unclipped", "fixed_kl", "adaptive_kl")],
        *[Config(learning_rate_schedule=value) for value in ("constant", "linear", "cosine", "adaptive_kl")],
        *[Config(clip_schedule=value) for value in ("constant", "linear", "cosine")],
        *[Config(entropy_schedule=value) for value in ("constant", "linear", "cosine")],
    ],
)
def test_configs_at_the_edge_of_what_is_allowed_are_accepted(config):
    validate(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, math.inf) for name in BOUNDS],
        *[(name, value) for name in FRACTIONS for value in (0, 1, 0.0, 1.0)],
        *[(name, value) for name in COEFFICIENTS for value in (0, 0.0, 1e3)],
        *[(name, value) for name in FINALS for value in (0, 0.0, 1e3)],
        *[(name, 1e-30) for name in POSITIVE + BOUNDS],
    ],
)
def test_hyperparameters_at_the_edge_of_what_is_allowed_are_accepted(name, value):
    validate(reading(name), Hyperparams()._replace(**{name: value}))


def test_the_name_of_the_callers_own_environment_is_only_a_label():
    validate(Config(env="my own"), environment=object())
    assert len(problems_of(Config(env="my own", num_envs=0), environment=object())) == 1


def test_a_config_counts_whole_updates_and_minibatches():
    config = Config(num_envs=4, num_steps=6, num_minibatches=3, total_timesteps=100)
    assert (config.batch_size, config.minibatch_size, config.num_updates) == (24, 8, 4)


def test_a_config_is_hashable_and_equal_by_value():
    assert hash(Config(num_envs=4)) == hash(Config(num_envs=4))
    assert Config(num_envs=4) == Config(num_envs=4) != Config(num_envs=5)


@pytest.mark.parametrize("scalar", [np.float32, np.float64, jnp.float32, int])
def test_a_scalar_from_any_library_is_accepted_as_a_number(scalar):
    validate(Config(), Hyperparams(gamma=scalar(1)))


def test_a_number_that_float32_cannot_hold_is_not_called_negative():
    with pytest.raises(UsageError, match=r"learning_rate = 1e-50 .*at least 1\.2e-38, float32's smallest"):
        validate(Config(), Hyperparams(learning_rate=1e-50))


def test_known_names_are_listed_once_also_after_gymnax_was_imported():
    import gymnax  # noqa: F401

    with pytest.raises(UsageError) as caught:
        validate(Config(env="zzz"))
    names = str(caught.value).partition("choose one of: ")[2].split(", ")
    assert len(names) == len(set(names)) > 20


def test_a_list_of_widths_is_as_good_as_a_tuple_and_every_configuration_can_be_hashed():
    assert Config(hidden_sizes=[8, 8]) == Config(hidden_sizes=(8, 8))
    assert hash(Config(hidden_sizes=[8, 8])) == hash(Config(hidden_sizes=(8, 8)))
    assert isinstance(hash(Config(hidden_sizes={}, env=[])), int)


def test_hyperparameters_that_are_known_are_checked_while_something_else_is_traced():
    hyper = Hyperparams(gamma=jnp.float32(0.9), gae_lambda=jnp.array([0.9, 0.95]))
    jax.jit(lambda x: validate(Config(), hyper) or x)(1.0)
