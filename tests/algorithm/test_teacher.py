"""A teacher: its KL, its weight, what it is shown, and what is refused."""

import dataclasses
import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax import registered
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.known import register_policy
from ppo_jax.algorithm.loss import ppo_loss
from ppo_jax.algorithm.normalization import Statistics, normalize
from ppo_jax.algorithm.teacher import make_teacher, teach
from ppo_jax.algorithm.train import advance, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Observation, Transition, make_batched
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import Categorical, DiagonalGaussian
from ppo_jax.networks.flax import make_network
from ppo_jax.networks.network import memoryless
from ppo_jax.spaces import Box, Discrete
from ppo_jax.validation import validate
from tests.support.linear import linear_network, random_params, random_samples

U = 4
SIZES = {"num_envs": 4, "num_steps": 8, "num_epochs": 2, "num_minibatches": 2, "hidden_sizes": (8,)}
CONFIG = Config("guess", total_timesteps=U * 32, teacher="teacher", teacher_sees="critic", **SIZES)
PLAIN = dataclasses.replace(CONFIG, teacher=None, teacher_sees="actor")
SEEING = Config("seeing", normalize_observations=True, **SIZES)
HYPER = Hyperparams(learning_rate=1e-3)


def guess(is_masked=False):
    """One step: the critic sees which of three actions is rewarded, the actor sees something else."""

    def observe(wanted):
        legal = jnp.arange(3) != (wanted + 1) % 3 if is_masked else None
        return Observation(jnp.array([0.5]), legal, privileged=jax.nn.one_hot(wanted, 3) * 4 + 1)

    def reset(key):
        wanted = jax.random.randint(key, (), 0, 3)
        return wanted, observe(wanted)

    def step(key, wanted, action):
        over = jnp.array(True)
        return wanted, Transition(observe(wanted), jnp.float32(action == wanted), over, ~over)

    return make_batched(Dynamics(reset, step, Box((1,)), Discrete(3), Box((3,))))


GUESS = guess()


@functools.cache
def seeing():
    """The agent of a run whose actor saw what the critic sees here; its critic may have seen anything."""
    network = make_network(SEEING, Box((3,)), Discrete(3), Box((7,)))
    statistics = Statistics(
        np.uint32(9), np.array([2, 1, 3.0], np.float32), np.array([4, 1, 9.0], np.float32)
    )
    privileged = Statistics(np.uint32(9), np.zeros(7, np.float32), np.ones(7, np.float32))
    return Agent(network.init(jax.random.key(5)), Observation(statistics, None, privileged))


@pytest.fixture(autouse=True)
def known():
    register_policy("teacher", SEEING, seeing())
    yield
    del registered.POLICIES["teacher"]


@functools.cache
def program(config, environment, num_updates):
    ppo = make_ppo(config, environment)
    return jax.jit(lambda hyper, key: advance(ppo, num_updates, hyper, ppo.init(hyper, key)))


def run(config, hyper=HYPER, environment=GUESS, num_updates=U):
    return program(config, environment, num_updates)(hyper, jax.random.key(2))


def test_a_teacher_of_weight_zero_changes_no_bit():
    (state, metrics), (plain, plain_metrics) = (
        run(CONFIG, HYPER._replace(teacher_coefficient=0.0)),
        run(PLAIN),
    )
    chex.assert_trees_all_equal(state.learner, plain.learner)
    assert metrics._fields == (*plain_metrics._fields, "teacher_kl", "teacher_coefficient")
    assert metrics.teacher_kl.min() > 0


@pytest.mark.parametrize(("steps", "length"), [(64.0, 64), (math.inf, U * 32), (48.0, 48)])
def test_the_weight_of_the_teacher_falls_linearly_to_zero(steps, length):
    hyper = HYPER._replace(teacher_coefficient=0.5, teacher_steps=steps)
    _, metrics = run(CONFIG, hyper)
    expected = [0.5 * max(0.0, 1 - update * 32 / length) for update in range(U)]
    np.testing.assert_allclose(metrics.teacher_coefficient, expected, rtol=1e-6)


