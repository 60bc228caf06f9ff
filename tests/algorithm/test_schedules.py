"""Where schedules begin and end, the paper's rule for the penalty, and epochs that are left out."""

import dataclasses
import itertools
import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.schedules import adapt_kl_coefficient, at_update, init_steering, steer
from ppo_jax.algorithm.train import make_ppo, train
from ppo_jax.algorithm.update import improve, init_learner
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count
from tests.support import oracles, oracles_continuous, probes
from tests.support.counted import Counted
from tests.support.linear import linear_network, make_linear_network, random_params, random_samples

SCHEDULES = {
    "learning_rate": "learning_rate_schedule",
    "clip_epsilon": "clip_schedule",
    "entropy_coefficient": "entropy_schedule",
}
SMALL = Config(
    env="probe",
    num_envs=4,
    num_steps=4,
    total_timesteps=10 * 16,
    num_epochs=2,
    num_minibatches=2,
    learning_rate_schedule="constant",
)
U = SMALL.num_updates


def curve(kind, start, end, num_done):
    """The definition: what part of the way is gone after so many of U updates."""
    part = np.asarray(num_done) / U
    gone = {"constant": 0 * part, "linear": part, "cosine": (1 - np.cos(np.pi * part)) / 2}[kind]
    return start + (end - start) * gone


def scheduled(name, kind, start, end):
    """A hyperparameter before each update, and after the last, [U + 1]."""
    config = dataclasses.replace(SMALL, **{SCHEDULES[name]: kind})
    hyper = Hyperparams(**{name: start, f"final_{name}": end})
    return jax.vmap(partial(at_update, config, hyper, init_steering()))(jnp.arange(U + 1) / U)


# Schedules


