"""The order of the samples, the step sizes, and Adam against float64."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.loss import Samples
from ppo_jax.algorithm.schedules import at_update, init_steering
from ppo_jax.algorithm.update import improve, init_learner
from ppo_jax.config import Config, Hyperparams
from tests.support import oracles
from tests.support.linear import as_oracle, linear_network, random_params, random_samples

NETWORK = linear_network()
STILL = Hyperparams(learning_rate=0.0)  # moves nothing but Adam
FAST = Hyperparams(learning_rate=0.1)
compiled_update = jax.jit(improve, static_argnums=(0, 1))


def make_config(num_steps=6, num_envs=4, num_epochs=3, num_minibatches=4, num_updates=1, **others):
    return Config(
        **others,
        num_steps=num_steps,
        num_envs=num_envs,
        num_epochs=num_epochs,
        num_minibatches=num_minibatches,
        total_timesteps=num_updates * num_steps * num_envs,
    )


def make_learner(params, hyper=Hyperparams()):  # noqa: B008 (immutable)
    return init_learner(NETWORK, hyper, jax.random.key(0))._replace(params=params)


def random_start(config, seed=0):
    """Parameters and a batch [T, N]."""
    rng = np.random.default_rng(seed)
    params = random_params(rng)
    return params, random_samples(rng, params, (config.num_steps, config.num_envs))


def numbered_batch(config):
    """Samples that carry their own number in every field."""
    numbers = jnp.arange(config.batch_size, dtype=jnp.float32).reshape(config.num_steps, config.num_envs)
    observation = jnp.repeat(numbers[..., None], 3, axis=-1)
    return Samples(observation, numbers.astype(jnp.int32) * 0, *[numbers] * 4)


def orders_of_update(config, seen, key):
    """The numbers of the samples as they were used in one update, [K, B]."""
    seen.clear()
    params = jax.tree.map(jnp.zeros_like, NETWORK.init(key))
    improve(config, NETWORK, STILL, key, make_learner(params), numbered_batch(config))
    jax.effects_barrier()
    assert [len(minibatch.value) for minibatch in seen] == [config.minibatch_size] * len(seen)
    return np.concatenate([minibatch.value for minibatch in seen]).reshape(config.num_epochs, -1)


def test_every_sample_is_used_exactly_once_per_epoch(seen):
    config = make_config()
    orders = orders_of_update(config, seen, jax.random.key(0))
    np.testing.assert_array_equal(np.sort(orders), np.tile(np.arange(config.batch_size), (3, 1)))


def test_the_order_differs_between_epochs_and_between_updates(seen):
    config = make_config(num_epochs=2)
    orders = [orders_of_update(config, seen, jax.random.key(seed)) for seed in (0, 1)]
    assert len(np.unique(np.concatenate(orders), axis=0)) == 4


def test_the_fields_of_a_sample_stay_together(seen):
    orders_of_update(make_config(), seen, jax.random.key(0))
    for minibatch in seen:
        fields = (minibatch.observation[:, 0], minibatch.log_prob, minibatch.advantage, minibatch.target)
        np.testing.assert_array_equal(fields, [minibatch.value] * 4)


def rates(hyper, num_updates=10):
    schedule = partial(at_update, make_config(), hyper, init_steering())
    return jax.vmap(schedule)(jnp.arange(num_updates) / num_updates).learning_rate


def test_equal_ends_make_the_learning_rate_constant():
    actual = rates(Hyperparams(learning_rate=3e-4, final_learning_rate=3e-4))
    np.testing.assert_array_equal(actual, np.full(10, np.float32(3e-4)))


def test_a_single_update_uses_the_first_learning_rate():
    np.testing.assert_allclose(rates(Hyperparams(learning_rate=0.1), num_updates=1), [0.1], rtol=1e-6)


@pytest.mark.parametrize("max_grad_norm", [0.05, 0.5, math.inf])
@pytest.mark.parametrize("adam_epsilon", [1e-5, 1.0])
@pytest.mark.parametrize("num_epochs", [1, 5])
def test_gradient_steps_match_adam_in_float64(num_epochs, adam_epsilon, max_grad_norm):
    """With one minibatch per epoch, of which the order does not matter, K epochs are K plain steps."""
    config = make_config(num_epochs=num_epochs, num_minibatches=1)
    hyper = Hyperparams(learning_rate=0.1, max_grad_norm=max_grad_norm, adam_epsilon=adam_epsilon)
    params, batch = random_start(config)
    learner, info = compiled_update(
        config, NETWORK, hyper, jax.random.key(0), make_learner(params, hyper), batch
    )

    samples = oracles.Samples(*(x.reshape(config.batch_size, *x.shape[2:]) for x in as_oracle(batch)))
    knobs = oracles.Knobs(*(getattr(hyper, name) for name in oracles.Knobs._fields))
    expected, norms = oracles.adam(
        lambda params: oracles.ppo_loss(params, samples, knobs, normalized=True).gradient,
        params,
        num_epochs,
        oracles.AdamSettings(rate=0.1, epsilon=adam_epsilon, max_grad_norm=max_grad_norm),
    )
    chex.assert_trees_all_close(learner.params, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(info.grad_norm, np.mean(norms), rtol=1e-4)  # as it was before scaling


def run(config, hyper, seed=0):
    params, batch = random_start(config, seed)
    return compiled_update(config, NETWORK, hyper, jax.random.key(seed), make_learner(params, hyper), batch)


def test_an_infinite_bound_on_the_gradient_is_no_bound():
    config = make_config()
    off, out_of_reach = (run(config, FAST._replace(max_grad_norm=bound)) for bound in (math.inf, 1e9))
    chex.assert_trees_all_equal(off, out_of_reach)


def test_a_rate_of_zero_moves_nothing_but_adam():
    config = make_config()
    learner, _ = run(config, STILL)
    chex.assert_trees_all_equal(learner.params, random_start(config)[0])


def test_three_learning_rates_are_one_trace():
    config = make_config()
    traced = jax.jit(chex.assert_max_traces(lambda *rest: improve(config, NETWORK, *rest), n=1))
    for rate in (1e-4, 1e-3, 1e-2):
        hyper = Hyperparams(learning_rate=rate)
        params, batch = random_start(config)
        traced(hyper, jax.random.key(0), make_learner(params, hyper), batch)


@pytest.mark.parametrize(("num_steps", "num_envs"), [(1, 1), (1, 4), (4, 1)])
def test_one_step_or_one_environment_is_enough(num_steps, num_envs):
    config = make_config(num_steps=num_steps, num_envs=num_envs, num_minibatches=1)
    learner, info = run(config, FAST)
    chex.assert_tree_all_finite((learner, info))
    chex.assert_trees_all_equal_shapes_and_dtypes(learner.params, random_start(config)[0])


def test_every_sample_may_be_a_minibatch_of_its_own():
    config = make_config(num_steps=2, num_envs=4, num_minibatches=8)
    chex.assert_tree_all_finite(run(config, FAST))


def test_an_update_reports_means_over_its_gradient_steps(seen):
    config = make_config(num_epochs=2)
    params, batch = random_start(config)
    _, info = improve(config, NETWORK, STILL, jax.random.key(0), make_learner(params), batch)
    jax.effects_barrier()
    knobs = oracles.Knobs(*(getattr(Hyperparams(), name) for name in oracles.Knobs._fields))
    losses = [oracles.ppo_loss(params, as_oracle(part), knobs, True) for part in seen]
    assert info.loss.teacher_kl is None
    for name in info.loss._fields[:-1]:
        value = getattr(info.loss, name)
        np.testing.assert_allclose(
            value, np.mean([getattr(loss, name) for loss in losses]), rtol=1e-4, atol=1e-6
        )
    chex.assert_shape(jax.tree.leaves(info), ())


@pytest.mark.parametrize("max_grad_norm", [0.5, math.inf])
@pytest.mark.parametrize("normalized", [True, False])
def test_extreme_samples_leave_the_parameters_finite(normalized, max_grad_norm):
    config = make_config(num_minibatches=1, normalize_advantages=normalized)
    params, batch = random_start(config)
    batch = batch._replace(
        log_prob=batch.log_prob - 19, advantage=batch.advantage * 1e30, target=batch.target * 1e30
    )
    hyper = FAST._replace(max_grad_norm=max_grad_norm)
    learner, info = compiled_update(
        config, NETWORK, hyper, jax.random.key(0), make_learner(params, hyper), batch
    )
    chex.assert_tree_all_finite((learner.params, info.loss))
