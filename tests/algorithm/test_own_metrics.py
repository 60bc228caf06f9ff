"""The environment's own metrics: exact against a count by hand, without keeping anything for each step."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ppo_jax
from ppo_jax.algorithm import own_metrics, rollout
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.host.runs import records
from ppo_jax.networks.make import make_network
from ppo_jax.networks.network import network_for
from ppo_jax.spaces import Box, Discrete

CONFIG = ppo_jax.Config(
    "walk",
    num_envs=16,
    num_steps=64,
    total_timesteps=16 * 64 * 40,
    num_epochs=1,
    num_minibatches=1,
    hidden_sizes=(4,),
)


def walk(metrics_of, longest=7):
    """Episodes of a random length up to `longest`; the metrics are a function of the time and of the end."""

    def reset(key):
        length = jax.random.randint(key, (), 1, longest + 1)
        return (jnp.int32(0), length), jnp.zeros(2)

    def step(key, state, action):
        time, length = state[0] + 1, state[1]
        done = time >= length
        observation = jnp.stack([time / 10.0, length / 10.0])
        transition = Transition(
            observation, jnp.float32(1), done, jnp.array(False), metrics_of(time, length, done)
        )
        return (time, length), transition

    return Dynamics(reset, step, Box((2,)), Discrete(2))


def tell(time, length, done):
    return {
        "success": done & (length > 3),
        "time": time,
        "price": jnp.where(done, -2.5, 0.0),
        "odd": length % 2 == 1,
    }


@pytest.fixture(scope="module")
def told():
    """40 updates, about 10,000 episodes."""
    train = jax.jit(partial(ppo_jax.train, CONFIG, environment=make_batched(walk(tell))))
    _, metrics = train(ppo_jax.Hyperparams(), jax.random.key(0))
    return jax.device_get(metrics)


def test_each_is_the_mean_of_its_sums_exactly_as_counted_by_hand(told):
    """The rollouts are repeated step by step in NumPy from what the collector goes through."""
    environment = make_batched(walk(tell))
    network = network_for(CONFIG, environment, make_network)
    params = network.init(jax.random.key(1))
    collector = rollout.init_collector(CONFIG, environment, network, jax.random.key(2))
    collect = jax.jit(partial(rollout.collect, CONFIG, environment, network, ppo_jax.Hyperparams()))
    # Per copy, the sums of the episode that it is in.
    sums = np.zeros((CONFIG.num_envs, 4))
    episodes = 0
    for update in range(42):
        collector, trajectory, summary = collect(jax.random.key(update), params, collector)
        after = np.asarray(trajectory.final_observation) * 10  # time and length of the successor, [T, N, 2]
        done, ended = np.asarray(trajectory.done), []
        for step in range(CONFIG.num_steps):
            time, length = after[step].round().T
            values = [done[step] & (length > 3), time, np.where(done[step], -2.5, 0), length % 2 == 1]
            sums += np.stack(values, axis=1)
            ended += list(sums[done[step]])
            sums[done[step]] = 0
        episodes += len(ended)
        assert summary.num_ended == len(ended)
        expected = np.mean(ended, axis=0)
        found = [summary.metrics[name] for name in ("success", "time", "price", "odd")]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert episodes > 10_000


def test_they_are_further_fields_of_the_metrics(told):
    assert told._fields == (*ppo_jax.Metrics._fields, "odd", "price", "success", "time")
    assert all(column.shape == (CONFIG.num_updates,) for column in told)
    assert (told.price == -2.5).all()
    assert ((told.success > 0.4) & (told.success < 0.75)).all()  # lengths 4 to 7 of 1 to 7
    assert (told.episodes.sum(), told.episodes.min()) > (9_000, 100)


@pytest.mark.long
def test_where_no_episode_ended_there_is_no_value(tmp_path):
    environment = make_batched(walk(tell, longest=1)._replace(step=endless))
    config = ppo_jax.Config("endless", 2, 4, 24, num_minibatches=1, hidden_sizes=(4,))
    _, metrics = ppo_jax.train(config, ppo_jax.Hyperparams(), jax.random.key(0), environment)
    assert np.isnan(metrics.success).all()
    rows = records.from_metrics(jax.device_get(metrics), 3, records.Clock(1, 0.0, 1.0))
    assert [row["success"] for row in rows] == [None] * 3
    assert "NaN" not in json.dumps(rows)


def endless(key, state, action):
    never = jnp.array(False)
    return state, Transition(jnp.zeros(2), jnp.float32(1), never, never, {"success": jnp.float32(1)})


def test_an_episode_that_spans_updates_is_counted_where_it_ends():
    def step(key, state, action):
        time = state[0] + 1
        never = jnp.array(False)
        return (time, state[1]), Transition(jnp.zeros(2), jnp.float32(1), time >= 10, never, {"steps": 1})

    environment = make_batched(walk(tell)._replace(step=step))
    config = ppo_jax.Config("spans", 2, 4, 40, num_minibatches=1, hidden_sizes=(4,))
    _, metrics = ppo_jax.train(config, ppo_jax.Hyperparams(), jax.random.key(0), environment)
    np.testing.assert_array_equal(metrics.steps, [np.nan, np.nan, 10, np.nan, 10])  # after 10 and 20 steps


def test_an_evaluation_has_the_sums_of_each_episode():
    def step(key, state, action):
        time = state[0] + 1
        return (time, state[1]), Transition(
            jnp.zeros(2), jnp.float32(1), time >= state[1], jnp.array(False), {"steps": 1.0}
        )

    environment = make_batched(walk(tell)._replace(step=step))
    params = network_for(CONFIG, environment, make_network).init(jax.random.key(0))
    episodes = ppo_jax.evaluate(CONFIG, jax.random.key(1), params, 50, environment=environment)
    np.testing.assert_array_equal(episodes.steps, episodes.episode_length)
    assert len(set(episodes.steps.tolist())) > 3


def test_nothing_is_kept_for_each_step():
    """The program of a rollout returns no array [T, N] and no array [T] for a metric."""

    def outputs(metrics_of):
        environment = make_batched(walk(metrics_of))
        network = network_for(CONFIG, environment, make_network)
        params = network.init(jax.random.key(0))
        collector = rollout.init_collector(CONFIG, environment, network, jax.random.key(0))
        collect = partial(rollout.collect, CONFIG, environment, network, ppo_jax.Hyperparams())
        jaxpr = jax.make_jaxpr(collect)(jax.random.key(0), params, collector).jaxpr
        return sum(var.aval.shape[:1] == (CONFIG.num_steps,) for eqn in jaxpr.eqns for var in eqn.outvars)

    assert outputs(tell) == outputs(lambda *_: {})


def test_an_environment_without_any_has_the_program_it_always_had():
    environment = make_batched(walk(lambda *_: {}))
    assert own_metrics.names_of(environment) == ()
    state = jax.eval_shape(
        ppo_jax.make_ppo(CONFIG, environment).init, ppo_jax.Hyperparams(), jax.random.key(0)
    )
    assert jax.tree.leaves(state.collector.episodes.running_metrics) == []
    assert own_metrics.extend(ppo_jax.Metrics, ()) is ppo_jax.Metrics


@pytest.mark.parametrize(
    ("metrics", "problem"),
    [
        ({"entropy": 1.0}, r"a metric 'entropy', which is the name of another one; give another name"),
        ({"update": 1.0}, r"a metric 'update', which is taken"),
        ({"repeated_starts": 1.0}, r"a metric 'repeated_starts', which is taken"),
        ({"reward/speed": 1.0}, r"'reward/speed', which is taken or is not a name.*such as success"),
        ({"": 1.0}, r"a metric ''"),
        ({"_hidden": 1.0}, r"'_hidden'"),
        ({"position": jnp.zeros(3)}, r"metric 'position' has the shape \[3\]; give one number"),
    ],
)
def test_a_metric_that_cannot_be_reported_is_refused_by_its_name(metrics, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem):
        ppo_jax.train(
            CONFIG, ppo_jax.Hyperparams(), jax.random.key(0), make_batched(walk(lambda *_: metrics))
        )


def test_a_metric_that_is_added_or_dropped_midway_is_refused_by_its_name():
    calls = []

    def fickle(*_):
        calls.append(None)
        return {"success": 1.0} if len(calls) == 1 else {"speed": 1.0}

    with pytest.raises(ppo_jax.UsageError, match="success dropped, speed added; give the same names"):
        ppo_jax.train(CONFIG, ppo_jax.Hyperparams(), jax.random.key(0), make_batched(walk(fickle)))


@pytest.mark.long
def test_seeds_can_be_vmapped_over():
    config = ppo_jax.Config("walk", 4, 8, 64, num_minibatches=1, hidden_sizes=(4,))
    train = partial(ppo_jax.train, config, environment=make_batched(walk(tell)))
    keys = jax.random.split(jax.random.key(0), 3)
    _, metrics = jax.jit(jax.vmap(train, in_axes=(None, 0)))(ppo_jax.Hyperparams(), keys)
    assert metrics.success.shape == (3, 2)