@pytest.mark.parametrize(("start", "end"), [(0.4, 0.1), (0.1, 0.4), (0.3, 0.0), (0.0, 0.2)])
@pytest.mark.parametrize("kind", ["constant", "linear", "cosine"])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_leads_from_one_end_to_the_other(name, kind, start, end):
    actual = getattr(scheduled(name, kind, start, end), name)
    np.testing.assert_allclose(actual, curve(kind, start, end, np.arange(U + 1)), rtol=1e-5, atol=1e-7)
    chex.assert_type(actual, jnp.float32)


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_schedule_is_half_way_in_the_middle_and_never_turns_back(kind):
    rates = scheduled("learning_rate", kind, 3e-3, 1e-3).learning_rate
    np.testing.assert_allclose(rates[jnp.array([0, U // 2, U])], [3e-3, 2e-3, 1e-3], rtol=1e-5)
    assert np.all(np.diff(rates) < 0)


def test_a_cosine_moves_slowest_at_its_ends():
    steps = -np.diff(scheduled("learning_rate", "cosine", 1.0, 0.0).learning_rate)
    assert steps[0] < steps[2] < steps[4] > steps[7] > steps[9]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_moves_nothing_else(name):
    before, after = Hyperparams(**{name: 0.4}), scheduled(name, "linear", 0.4, 0.1)
    for other in set(Hyperparams._fields) - {name, f"final_{name}", "target_kl"}:
        np.testing.assert_array_equal(getattr(after, other), np.float32(getattr(before, other)))
    assert after.target_kl is None


def test_a_bound_that_is_off_stays_off():
    np.testing.assert_array_equal(
        scheduled("clip_epsilon", "constant", math.inf, 0.0).clip_epsilon, np.full(U + 1, math.inf)
    )


# Schedules in a training


MOVING = dataclasses.replace(
    SMALL, learning_rate_schedule="linear", clip_schedule="cosine", entropy_schedule="linear"
)
ENDS = Hyperparams(
    learning_rate=0.3,
    final_learning_rate=0.05,
    clip_epsilon=0.4,
    final_clip_epsilon=0.01,
    entropy_coefficient=0.0,
    final_entropy_coefficient=0.5,
)
PROBE = probes.policy_and_value()


class Stepper:
    """One compiled iteration, from the same first state each time: `run(hyper, num_done)`."""

    def __init__(self, config):
        ppo = make_ppo(config, PROBE, make_linear_network)
        self.state = jax.jit(ppo.init)(ENDS, jax.random.key(3))
        self.compiled = Counted(ppo.step)

    def run(self, hyper, num_done):
        state, metrics = self.compiled.run(hyper, self.state._replace(num_updates=Count.of(num_done)))
        return state.learner.params, metrics


@pytest.fixture(scope="module")
def moving():
    return Stepper(MOVING)


def test_different_ends_share_one_compilation_and_the_metrics_report_the_scheduled_values(moving):
    others = Hyperparams(learning_rate=0.0, final_learning_rate=0.1, final_clip_epsilon=0.4)
    for hyper, num_done in itertools.product((ENDS, Hyperparams(), others), range(U)):
        _, metrics = moving.run(hyper, num_done)
        for name, schedule in SCHEDULES.items():
            start, end = getattr(hyper, name), getattr(hyper, f"final_{name}")
            expected = curve(getattr(MOVING, schedule), start, end, num_done)
            np.testing.assert_allclose(getattr(metrics, name), expected, rtol=1e-5, atol=1e-7)
    assert moving.compiled.traces == 1


def test_an_update_uses_the_scheduled_values_and_no_others(moving):
    constant, values = Stepper(SMALL), {}
    for name, schedule in SCHEDULES.items():
        start, end = getattr(ENDS, name), getattr(ENDS, f"final_{name}")
        values[name] = float(curve(getattr(MOVING, schedule), start, end, 5))
    moved, _ = moving.run(ENDS, 5)
    expected, _ = constant.run(ENDS._replace(**values), 5)
    chex.assert_trees_all_close(moved, expected, rtol=1e-5, atol=1e-6)
    for name in SCHEDULES:
        unmoved, _ = constant.run(ENDS._replace(**{**values, name: getattr(ENDS, name)}), 5)
        assert np.abs(moved["actor"] - unmoved["actor"]).max() > 1e-4, name


@pytest.mark.parametrize(("target_kl", "expected"), [(1e-30, 1), (math.inf, MOVING.num_epochs)])
def test_the_metrics_report_the_epochs_that_were_done(moving, target_kl, expected):
    _, metrics = moving.run(ENDS._replace(target_kl=target_kl), 0)
    assert metrics.num_epochs == expected
    chex.assert_type(metrics.num_epochs, jnp.int32)


# Steering by the KL


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(0.0, 0.5), (1.999, 0.5), (2.0, 1.0), (3.0, 1.0), (4.5, 1.0), (4.501, 2.0), (1e30, 2.0)],
)
def test_the_penalty_is_doubled_or_halved_beyond_one_and_a_half_times_the_desired_kl(kl, factor):
    """Section 4: d < d_targ / 1.5 halves beta, d > 1.5 d_targ doubles it; here d_targ = 3."""
    np.testing.assert_array_equal(adapt_kl_coefficient(jnp.float32(0.7), kl, 3.0), np.float32(0.7) * factor)


STEERED = dataclasses.replace(SMALL, objective="adaptive_kl", learning_rate_schedule="adaptive_kl")


def steered_once(config, hyper, kl):
    """Learning rate and beta of the update after one with this KL."""
    steering = steer(config, hyper, init_steering(), jnp.float32(kl))
    moved = at_update(config, hyper, steering, jnp.float32(0.1))
    return float(moved.learning_rate), float(moved.kl_coefficient)


@pytest.mark.parametrize(
    ("kl", "factor"),
    [(0.0, 1.5), (0.999, 1.5), (1.0, 1.0), (2.0, 1.0), (4.0, 1.0), (4.001, 1 / 1.5), (1e30, 1 / 1.5)],
)
def test_the_learning_rate_rises_when_the_policy_moves_too_little_and_falls_when_too_much(kl, factor):
    """Beyond twice or half of the wanted KL, here 2."""
    rate, _ = steered_once(STEERED, Hyperparams(desired_kl=2.0, learning_rate=0.01), kl)
    assert rate == pytest.approx(0.01 * factor)


@pytest.mark.parametrize(
    ("choices", "rate", "beta"),
    [
        ({}, 0.3, 3.0),
        ({"objective": "fixed_kl"}, 0.3, 3.0),
        ({"objective": "adaptive_kl"}, 0.3, 6.0),
        ({"learning_rate_schedule": "adaptive_kl"}, 0.2, 3.0),
        ({"learning_rate_schedule": "adaptive_kl", "objective": "adaptive_kl"}, 0.2, 6.0),
    ],
)
def test_only_what_is_configured_to_adapt_adapts(choices, rate, beta):
    config, hyper = dataclasses.replace(SMALL, **choices), Hyperparams(learning_rate=0.3, kl_coefficient=3.0)
    assert steered_once(config, hyper, kl=1.0) == (pytest.approx(rate), pytest.approx(beta))


LONG = dataclasses.replace(STEERED, total_timesteps=30 * 16)


@pytest.fixture(scope="module")
def steered():
    """`steered(desired_kl)`: state and metrics of 30 updates."""
    run = jax.jit(partial(train, LONG, environment=PROBE, make_network=make_linear_network))
    return lambda desired_kl: run(
        Hyperparams(learning_rate=1e-3, kl_coefficient=8.0, desired_kl=desired_kl), jax.random.key(3)
    )


def test_updates_with_a_small_kl_lower_the_penalty_and_raise_the_rate_step_by_step(steered):
    state, metrics = steered(1e9)
    np.testing.assert_allclose(metrics.kl_coefficient[:10], 8.0 * 0.5 ** np.arange(10), rtol=1e-5)
    np.testing.assert_allclose(metrics.learning_rate[:10], 1e-3 * 1.5 ** np.arange(10), rtol=1e-5)
    assert int(state.num_updates) == 30


def test_updates_with_a_large_kl_raise_the_penalty_and_lower_the_rate_step_by_step(steered):
    _, metrics = steered(1e-12)
    np.testing.assert_allclose(metrics.kl_coefficient[:5], 8.0 * 2.0 ** np.arange(5), rtol=1e-5)
    np.testing.assert_allclose(metrics.learning_rate[:5], 1e-3 / 1.5 ** np.arange(5), rtol=1e-5)


def test_an_adaptive_learning_rate_stays_within_a_factor_of_a_hundred(steered):
    _, metrics = steered(1e9)
    np.testing.assert_allclose(metrics.learning_rate[-10:], np.full(10, 1e-3 * 100), rtol=1e-5)


def test_an_adaptive_penalty_stays_within_a_factor_of_a_million(steered):
    """30 halvings are a factor of 1e9."""
    _, metrics = steered(1e9)
    np.testing.assert_allclose(metrics.kl_coefficient[-5:], np.full(5, 8.0 / 1e6), rtol=1e-5)


# One update: what KL is measured, and epochs that are left out


NETWORK = linear_network()
RNG = np.random.default_rng(3)
PARAMS = random_params(RNG)
POLICY_LOGITS = NETWORK.policy(PARAMS, RNG.normal(size=(6, 4, 3)).astype(np.float32)).logits
FAST = Hyperparams(learning_rate=0.03, entropy_coefficient=0.0)


def make_batch():
    """Samples of the very policy that is to be updated, [6, 4]."""
    samples = random_samples(np.random.default_rng(3), PARAMS, (6, 4))
    policy = NETWORK.policy(PARAMS, samples.observation)
    return samples._replace(policy=policy, log_prob=policy.log_prob(samples.action), start=None)


BATCH = make_batch()


@partial(jax.jit, static_argnums=0)
def one_update(config, hyper):
    learner = init_learner(NETWORK, hyper, jax.random.key(0))._replace(params=PARAMS)
    return improve(config, NETWORK, hyper, jax.random.key(0), learner, BATCH)


def epochs(num_epochs, **others):
    return dataclasses.replace(
        SMALL, num_steps=6, num_minibatches=2, num_epochs=num_epochs, total_timesteps=24, **others
    )


def test_steering_follows_the_exact_mean_kl_between_the_policies_before_and_after():
    config = epochs(2, objective="adaptive_kl")
    learner, _ = one_update(config, FAST)
    logits = BATCH.observation @ np.float64(learner.params["actor"])
    before, after = oracles.log_softmax(BATCH.policy.logits), oracles.log_softmax(logits)
    kl = oracles_continuous.categorical_kl(before, after).mean()
    for share, factor in [(1.52, 2.0), (1.48, 1.0), (1 / 1.48, 1.0), (1 / 1.52, 0.5)]:
        learner, _ = one_update(config, FAST._replace(desired_kl=float(kl / share)))
        assert float(at_update(config, FAST, learner.steering, jnp.float32(0.1)).kl_coefficient) == factor


@pytest.fixture(scope="module")
def by_epochs():
    """Learner and info after 1, 2 and 3 epochs, whose order of the samples begins in the same way."""
    keys = [jax.random.key_data(jax.random.split(jax.random.key(0), count)) for count in (1, 2, 3)]
    for shorter, longer in itertools.pairwise(keys):
        np.testing.assert_array_equal(shorter, longer[:-1])
    return [one_update(epochs(count), FAST) for count in (1, 2, 3)]


@pytest.fixture(scope="module")
def kl_of_epochs(by_epochs):
    """The mean KL of each of the 3 epochs: they rise, so that a limit between two of them is known."""
    totals = [count * float(info.loss.approx_kl) for count, (_, info) in enumerate(by_epochs, start=1)]
    kl = np.diff(totals, prepend=0)
    assert np.all(np.diff(kl) > 0.05 * kl[:-1])
    return kl


def limit_after(kl_of_epochs, count):
    """A `target_kl` that is exceeded in epoch `count` for the first time."""
    below = kl_of_epochs[count - 2] if count > 1 else 0.0
    return float(below + kl_of_epochs[count - 1]) / 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_epochs_after_the_kl_limit_change_neither_parameters_nor_means(by_epochs, kl_of_epochs, count):
    hyper = FAST._replace(target_kl=limit_after(kl_of_epochs, count))
    learner, info = one_update(epochs(3), hyper)
    assert int(info.num_epochs) == count
    chex.assert_trees_all_close((learner, info), by_epochs[count - 1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("limit", [None, math.inf])
def test_without_a_kl_limit_or_with_an_infinite_one_no_update_stops_early(limit):
    _, info = one_update(epochs(3), FAST._replace(learning_rate=100.0, target_kl=limit))
    assert float(info.loss.approx_kl) > 1
    assert int(info.num_epochs) == 3


def test_the_program_checks_the_kl_limit_only_if_there_is_one():
    """Under `vmap` the question costs every agent a pass over all its parameters."""
    programs = [
        jax.make_jaxpr(partial(one_update, epochs(3)))(FAST._replace(target_kl=x)) for x in (None, 1.0)
    ]
    assert ["cond[" in str(program) for program in programs] == [False, True]


def test_under_vmap_each_limit_stops_its_own_row_only(by_epochs, kl_of_epochs):
    limits = jnp.array([limit_after(kl_of_epochs, count) for count in (2, 1)] + [math.inf])
    rows = jax.vmap(lambda limit: one_update(epochs(3), FAST._replace(target_kl=limit)))(limits)
    assert rows[1].num_epochs.tolist() == [2, 1, 3]
    for row, count in enumerate((2, 1, 3)):
        actual = jax.tree.map(lambda leaf, row=row: leaf[row], rows)
        chex.assert_trees_all_close(actual, by_epochs[count - 1], rtol=1e-5, atol=1e-6)
