"""A sweep is every point from every seed in one program, and each is the run it would be alone."""

from functools import partial

import chex
import jax
import numpy as np
import pytest

from ppo_jax.algorithm.train import train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.scale.sweep import sweep
from tests.support import probes
from tests.support.counted import Counted
from tests.support.linear import make_linear_network

CONFIG = Config(
    num_envs=2, num_steps=8, total_timesteps=4 * 16, num_epochs=2, num_minibatches=2, hidden_sizes=(4,)
)
H, S, U = 3, 2, 4
KEYS = jax.random.split(jax.random.key(0), S)
VARIED = {
    "learning_rate": np.array([1e-4, 1e-3, 1e-2], np.float32),
    "gamma": np.array([0.9, 1.0, 0.5], np.float32),
    "clip_epsilon": np.array([0.1, np.inf, 0.3], np.float32),
    "entropy_coefficient": np.array([0.0, 0.1, 0.01], np.float32),
}
HYPER = Hyperparams(**VARIED)  # the other fields are shared


@pytest.fixture(scope="module")
def counted():
    return Counted(partial(sweep, CONFIG))


@pytest.fixture(scope="module")
def swept(counted):
    return counted.run(HYPER, KEYS)


def test_metrics_and_states_have_axes_for_points_and_seeds(swept):
    states, metrics = swept
    chex.assert_shape(metrics, (H, S, U))
    chex.assert_tree_shape_prefix(states.learner, (H, S))
    chex.assert_shape(states.num_updates, (H, S))


def test_run_h_s_is_the_run_of_point_h_with_seed_s(swept):
    """Up to the rounding that differs with a batch axis; what is counted is the same to the bit."""
    states, metrics = swept
    run = jax.jit(partial(train, CONFIG))
    for h, s in np.ndindex(H, S):
        point = HYPER._replace(**{name: values[h] for name, values in VARIED.items()})
        state, single = run(point, KEYS[s])
        take = partial(jax.tree.map, lambda x, h=h, s=s: x[h, s])
        np.testing.assert_array_equal(take(metrics).episodes, single.episodes)
        chex.assert_trees_all_close(take(metrics), single, rtol=1e-4, atol=1e-5)
        chex.assert_trees_all_close(take(states.learner), state.learner, rtol=1e-4, atol=1e-5)


def test_every_point_and_every_seed_is_another_run(swept):
    kernels = swept[0].learner.params["critic"]["params"]["Dense_0"]["kernel"]
    assert len(np.unique(np.asarray(kernels).reshape(H * S, -1), axis=0)) == H * S


def test_other_learning_rates_entropy_coefficients_clip_ranges_and_keys_do_not_compile_again(counted, swept):
    other = HYPER._replace(
        learning_rate=HYPER.learning_rate * 2,
        entropy_coefficient=HYPER.entropy_coefficient + 0.1,
        clip_epsilon=HYPER.clip_epsilon / 2,
        value_clip_epsilon=0.1,
    )
    _, metrics = counted.run(other, jax.random.split(jax.random.key(1), S))
    assert not np.array_equal(metrics.entropy, swept[1].entropy)
    assert counted.traces == 1


@pytest.mark.parametrize("name", ["learning_rate", "clip_epsilon", "entropy_coefficient"])
def test_each_point_has_its_own_hyperparameters(swept, name):
    np.testing.assert_allclose(getattr(swept[1], name)[:, :, 0], VARIED[name][:, None].repeat(S, 1))


@pytest.mark.long
def test_a_caller_may_sweep_an_environment_and_a_network_of_their_own():
    states, metrics = sweep(CONFIG, HYPER, KEYS, probes.counter(time_limit=4), make_linear_network)
    np.testing.assert_array_equal(metrics.episode_return, np.full((H, S, U), 1.0 + 2 + 3 + 4))
    chex.assert_shape(states.learner.params["actor"], (H, S, 1, 2))
    chex.assert_shape(states.learner.params["critic"], (H, S, 1))


@pytest.mark.parametrize(
    ("hyper", "keys"),
    [
        pytest.param(Hyperparams(), KEYS, id="nothing to sweep over"),
        pytest.param(HYPER, jax.random.key(0), id="one key"),
        pytest.param(Hyperparams(gamma=np.ones((2, 2))), KEYS, id="a matrix"),
    ],
)
def test_a_sweep_over_nothing_or_too_much_is_refused(hyper, keys):
    with pytest.raises(UsageError, match=r"array \[H\]"):
        sweep(CONFIG, hyper, keys)
