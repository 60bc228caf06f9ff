"""Who sees what, which weights are shared, and memories: against one environment, stepped by hand."""

import dataclasses
import math
from functools import partial
from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

from ppo_jax.algorithm.estimate import estimate
from ppo_jax.algorithm.rollout import collect, init_collector
from ppo_jax.algorithm.train import make_ppo, train
from ppo_jax.algorithm.update import improve, init_learner
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import (
    Dynamics,
    Observation,
    TimeStep,
    Transition,
    critic_features,
    make_batched,
)
from ppo_jax.errors import UsageError
from ppo_jax.networks.distributions import num_outputs
from ppo_jax.networks.flax import Stack, make_network, plain, recurrent
from ppo_jax.networks.network import separate
from ppo_jax.spaces import Box, Discrete
from tests.support import oracles, probes
from tests.support import oracles_continuous as more_oracles

# Who sees what


def random_params(network):
    """Parameters of the right shapes, none of them 0, without the cost of orthogonal ones."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(network.init, jax.random.key(0))
    return jax.tree.map(lambda x: 0.5 * rng.normal(size=x.shape).astype(np.float32), shapes)


def output(part, network, params, observation):
    """A number that depends on the whole policy (part 0) or on the values (part 1), at some memory."""
    batch = critic_features(observation).shape[0]
    memory = jax.tree.map(jnp.ones_like, network.init_memory(batch))
    policy, value, _ = network.apply(params, memory, observation, jnp.zeros(batch, bool))
    return ((policy.logits**3).sum(), value.sum())[part]


slopes = jax.jit(jax.grad(output, argnums=(2, 3)), static_argnums=(0, 1))


def reaches(part, network, params, observation):
    """What of (parameters, observation) moves the policy (part 0) or the value (part 1): True or False."""
    return jax.tree.map(lambda x: bool(np.any(x != 0)), slopes(part, network, params, observation))


ASYMMETRIC = Observation(features=jnp.ones((5, 3)), privileged=jnp.ones((5, 4)))


def test_the_actor_sees_the_features_and_the_critic_only_what_is_privileged():
    network = make_network(Config(hidden_sizes=(6,)), Box((3,)), Discrete(2), Box((4,)))
    params = random_params(network)
    _, seen_by_actor = reaches(0, network, params, ASYMMETRIC)
    _, seen_by_critic = reaches(1, network, params, ASYMMETRIC)
    assert seen_by_actor == Observation(features=True, privileged=False)
    assert seen_by_critic == Observation(features=False, privileged=True)


def test_without_anything_privileged_both_see_the_features():
    network = make_network(Config(hidden_sizes=(6,)), Box((3,)), Discrete(2))
    observation = Observation(features=jnp.ones((5, 3)))
    for part in (0, 1):
        assert reaches(part, network, random_params(network), observation)[1].features
    bare, wrapped = (network.value(random_params(network), x) for x in (observation.features, observation))
    np.testing.assert_array_equal(bare, wrapped)


@pytest.mark.parametrize("memory_size", [0, 5])
def test_with_a_shared_torso_policy_and_value_move_the_same_layers(memory_size):
    config = Config(hidden_sizes=(6, 4), shared_torso=True, memory_size=memory_size)
    network = make_network(config, Box((3,)), Discrete(2))
    params = random_params(network)
    assert set(params) == {"shared"}
    torso = {"Dense_0", "Dense_1"} | ({"GRUCell_0"} if memory_size else set())
    for part, own in [(0, "Dense_2"), (1, "Dense_3")]:
        layers = reaches(part, network, params, jnp.ones((7, 3)))[0]["shared"]["params"]
        assert {name for name, layer in layers.items() if any(jax.tree.leaves(layer))} == {*torso, own}


def test_without_a_shared_torso_value_and_policy_move_separate_layers():
    network = make_network(Config(hidden_sizes=(6,)), Box((3,)), Discrete(2))
    params = random_params(network)
    for part, own, other in [(0, "actor", "critic"), (1, "critic", "actor")]:
        reached, _ = reaches(part, network, params, jnp.ones((5, 3)))
        assert all(jax.tree.leaves(reached[own]))
        assert not any(jax.tree.leaves(reached[other]))


@pytest.mark.parametrize("shared_torso", [True, False])
def test_the_deviation_of_a_box_is_a_parameter_that_starts_at_the_scale_of_the_actions(shared_torso):
    config = Config(hidden_sizes=(6,), shared_torso=shared_torso)
    network = make_network(config, Box((3,)), Box((2,), low=-4.0, high=4.0))
    params = jax.jit(network.init)(jax.random.key(0))
    np.testing.assert_array_equal(params["log_std"], np.zeros(2))
    policy = network.policy(params | {"log_std": jnp.array([0.0, 1.0])}, jnp.ones((5, 3)))
    chex.assert_shape([policy.mean, policy.log_std], (5, 2))
    np.testing.assert_allclose(policy.log_std, np.tile(np.log(4) + np.array([0, 1]), (5, 1)), rtol=1e-6)


def test_a_mask_in_the_observation_reaches_the_policy():
    network = make_network(Config(hidden_sizes=(6,)), Box((3,)), Discrete(2))
    legal = jnp.array([[True, False], [False, True], [True, True]])
    observation = Observation(jnp.ones((3, 3)), legal_actions=legal)
    time_step = TimeStep(observation, observation, *(jnp.zeros(3, kind) for kind in (float, bool, bool)))
    np.testing.assert_array_equal(time_step.legal_actions, legal)
    policy = network.policy(random_params(network), time_step.observation)
    np.testing.assert_array_equal(np.exp(policy.log_probs) > 0, legal)


# A caller's own modules


class Own(linen.Module):
    """Nothing like the networks of this package."""

    width: int

    @linen.compact
    def __call__(self, x):
        return linen.Dense(self.width)(jnp.concatenate([x, jnp.sin(x)], axis=-1))


def make_own(config, observation_space, action_space, privileged_space):
    actor = plain(Own(num_outputs(action_space)), observation_space)
    return separate(actor, plain(Own(1), observation_space), action_space)


def make_recurrent(config, observation_space, action_space, privileged_space):
    actor, critic = (
        Stack(1, ((n, 1.0),), (), jnp.tanh, memory_size=3) for n in (num_outputs(action_space), 1)
    )
    towers = (recurrent(module, observation_space, 3) for module in (actor, critic))
    return separate(*towers, action_space)


@pytest.mark.long
def test_a_callers_own_memory_needs_minibatches_of_whole_sequences_too():
    config = Config(env="probe", num_envs=6, num_steps=4, num_minibatches=4)
    with pytest.raises(
        UsageError, match="whole sequences of environments, and num_envs = 6 is not divisible"
    ):
        make_ppo(config, probes.policy_and_value(), make_recurrent)
    config = dataclasses.replace(config, num_minibatches=3, total_timesteps=48)
    run = jax.jit(partial(train, config, environment=probes.policy_and_value(), make_network=make_recurrent))
    chex.assert_tree_all_finite(run(Hyperparams(), jax.random.key(0))[0].learner.params)


def test_a_callers_own_flax_modules_are_trained():
    config = Config(
        env="probe", num_envs=8, num_steps=8, total_timesteps=60 * 64, num_epochs=4, num_minibatches=1
    )
    environment, hyper = probes.policy_and_value(), Hyperparams(learning_rate=0.03, entropy_coefficient=0.0)
    run = jax.jit(partial(train, config, environment=environment, make_network=make_own))
    state, _ = run(hyper, jax.random.key(0))
    network = make_own(config, environment.observation_space, environment.action_space, None)
    shown = jnp.array([[-1.0], [1.0]])
    probability = jnp.exp(network.policy(state.learner.params, shown).log_probs[:, 1])
    np.testing.assert_allclose(probability, [0.0, 1.0], atol=0.1)
    np.testing.assert_allclose(network.value(state.learner.params, shown), [1.0, 2.0], atol=0.1)


# Memory: episodes of random length with random observations


class Walk(NamedTuple):
    """A copy's clock and where it is."""

    time: jax.Array
    place: jax.Array


