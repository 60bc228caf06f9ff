"""Values, advantages and targets of a trajectory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.algorithm.estimate import estimate, explained_variance, successor_values
from ppo_jax.algorithm.loss import Samples
from ppo_jax.algorithm.rollout import Trajectory
from ppo_jax.config import Config, Hyperparams
from ppo_jax.networks.distributions import Categorical
from ppo_jax.networks.flax import make_network
from ppo_jax.spaces import Box, Discrete
from tests.support import oracles

T, N = 5, 3
CONFIG = Config(num_envs=N, num_steps=T, num_minibatches=1, hidden_sizes=(8,))
HYPER = Hyperparams(gamma=0.9, gae_lambda=0.8)
NETWORK = make_network(CONFIG, Box((4,)), Discrete(2))
PARAMS = NETWORK.init(jax.random.key(0))

RANDOM = np.random.default_rng(0)
NOWHERE, EVERYWHERE = np.zeros((T, N), bool), np.ones((T, N), bool)
SOME, OTHERS = RANDOM.random((2, T, N)) < 0.3
# More than N episodes that are cut off take several rounds.
ENDS = {
    "no end but that of the rollout": (NOWHERE, NOWHERE),
    "some of both": (SOME, OTHERS & ~SOME),
    "both at once": (SOME, SOME),
    "every step a time limit": (NOWHERE, EVERYWHERE),
    "every step the end of the task": (EVERYWHERE, NOWHERE),
}
every_kind_of_end = pytest.mark.parametrize(("terminated", "truncated"), ENDS.values(), ids=ENDS)


def trajectory_of(terminated, truncated):
    """A trajectory in which the successor is the next state wherever the episode goes on."""
    observation, successor = RANDOM.normal(size=(2, T, N, 4)).astype(np.float32)
    done = terminated | truncated
    successor[:-1] = np.where(done[:-1, :, None], successor[:-1], observation[1:])
    return Trajectory(
        observation=jnp.asarray(observation),
        action=jnp.zeros((T, N), jnp.int32),
        policy=Categorical(jnp.asarray(RANDOM.normal(size=(T, N, 2)), jnp.float32)),
        final_observation=jnp.asarray(successor),
        reward=jnp.asarray(RANDOM.normal(size=(T, N)), jnp.float32),
        terminated=jnp.asarray(terminated),
        done=jnp.asarray(done),
        start=jnp.zeros((T, N), bool),
        memory=NETWORK.init_memory(N),
    )


def successors_of(trajectory):
    """What `successor_values` makes of a trajectory, by a network without memory."""
    value, memory = NETWORK.value(PARAMS, trajectory.observation), NETWORK.init_memory(N)
    return successor_values(NETWORK, PARAMS, trajectory, value, memory)


@every_kind_of_end
def test_successors_have_the_values_that_the_network_gives_to_each_of_them(terminated, truncated):
    trajectory = trajectory_of(terminated, truncated)
    plain = NETWORK.value(PARAMS, trajectory.final_observation)
    fast = jax.jit(successors_of)(trajectory)
    np.testing.assert_allclose(fast[~terminated], plain[~terminated], rtol=1e-5, atol=1e-6)


def test_trajectories_of_several_agents_are_each_valued_to_the_end():
    trajectories = [trajectory_of(*ends) for ends in ENDS.values()]
    fast = jax.vmap(successors_of)(jax.tree.map(lambda *xs: jnp.stack(xs), *trajectories))
    for trajectory, ours in zip(trajectories, fast, strict=True):
        plain = NETWORK.value(PARAMS, trajectory.final_observation)
        goes_on = ~trajectory.terminated
        np.testing.assert_allclose(ours[goes_on], plain[goes_on], rtol=1e-5, atol=1e-6)


def test_only_what_was_cut_off_is_valued_a_second_time():
    trajectory = trajectory_of(*ENDS["some of both"])
    cut_off = trajectory.done.at[-1].set(True) & ~trajectory.terminated
    unseen = jnp.where(cut_off[..., None], trajectory.final_observation, jnp.nan)
    same = successors_of(trajectory), successors_of(trajectory._replace(final_observation=unseen))
    np.testing.assert_array_equal(*same)


@every_kind_of_end
def test_a_batch_holds_the_advantages_of_the_oracle_and_what_was_seen(terminated, truncated):
    trajectory = trajectory_of(terminated, truncated)
    batch = estimate(CONFIG, NETWORK, HYPER, PARAMS, trajectory)
    value = NETWORK.value(PARAMS, trajectory.observation)
    next_value = NETWORK.value(PARAMS, trajectory.final_observation)
    # Either end cuts the trace; the end of the task alone leaves nothing to value.
    expected = oracles.gae(
        np.asarray(trajectory.reward), value, next_value, terminated, truncated, HYPER.gamma, HYPER.gae_lambda
    )
    np.testing.assert_allclose(batch.advantage, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(batch.value, value, rtol=1e-6)
    np.testing.assert_allclose(batch.target, batch.advantage + batch.value, rtol=1e-6)
    for name in ("observation", "action", "log_prob"):
        np.testing.assert_array_equal(getattr(batch, name), getattr(trajectory, name))


TARGET = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("value", "explained"),
    [
        pytest.param(TARGET, 1.0, id="perfect"),
        pytest.param(TARGET + 3, 1.0, id="an offset does not vary"),
        pytest.param(np.zeros_like(TARGET), 0.0, id="a constant explains nothing"),
        pytest.param(-TARGET, -3.0, id="worse than a constant"),
        pytest.param(TARGET / 2, 0.75, id="half way"),
    ],
)
def test_explained_variance_of_known_values(value, explained):
    assert float(explained_variance(batch_of(value, TARGET))) == pytest.approx(explained, abs=1e-5)


def test_explained_variance_is_unknown_where_targets_do_not_vary():
    assert np.isnan(explained_variance(batch_of(TARGET, np.ones_like(TARGET))))


def test_rounding_is_not_taken_for_variance():
    one = np.float32(1)
    target = np.where(np.eye(8, dtype=bool), one, np.nextafter(one, np.float32(2)))
    assert target.var() > 0
    assert np.isnan(explained_variance(batch_of(np.zeros_like(target), target)))


def batch_of(value, target):
    blank = jnp.zeros(target.shape)
    return Samples(blank, blank, blank, jnp.asarray(value), blank, jnp.asarray(target))
