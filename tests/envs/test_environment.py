"""The batch of self-resetting copies, on dynamics small enough to be checked by hand."""

from typing import NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.spaces import Box, Discrete
from tests.support.stepping import step

N = 4


class State(NamedTuple):
    """Leaves of every kind: typed key, scalar, vector, matrix, bool."""

    key: jax.Array
    start: jax.Array  # [] float32, drawn at reset
    path: jax.Array  # [3] int32, the last actions
    board: jax.Array  # [2, 2] float32, drawn at reset
    fresh: jax.Array  # [] bool


# An action says how the episode goes on: bit 0 terminates, bit 1 truncates.
GO, TERMINATE, TRUNCATE, BOTH = range(4)


def _reset(key):
    state = State(
        key=jax.random.fold_in(key, 1),
        start=jax.random.uniform(key),
        path=jnp.zeros(3, jnp.int32),
        board=jax.random.normal(key, (2, 2)),
        fresh=jnp.array(True),
    )
    return state, jnp.stack([state.start, -1.0])


def _step(key, state, action):
    noise = jax.random.uniform(key)
    state = state._replace(
        key=jax.random.fold_in(state.key, 0),
        path=jnp.roll(state.path, 1).at[0].set(action),
        fresh=jnp.array(False),
    )
    return state, Transition(
        observation=jnp.stack([state.start, noise]),
        reward=noise,
        terminated=(action & 1) > 0,
        truncated=(action & 2) > 0,
    )


DYNAMICS = Dynamics(_reset, _step, Box((2,)), Discrete(4))
ENVIRONMENT = make_batched(DYNAMICS)


@pytest.fixture(scope="module")
def played():
    """States and observations before and after one step in which each copy goes on differently."""
    state, observation = ENVIRONMENT.reset(N, jax.random.key(0))
    action = jnp.array([GO, TERMINATE, TRUNCATE, BOTH])
    stepped, time_step = step(ENVIRONMENT, jax.random.key(1), state, action)
    return state, observation, action, stepped, time_step


def words(key):
    return np.asarray(jax.random.key_data(key))


def as_numbers(x):
    return words(x) if jax.dtypes.issubdtype(x.dtype, jax.dtypes.prng_key) else np.asarray(x)


def test_the_batch_has_the_spaces_of_its_dynamics():
    assert (ENVIRONMENT.observation_space, ENVIRONMENT.action_space) == (Box((2,)), Discrete(4))


def test_shapes_and_dtypes_are_those_of_the_contract(played):
    state, observation, _, stepped, time_step = played
    chex.assert_shape([observation, time_step.observation, time_step.final_observation], (N, 2))
    chex.assert_shape([time_step.reward, time_step.terminated, time_step.truncated, time_step.done], (N,))
    chex.assert_type([observation, *time_step[:5]], [jnp.float32] * 4 + [bool] * 2)
    chex.assert_trees_all_equal_shapes_and_dtypes(stepped, state)


def test_terminated_and_truncated_are_kept_apart_and_done_is_either(played):
    time_step = played[-1]
    assert time_step.terminated.tolist() == [False, True, False, True]
    assert time_step.truncated.tolist() == [False, False, True, True]
    assert time_step.done.tolist() == [False, True, True, True]


def test_the_final_observation_is_the_successor_whether_or_not_the_episode_ended(played):
    state, _, _, _, time_step = played
    np.testing.assert_array_equal(time_step.final_observation[:, 0], state.start)
    np.testing.assert_array_equal(time_step.final_observation[:, 1], time_step.reward)


def test_the_observation_is_that_of_a_reset_exactly_where_the_episode_ended(played):
    *_, stepped, time_step = played
    reset = np.asarray(time_step.observation[:, 1]) == -1.0
    np.testing.assert_array_equal(reset, time_step.done)
    np.testing.assert_array_equal(time_step.observation[0], time_step.final_observation[0])
    np.testing.assert_array_equal(time_step.observation[:, 0], stepped.start)


def test_every_leaf_of_the_state_is_reset_exactly_where_the_episode_ended(played):
    state, _, action, stepped, time_step = played
    done = np.asarray(time_step.done)
    np.testing.assert_array_equal(stepped.fresh, done)
    np.testing.assert_array_equal(stepped.path[:, 0], np.where(done, 0, action))
    for before, after in [(state.start, stepped.start), (state.board, stepped.board)]:
        same = (np.asarray(before) == np.asarray(after)).reshape(N, -1)
        np.testing.assert_array_equal(same, np.broadcast_to(~done[:, None], same.shape))