def _reset(key):
    place = jax.random.normal(key, (2,))
    return Walk(jnp.zeros((), jnp.int32), place), place


def _step(key, walk, action):
    place_key, end_key = jax.random.split(key)
    place = 0.5 * walk.place + jax.random.normal(place_key, (2,)) + 0.1 * action
    terminated, truncated = jax.random.bernoulli(end_key, 0.2, (2,))
    transition = Transition(place, place.sum(), terminated, truncated)
    return Walk(walk.time + 1, place), transition


WALK = Dynamics(_reset, _step, Box((2,)), Discrete(3))
T, N, H = 7, 4, 5
CONFIG = Config(
    env="walk", num_envs=N, num_steps=T, hidden_sizes=(6,), memory_size=H, num_epochs=3, num_minibatches=2
)
ENVIRONMENT = make_batched(WALK)
NETWORK = make_network(CONFIG, WALK.observation_space, WALK.action_space)
HYPER = Hyperparams(gamma=0.9, gae_lambda=0.8)
KEYS = jax.random.split(jax.random.key(5), 3)


class Rolled(NamedTuple):
    """Two rollouts, one after the other."""

    params: dict
    trajectory: object  # both as one, [2T, N, ...]
    batches: tuple


@pytest.fixture(scope="module")
def rolled():
    params = random_params(NETWORK)

    @jax.jit
    def run(key, collector):
        collector, trajectory, _ = collect(CONFIG, ENVIRONMENT, NETWORK, HYPER, key, params, collector)
        return collector, trajectory, estimate(CONFIG, NETWORK, HYPER, params, trajectory)

    collector = init_collector(CONFIG, ENVIRONMENT, NETWORK, KEYS[0])
    collector, first_half, first_batch = run(KEYS[1], collector)
    _, second_half, second_batch = run(KEYS[2], collector)
    whole = jax.tree.map(lambda *halves: np.concatenate(halves), first_half, second_half)
    return Rolled(jax.tree.map(np.float64, params), whole, (first_batch, second_batch))