def test_the_term_of_the_teacher_has_the_loss_and_the_gradient_of_the_oracle():
    """In float64: the KL of two softmax policies with logits s W, and its gradient s^T (pi - teacher) / M."""
    rng = np.random.default_rng(0)
    params, size = random_params(rng), 16
    samples = random_samples(rng, params, (size,))
    logits = rng.normal(size=(size, 4)).astype(np.float32)
    taught = samples._replace(teacher=Categorical(jnp.asarray(logits)))
    hyper = HYPER._replace(teacher_coefficient=jnp.float32(0.7))

    def loss(minibatch):
        return jax.grad(lambda p: ppo_loss(CONFIG, linear_network(), hyper, p, minibatch), has_aux=True)(
            params
        )

    (gradient, info), (plain, plain_info) = loss(taught), loss(samples)
    state = samples.observation.astype(float)

    def softmax(x):
        weights = np.exp(x - x.max(axis=-1, keepdims=True))
        return weights / weights.sum(axis=-1, keepdims=True)

    teacher, policy = softmax(logits.astype(float)), softmax(state @ params["actor"].astype(float))
    kl = (teacher * np.log(teacher / policy)).sum(axis=-1).mean()
    np.testing.assert_allclose(info.teacher_kl, kl, rtol=1e-5)
    assert plain_info.teacher_kl is None
    expected = 0.7 * state.T @ (policy - teacher) / size
    np.testing.assert_allclose(gradient["actor"] - plain["actor"], expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(gradient["critic"], plain["critic"])


def test_the_term_of_a_teacher_with_gaussian_actions_has_the_gradient_of_the_oracle():
    """(mean - teacher's) / var for the mean, and 1 - (var_t + d^2) / var for the log of the deviation."""
    mean, log_std = np.array([0.3, -1.0]), np.array([0.1, -0.4])
    their_mean, their_log_std = np.array([1.0, 0.5]), np.array([-0.2, 0.3])

    def policy(params, observation):
        shape = (*observation.shape[:-1], 2)
        return DiagonalGaussian(*(jnp.broadcast_to(params[name], shape) for name in ("mean", "log_std")))

    network = memoryless(lambda key: {}, policy, lambda params, observation: 0.0 * observation[..., 0])
    params = {"mean": jnp.float32(mean), "log_std": jnp.float32(log_std)}
    samples = random_samples(np.random.default_rng(0), random_params(np.random.default_rng(1)), (4,))
    samples = samples._replace(
        action=np.zeros((4, 2), np.float32),
        advantage=np.zeros(4, np.float32),
        teacher=DiagonalGaussian(*(jnp.tile(jnp.float32(x), (4, 1)) for x in (their_mean, their_log_std))),
    )
    hyper = HYPER._replace(entropy_coefficient=0.0, teacher_coefficient=1.0)
    config = dataclasses.replace(CONFIG, normalize_advantages=False)
    gradient, _ = jax.grad(lambda p: ppo_loss(config, network, hyper, p, samples), has_aux=True)(params)
    variance, theirs = np.exp(2 * log_std), np.exp(2 * their_log_std)
    np.testing.assert_allclose(gradient["mean"], (mean - their_mean) / variance, rtol=1e-5)
    expected = 1 - (theirs + (mean - their_mean) ** 2) / variance
    np.testing.assert_allclose(gradient["log_std"], expected, rtol=1e-5)


def test_a_teacher_sees_what_the_critic_sees_in_its_own_units():
    """Not what the student makes of it, whose observations are normalized with other statistics."""
    agent = seeing()
    teacher = make_teacher(SEEING, agent, guess(), "critic")
    _, observation = guess().reset(4, jax.random.key(0))
    policy = teach(teacher, observation)
    features = normalize(agent.statistics.features, observation.privileged)
    tower = make_network(SEEING, Box((3,)), Discrete(3))
    other = tower.init(jax.random.key(0))
    params = {**other, "actor": agent.params["actor"]}
    expected = tower.apply(params, tower.init_memory(4), features, jnp.ones(4, bool)).policy
    chex.assert_trees_all_close(policy, expected, rtol=1e-6)
    assert len(np.unique(np.asarray(policy.logits), axis=0)) > 1


def test_the_kl_that_is_reported_is_that_of_the_teacher_on_what_the_environment_gave():
    """Also when the student normalizes: before the first step it is the KL of the two in each state."""
    config = dataclasses.replace(CONFIG, normalize_observations=True, num_epochs=1, num_minibatches=1)
    hyper = HYPER._replace(learning_rate=1e-30)
    state, metrics = run(config, hyper, num_updates=1)
    teacher = make_teacher(SEEING, seeing(), guess(), "critic")
    wanted = jnp.arange(3)
    privileged = jax.nn.one_hot(wanted, 3) * 4 + 1
    taught = teach(teacher, Observation(jnp.full((3, 1), 0.5), None, privileged))
    network = make_network(config, Box((1,)), Discrete(3), Box((3,)))
    blind = Observation(jnp.zeros((3, 1)), None, jnp.zeros((3, 3)))  # what never varies becomes 0
    kl = taught.kl(network.policy(state.learner.params, blind))
    assert kl.min() - 1e-6 <= metrics.teacher_kl[0] <= kl.max() + 1e-6
    assert metrics.approx_kl[0] < 1e-6


@pytest.mark.long
def test_a_teacher_may_choose_only_what_the_student_may():
    _, metrics = run(CONFIG, environment=guess(is_masked=True))
    assert metrics.teacher_kl.max() < 20


@pytest.mark.long
@pytest.mark.parametrize("memory_size", [0, 4])
def test_a_student_comes_to_resemble_its_teacher_with_or_without_a_memory(memory_size):
    """A teacher that does the same whatever it sees, so that a student who sees nothing can do it too."""
    agent = jax.tree.map(jnp.zeros_like, seeing())
    actor = agent.params["actor"]["params"]["Dense_1"]
    actor["bias"] = jnp.array([0.0, 2.0, -1.0])
    register_policy("teacher", SEEING, agent)
    config = dataclasses.replace(CONFIG, memory_size=memory_size, total_timesteps=60 * 32)
    hyper = HYPER._replace(learning_rate=2e-2, teacher_coefficient=10.0, teacher_steps=1e9)
    _, metrics = run(config, hyper, num_updates=60)
    assert metrics.teacher_kl[-1] < 0.02 < 0.2 < metrics.teacher_kl[0]


def test_a_teacher_with_a_memory_is_refused_with_the_reason():
    config = dataclasses.replace(SEEING, memory_size=4)
    agent = Agent(make_network(config, Box((3,)), Discrete(3)).init(jax.random.key(0)))
    with pytest.raises(UsageError, match=r"has a memory .* would have to follow what the student does"):
        make_teacher(config, agent, guess(), "critic")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"teacher_sees": "actor"}, r"params/actor/params/Dense_0/kernel is \[3, 8\], not \[1, 8\]"),
        ({"teacher": "nobody"}, r"teacher = 'nobody' is a policy that has not been loaded"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_with_what_differs(changes, problem):
    with pytest.raises(UsageError, match=problem):
        make_ppo(dataclasses.replace(CONFIG, **changes), guess())


def test_a_teacher_cannot_see_more_than_there_is():
    with pytest.raises(UsageError, match="shows its critic nothing more than its actor"):
        make_ppo(dataclasses.replace(CONFIG, env="CartPole-v1"))


def test_a_teacher_of_the_callers_own_needs_a_name():
    teacher = make_teacher(SEEING, seeing(), guess(), "critic")
    make_ppo(CONFIG, guess(), teacher=teacher)
    with pytest.raises(UsageError, match=r"config.teacher is None; give it a name"):
        make_ppo(PLAIN, guess(), teacher=teacher)


@pytest.mark.parametrize(
    ("changes", "hyper", "problem"),
    [
        ({"teacher_sees": "critic"}, {}, "teacher_sees = 'critic' has no effect with teacher = None"),
        ({}, {"teacher_coefficient": 2.0}, "teacher_coefficient = 2.0 has no effect with teacher = None"),
        ({}, {"teacher_steps": 100.0}, "teacher_steps = 100.0 has no effect with teacher = None"),
        ({"teacher": 3}, {}, "teacher = 3 is not the path of a run"),
    ],
)
def test_settings_without_a_teacher_are_refused(changes, hyper, problem):
    with pytest.raises(UsageError, match=problem):
        validate(dataclasses.replace(PLAIN, env="CartPole-v1", **changes), HYPER._replace(**hyper))
