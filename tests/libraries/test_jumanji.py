"""What only Jumanji has: masks that allow nothing, and levels that are downloaded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ppo_jax.envs import make
from ppo_jax.envs.environment import legal_actions
from ppo_jax.errors import UsageError

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries


@pytest.fixture(autouse=True)
def jumanji(library):
    """The library; these tests are left out where another one is tested."""
    if library != "jumanji":
        pytest.skip("they are about Jumanji")
    import jumanji

    return jumanji


def test_where_no_block_fits_any_more_all_actions_are_legal_and_do_nothing():
    dynamics = make.make_dynamics("jumanji:FlatPack-v0")

    def place_at_random(key):
        """The state in which nothing is legal for the first time, if there is one in this episode."""

        def step(carry, key):
            state, observation = carry
            chance = jax.random.uniform(key, observation.legal_actions.shape)
            action = jnp.argmax(jnp.where(observation.legal_actions, chance, -1))
            after, transition = dynamics.step(key, state, action)
            is_stuck = ~state[0].action_mask.any()
            kept = jax.tree.map(
                lambda old, new: jnp.where(is_stuck, old, new),
                (state, observation),
                (after, transition.observation),
            )
            return kept, None

        (state, observation), _ = jax.lax.scan(step, dynamics.reset(key), jax.random.split(key, 24))
        return state, observation

    states, observations = jax.jit(jax.vmap(place_at_random))(jax.random.split(jax.random.key(0), 32))
    is_stuck = ~states[0].action_mask.reshape(32, -1).any(axis=1)
    assert is_stuck.any()
    assert legal_actions(observations)[is_stuck].all()
    assert not legal_actions(observations)[~is_stuck].all(axis=1).any()

    stuck = jax.tree.map(lambda x: x[jnp.argmax(is_stuck)], states)
    actions = jnp.array([0, 1234, 8099])
    after, transitions = jax.jit(jax.vmap(dynamics.step, (None, None, 0)))(jax.random.key(1), stuck, actions)
    np.testing.assert_array_equal(after[0].grid, jnp.stack([stuck[0].grid] * 3))
    assert np.ptp(transitions.reward) == 0


def test_a_mask_that_allows_one_agent_nothing_allows_it_everything():
    from ppo_jax.envs.jumanji import _legal
    from ppo_jax.spaces import Discrete, MultiDiscrete

    mask = jnp.array([[True, False, False], [False, False, False]])
    found = _legal(MultiDiscrete((3, 3)), mask)
    np.testing.assert_array_equal(found, [True, False, False, True, True, True])
    np.testing.assert_array_equal(_legal(Discrete(6), mask), mask.ravel())
    assert _legal(Discrete(6), jnp.zeros_like(mask)).all()


def test_levels_that_cannot_be_downloaded_are_explained(jumanji, monkeypatch):
    def fail(*arguments, **named):
        raise OSError("no network")

    monkeypatch.setattr(jumanji, "make", fail)
    with pytest.raises(
        UsageError, match=r"'jumanji:Sokoban-v0' .* Jumanji downloads its levels when it is made"
    ):
        make.make_dynamics("jumanji:Sokoban-v0")
    with pytest.raises(UsageError, match="OSError: no network"):
        make.make_dynamics("jumanji:Snake-v1")