def tower_by_hand(params, memory, observation):
    """One step of one copy in float64: hidden layer, GRU, output."""
    layers = params["params"]
    x = np.tanh(observation @ layers["Dense_0"]["kernel"] + layers["Dense_0"]["bias"])
    memory = more_oracles.gru(layers["GRUCell_0"], memory, x)
    return memory @ layers["Dense_1"]["kernel"] + layers["Dense_1"]["bias"], memory


class ByHand(NamedTuple):
    """What one copy should have gone through, [2T, ...]."""

    observation: np.ndarray
    start: np.ndarray
    memory: np.ndarray  # of the actor, before each step
    log_prob: np.ndarray
    value: np.ndarray
    next_value: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray


def keys_of_copy(copy):
    """The keys of one copy's steps and of its resets after them, drawn as the rollout draws them."""
    for rollout_key in KEYS[1:]:
        ((_, environment_key),) = jax.random.split(rollout_key, (1, 2))
        keys = [jax.random.split(key, T * N)[copy::N] for key in jax.random.split(environment_key)]
        yield from zip(*keys, strict=True)


def step_by_hand(params, copy, actions):
    """Steps one environment alone, with the actions that the rollout took in this copy."""
    state, observation = WALK.reset(jax.random.split(KEYS[0], N)[copy])
    start, actor_memory, critic_memory, rows = True, np.zeros(H), np.zeros(H), []
    for action, (step_key, reset_key) in zip(actions, keys_of_copy(copy), strict=True):
        if start:
            actor_memory, critic_memory = np.zeros(H), np.zeros(H)
        before = actor_memory
        logits, actor_memory = tower_by_hand(params["actor"], actor_memory, observation)
        value, critic_memory = tower_by_hand(params["critic"], critic_memory, observation)
        state, transition = WALK.step(step_key, state, action)
        next_value, _ = tower_by_hand(params["critic"], critic_memory, transition.observation)
        log_prob = oracles.log_softmax(logits)[action]
        rows.append(ByHand(observation, start, before, log_prob, value[0], next_value[0], *transition[1:4]))
        start, observation = bool(transition.terminated | transition.truncated), transition.observation
        if start:
            state, observation = WALK.reset(reset_key)
    return ByHand(*(np.stack(column) for column in zip(*rows, strict=True)))