def test_a_typed_key_in_the_state_continues_or_is_reset(played):
    state, _, _, stepped, _ = played
    went_on = jax.vmap(jax.random.fold_in, (0, None))(state.key, 0)
    same = (words(went_on) == words(stepped.key)).all(axis=-1)
    assert same.tolist() == [True, False, False, False]


def test_each_copy_draws_its_own_randomness(played):
    state, _, _, stepped, time_step = played
    for drawn in (state.start, time_step.reward, stepped.start, state.board[:, 0, 0]):
        assert len(np.unique(drawn)) == N
    assert len(np.unique(words(stepped.key), axis=0)) == N


def test_resets_and_steps_do_not_share_keys():
    """A state drawn by a reset must not repeat the noise of the step that led to it."""
    state, _ = ENVIRONMENT.reset(N, jax.random.key(2))
    _, time_step = step(ENVIRONMENT, jax.random.key(3), state, jnp.full(N, TERMINATE))
    assert not np.isin(time_step.observation[:, 0], time_step.reward).any()


def test_the_same_key_gives_the_same_step_and_another_key_another_step():
    state, _ = ENVIRONMENT.reset(N, jax.random.key(0))
    rewards = [step(ENVIRONMENT, jax.random.key(k), state, jnp.zeros(N, int))[1].reward for k in (1, 1, 2)]
    np.testing.assert_array_equal(rewards[0], rewards[1])
    assert not np.isin(rewards[0], rewards[2]).any()


def test_one_copy_is_a_batch_too():
    state, observation = ENVIRONMENT.reset(1, jax.random.key(0))
    _, time_step = step(ENVIRONMENT, jax.random.key(1), state, jnp.array([TERMINATE]))
    chex.assert_shape([observation, time_step.observation], (1, 2))
    assert float(time_step.observation[0, 1]) == -1.0


def test_a_batch_can_be_compiled_scanned_and_vmapped():
    actions = jnp.array([[GO] * N, [TERMINATE] * N, [GO] * N])  # [T, N]

    def play(key):
        reset_key, step_key = jax.random.split(key)
        state, _ = ENVIRONMENT.reset(N, reset_key)
        keys = jax.random.split(step_key, len(actions))
        return jax.lax.scan(lambda s, xs: step(ENVIRONMENT, xs[0], s, xs[1]), state, (keys, actions))[1]

    keys = jax.random.split(jax.random.key(0), 2)
    many = jax.jit(jax.vmap(play))(keys)
    chex.assert_shape(many.observation, (2, 3, N, 2))
    for row, key in enumerate(keys):
        chex.assert_trees_all_equal(jax.tree.map(lambda x, row=row: x[row], many), play(key))


def test_what_is_drawn_for_one_step_is_the_first_step_of_what_is_drawn_for_many(played):
    state, _, action, *expected = played
    drawn = ENVIRONMENT.draw_steps(1, N, jax.random.key(1))
    actual = ENVIRONMENT.step(jax.tree.map(lambda x: x[0], drawn), state, action)
    for before, after in zip(jax.tree.leaves(tuple(expected)), jax.tree.leaves(actual), strict=True):
        np.testing.assert_array_equal(as_numbers(after), as_numbers(before))


def test_first_states_drawn_in_bulk_are_independent_and_distributed_as_resets():
    draw = jax.jit(ENVIRONMENT.draw_steps, static_argnums=(0, 1))
    starts = np.stack([draw(50, N, jax.random.key(seed)).state.start for seed in range(40)])  # [40, 50, N]
    assert stats.kstest(starts.reshape(-1), stats.uniform.cdf).pvalue > 1e-4
    assert len(np.unique(starts)) > 0.999 * starts.size
    for one, other in ((starts[:, 1:], starts[:, :-1]), (starts[..., 1:], starts[..., :-1])):
        assert abs(np.corrcoef(one.ravel(), other.ravel())[0, 1]) < 5 / np.sqrt(one.size)


def test_copies_and_steps_get_keys_of_their_own():
    keys = ENVIRONMENT.draw_steps(50, N, jax.random.key(0)).keys
    assert len(np.unique(jax.random.key_data(keys).reshape(-1, 2), axis=0)) == 50 * N
