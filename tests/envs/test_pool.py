"""A pool of first states: handed out in order, independent while it lasts, and counted when it does not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm import rollout
from ppo_jax.conformance import check
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.spaces import Box, Discrete

N, T = 4, 25


def tickets(pool, mean_length=5):
    """Each episode begins with a ticket, a random number that it keeps; it ends by chance."""

    def reset(key):
        ticket = jax.random.uniform(key)
        return ticket, jnp.stack([ticket, 0.0])

    def step(key, state, action):
        done = jax.random.bernoulli(key, 1 / mean_length)
        return state, Transition(jnp.stack([state, 1.0]), jnp.float32(1), done, jnp.array(False))

    return Dynamics(reset, step, Box((2,), 0.0, 1.0), Discrete(2), reset_pool=pool)


def rollouts(pool, num_updates, mean_length=5):
    """The trajectories of several rollouts, and how many starts were repeated in each."""
    config = ppo_jax.Config("tickets", N, T, N * T * num_updates, num_minibatches=1, hidden_sizes=(4,))
    environment = make_batched(tickets(pool, mean_length))
    network = network_for(config, environment, make_network)
    params = network.init(jax.random.key(0))
    collector = rollout.init_collector(config, environment, network, jax.random.key(1))
    collect = jax.jit(partial(rollout.collect, config, environment, network, ppo_jax.Hyperparams()))
    for update in range(num_updates):
        collector, trajectory, _ = collect(jax.random.key(update), params, collector)
        yield jax.device_get((collector, trajectory))


def starts_in_order(collector, trajectory):
    """The tickets with which episodes began after the first step, by step and then by copy."""
    tickets = np.concatenate([trajectory.observation[1:, :, 0], collector.observation[None, :, 0]])
    return tickets[trajectory.done]


def test_first_states_are_handed_out_in_order_and_then_again_from_the_first():
    for collector, trajectory in rollouts(pool=6, num_updates=5):
        pool = collector.environment.observation[:, 0]
        starts = starts_in_order(collector, trajectory)
        assert len(starts) > 6
        np.testing.assert_array_equal(starts, pool[np.arange(len(starts)) % 6])
        assert collector.repeated_starts == len(starts) - 6
        assert collector.environment.used == len(starts)


def test_as_long_as_it_lasts_no_first_state_is_seen_twice_in_any_rollout():
    seen = []
    for collector, trajectory in rollouts(pool=N * T, num_updates=20):
        assert collector.repeated_starts == 0
        seen += starts_in_order(collector, trajectory).tolist()
    assert len(seen) > 300
    assert len(set(seen)) == len(seen)
    # They are distributed as `reset` distributes them, and one does not predict the next.
    assert abs(np.mean(seen) - 0.5) < 4 * np.sqrt(1 / 12 / len(seen))
    correlation = np.corrcoef(seen[:-1], seen[1:])[0, 1]
    assert abs(correlation) < 4 / np.sqrt(len(seen))


@pytest.mark.long
def test_the_count_of_repeated_starts_is_reported_for_each_update():
    config = ppo_jax.Config("tickets", N, T, N * T * 3, num_minibatches=1, hidden_sizes=(4,))
    train = partial(ppo_jax.train, config, ppo_jax.Hyperparams(), jax.random.key(0))
    _, few = train(make_batched(tickets(2)))
    np.testing.assert_array_equal(few.repeated_starts, few.episodes - 2)
    assert few.repeated_starts.dtype == jnp.int32
    _, many = train(make_batched(tickets(N * T)))
    np.testing.assert_array_equal(many.repeated_starts, 0)
    _, none = train(make_batched(tickets(None)))
    assert not hasattr(none, "repeated_starts")


@pytest.mark.long
def test_whole_evaluations_and_seeds_work_with_a_pool():
    config = ppo_jax.Config("tickets", N, T, N * T, num_minibatches=1, hidden_sizes=(4,))
    environment = make_batched(tickets(3))
    train = partial(ppo_jax.train, config, environment=environment)
    keys = jax.random.split(jax.random.key(0), 3)
    states, metrics = jax.jit(jax.vmap(train, in_axes=(None, 0)))(ppo_jax.Hyperparams(), keys)
    assert metrics.repeated_starts.shape == (3, 1)
    params = jax.tree.map(lambda x: x[0], states.learner.params)
    episodes = ppo_jax.evaluate(config, jax.random.key(1), params, 200, environment=environment)
    assert episodes.finished.all()
    assert 4 < episodes.episode_length.mean() < 6


@pytest.mark.parametrize("pool", [None, 1, 64])
def test_both_kinds_keep_to_the_contract(pool):
    check(make_batched(tickets(pool)))


@pytest.mark.parametrize("pool", [0, -1, 2.0, True, "many"])
def test_a_pool_of_another_size_is_refused(pool):
    with pytest.raises(ppo_jax.UsageError, match="is not an int of at least 1; give one such as 256"):
        make_batched(tickets(pool))


def test_a_pool_that_breaks_the_contract_is_found():
    environment = make_batched(tickets(4))
    pool = environment.pool

    def refill_the_same(key, state):
        return pool.refill(jax.random.key(0), state)

    def refill_another_layout(key, state):
        return state._replace(used=jnp.float32(0))

    with pytest.raises(ppo_jax.UsageError, match="the same first states for another key"):
        check(environment._replace(pool=pool._replace(refill=refill_the_same)))
    with pytest.raises(ppo_jax.UsageError, match=r"the state from pool\.refill has another structure"):
        check(environment._replace(pool=pool._replace(refill=refill_another_layout)))
    with pytest.raises(ppo_jax.UsageError, match=r"pool\.repeated is float32\[\], not int32\[\]"):
        check(environment._replace(pool=pool._replace(repeated=lambda state: jnp.float32(0))))