@pytest.fixture(scope="module")
def by_hand(rolled):
    """What every copy should have gone through, [2T, N, ...]."""
    copies = [step_by_hand(rolled.params, n, rolled.trajectory.action[:, n]) for n in range(N)]
    return jax.tree.map(lambda *columns: np.stack(columns, axis=1), *copies)


def test_every_copy_remembers_its_own_episode_and_nothing_of_the_one_before(rolled, by_hand):
    trajectory = rolled.trajectory
    np.testing.assert_array_equal(trajectory.start, by_hand.start)
    np.testing.assert_allclose(trajectory.observation, by_hand.observation, rtol=1e-5, atol=1e-6)
    memory = np.where(trajectory.start[..., None], 0, trajectory.memory["actor"])
    np.testing.assert_allclose(memory, by_hand.memory, rtol=1e-4, atol=1e-5)
    starts = by_hand.start[1:]
    assert starts.any(axis=0).all()  # every copy has begun anew at least once,
    assert (starts.any(axis=1) & ~starts.all(axis=1)).any()  # and not all at the same time


def test_probabilities_and_values_are_those_of_the_remembered_episode(rolled, by_hand):
    np.testing.assert_allclose(rolled.trajectory.log_prob, by_hand.log_prob, rtol=1e-4, atol=1e-5)
    value = np.concatenate([batch.value for batch in rolled.batches])
    np.testing.assert_allclose(value, by_hand.value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("half", [0, 1])
def test_the_value_of_a_final_observation_is_taken_with_the_memory_after_the_step(rolled, by_hand, half):
    rows = jax.tree.map(lambda x: x[half * T : (half + 1) * T], by_hand)
    ends = rows.terminated, rows.truncated
    expected = oracles.gae(rows.reward, rows.value, rows.next_value, *ends, HYPER.gamma, HYPER.gae_lambda)
    np.testing.assert_allclose(rolled.batches[half].advantage, expected, rtol=1e-3, atol=1e-4)


def test_the_memory_starts_at_zero_and_is_kept_from_one_rollout_to_the_next(rolled):
    zero = {"actor": np.zeros((N, H)), "critic": np.zeros((N, H))}
    chex.assert_trees_all_equal(NETWORK.init_memory(N), zero)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[0], rolled.trajectory.memory), zero)
    goes_on = ~rolled.trajectory.start[T]
    assert goes_on.any()
    assert np.abs(rolled.trajectory.memory["actor"][T][goes_on]).min(axis=-1).max() > 1e-3


# Sequences


def sequences(tree):
    return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), tree)


@jax.jit
def unroll(params, batch):
    """Log-probabilities and values of sequences of a batch [T, N], as [N, T]."""
    batch = sequences(batch)
    policy, value, memory = NETWORK.unroll(params, batch.memory, batch.observation, batch.start)
    return policy.log_prob(batch.action), value, memory


