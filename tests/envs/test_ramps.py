"""Arguments that change during a run: how they are written, and where they cannot be."""

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax.algorithm.train import make_ppo
from ppo_jax.config import Config
from ppo_jax.envs.make import make_dynamics, traceable
from ppo_jax.envs.ramps import Ramp, at_end, at_start, parse
from ppo_jax.errors import UsageError
from ppo_jax.validation import validate
from tests.support import probes


@pytest.mark.parametrize(
    ("text", "ramp"),
    [
        ("0.5..1.0@100000", Ramp(0.5, 1.0, 100_000)),
        ("1..-2@1e5", Ramp(1.0, -2.0, 100_000)),
        ("0...5@7", Ramp(0.0, 0.5, 7)),
        ("-1e-3..+.25@2.5e1", Ramp(-0.001, 0.25, 25)),
    ],
)
def test_a_ramp_is_from_to_at_steps(text, ramp):
    assert parse(text) == ramp


@pytest.mark.parametrize(
    "text", ["0.5..1.0", "1.0@100", "../models/x@2", "0.5..1.0@", "a..b@3", "1..2..3@4", 0.5, True]
)
def test_anything_else_is_what_it_was(text):
    assert parse(text) is None
    validate(Config(env_args={"length": text}))


@pytest.mark.parametrize("text", ["0.5..1.0@0", "0.5..1.0@0.5", "0.5..1.0@1e-3", "1..1e999@10", "0..1@1e999"])
def test_a_ramp_to_nowhere_or_in_no_time_is_refused(text):
    with pytest.raises(UsageError, match=r"env_args length = .* is not FROM\.\.TO@STEPS, such as"):
        validate(Config(env_args={"length": text}))


def test_it_has_a_value_at_each_end_and_other_arguments_stay():
    given = {"length": "0.5..1.0@100", "mode": "fast", "size": 3}
    assert at_start(given) == {**given, "length": 0.5}
    assert at_end(given) == {**given, "length": 1.0}


def test_everything_but_training_takes_the_last_value():
    """A push of 20 moves the cart twice as far as one of 10."""

    def speed(force):
        one = make_dynamics("CartPole-v1", {"force_mag": force})
        state, _ = one.reset(jax.random.key(0))
        after, _ = one.step(jax.random.key(1), state, jnp.int32(1))
        return float(after.x_dot)

    assert speed("10..20@100") == speed(20.0) != speed(10.0)


def test_members_of_a_sweep_may_differ_in_another_argument_but_not_mix_a_ramp_with_a_number():
    assert traceable("CartPole-v1", [{"length": "0.5..1@10", "masspole": x} for x in (0.1, 0.2)]) == (
        "masspole",
    )
    assert traceable("CartPole-v1", [{"length": "0.5..1@10"}, {"length": 0.5}]) == ()


@pytest.mark.parametrize(
    ("env", "argument", "problem"),
    [
        ("CartPole-v1", "max_steps_in_episode", "cannot change during a run: it is a whole number"),
        ("Pendulum-v1", "max_torque", "cannot change during a run: the spaces depend on it"),
        ("gymnasium:CartPole-v1", "sutton_barto_reward", "environments of Gymnasium are made once"),
        ("own", "length", "an environment of your own is made once"),
        ("CartPole-v1", "lenght", "env_args lenght = .* is unknown .* did you mean 'length'"),
    ],
)
def test_what_cannot_change_is_refused_by_its_name(env, argument, problem):
    ppo_jax.register("own", lambda length=1.0: probes.counter(3))
    with pytest.raises(UsageError, match=problem) as error:
        make_ppo(Config(env, env_args={argument: "1..2@100"}))
    assert argument in str(error.value)


def test_a_ramp_without_its_steps_is_explained():
    with pytest.raises(UsageError, match=r"length = '1\.\.2' does not fit .*, or FROM\.\.TO@STEPS for one"):
        make_dynamics("CartPole-v1", {"length": "1..2"})


def test_arguments_of_an_environment_that_the_caller_has_made_cannot_change():
    with pytest.raises(UsageError, match="an environment of your own is made once"):
        make_ppo(Config("CartPole-v1", env_args={"length": "1..2@100"}), probes.counter(3))