def test_unrolling_a_sequence_equals_stepping_through_it(rolled):
    params = jax.tree.map(np.float32, rolled.params)
    for batch in rolled.batches:
        log_prob, value, memory = unroll(params, batch)
        np.testing.assert_allclose(log_prob, batch.log_prob.T, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(value, batch.value.T, rtol=1e-5, atol=1e-6)
        before = jax.tree.map(lambda x: x[:, 1:], sequences(batch.memory))
        chex.assert_trees_all_close(jax.tree.map(lambda x: x[:, :-1], memory), before, rtol=1e-5, atol=1e-6)


def test_a_sequence_begins_with_its_stored_memory_and_uses_no_other(rolled):
    params, batch = jax.tree.map(np.float32, rolled.params), rolled.batches[1]
    expected, _, _ = unroll(params, batch)
    spoiled = jax.tree.map(lambda x: x.at[1:].set(jnp.nan), batch.memory)
    np.testing.assert_array_equal(unroll(params, batch._replace(memory=spoiled))[0], expected)
    forgotten = jax.tree.map(jnp.zeros_like, batch.memory)
    changed = np.abs(unroll(params, batch._replace(memory=forgotten))[0] - expected) > 1e-6
    goes_on = ~np.logical_or.accumulate(np.asarray(batch.start).T, axis=1)
    assert goes_on.any()
    np.testing.assert_array_equal(changed, goes_on)


def test_gradients_flow_through_time_as_far_as_the_episode_goes_back(rolled):
    """Which observations move the value of the last step: those since the last start."""
    params, batch = jax.tree.map(np.float32, rolled.params), rolled.batches[0]

    def last_values(observation):
        return unroll(params, batch._replace(observation=observation))[1][:, -1].sum()

    reached = np.abs(jax.grad(last_values)(batch.observation)).max(axis=-1) > 0
    starts_later = np.cumsum(np.asarray(batch.start)[::-1], axis=0)[::-1] - batch.start
    np.testing.assert_array_equal(reached, starts_later == 0)
    assert reached.sum(axis=0).max() > 2


def test_minibatches_hold_whole_sequences_each_once_per_epoch(rolled, seen):
    """With a rate of 0, so that the KL shows that the sequences are evaluated as they were collected."""
    hyper, batch = HYPER._replace(learning_rate=0.0), rolled.batches[1]
    learner = init_learner(NETWORK, hyper, jax.random.key(0))
    learner = learner._replace(params=jax.tree.map(jnp.float32, rolled.params))
    _, info = improve(CONFIG, NETWORK, hyper, jax.random.key(0), learner, batch)
    jax.effects_barrier()
    assert [part.value.shape for part in seen] == [(N // 2, T)] * 6
    whole = sequences(batch)
    for epoch in range(3):
        pair = jax.tree.map(lambda *parts: np.concatenate(parts), *seen[2 * epoch : 2 * epoch + 2])
        order = [np.flatnonzero(np.all(whole.value == row[None], axis=1)).item() for row in pair.value]
        assert sorted(order) == list(range(N))
        chex.assert_trees_all_equal(pair, jax.tree.map(partial(np.take, indices=order, axis=0), whole))
    np.testing.assert_allclose(info.loss.approx_kl, 0.0, atol=1e-10)


# Something to remember


def _shown_coin(key):
    side = jax.random.rademacher(key, (), jnp.float32)
    return Walk(jnp.zeros((), jnp.int32), side), side[None]


def _recall(key, walk, action):
    """Three steps; only the first observation shows the side, and only the last action counts."""
    time = walk.time + 1
    is_right = (action == 1) == (walk.place > 0)
    reward = jnp.where(is_right & (time == 3), 1.0, 0.0)
    return walk._replace(time=time), Transition(jnp.zeros(1), reward, time == 3, jnp.zeros((), bool))


@pytest.mark.long
def test_a_memory_learns_what_has_to_be_remembered():
    config = Config(
        env="recall",
        num_envs=16,
        num_steps=12,
        total_timesteps=60 * 16 * 12,
        num_epochs=4,
        num_minibatches=2,
        hidden_sizes=(),
        memory_size=8,
        shared_torso=True,
    )
    environment = make_batched(Dynamics(_shown_coin, _recall, Box((1,)), Discrete(2)))
    hyper = Hyperparams(learning_rate=0.02, entropy_coefficient=0.0, max_grad_norm=math.inf)
    _, metrics = jax.jit(partial(train, config, environment=environment))(hyper, jax.random.key(0))
    assert float(metrics.episode_return[0]) < 0.75
    assert float(metrics.episode_return[-5:].mean()) > 0.95
