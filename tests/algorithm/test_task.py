"""A task that changes during a run: its values, where they are used, and what an evaluation takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import struct
from gymnax import EnvParams, register, registration
from gymnax.environments import environment, spaces

from ppo_jax.algorithm.evaluate import evaluate
from ppo_jax.algorithm.task import arguments_at
from ppo_jax.algorithm.train import advance, make_ppo, train
from ppo_jax.config import Config, Hyperparams
from ppo_jax.count import Count

SIZES = {"num_envs": 2, "num_steps": 4, "num_epochs": 1, "num_minibatches": 1, "hidden_sizes": (4,)}
U = 5  # of 8 steps
CONFIG = Config("Paying-v0", env_args={"pay": "1..3@32"}, total_timesteps=U * 8, **SIZES)
PAID = [1.0, 1.5, 2.0, 2.5, 3.0]


@struct.dataclass
class Params(EnvParams):
    pay: float = 7.0
    max_steps_in_episode: int = 2


@struct.dataclass
class State(environment.EnvState):
    shown: jax.Array


class Paying(environment.Environment):
    """Two steps, each of which pays what the parameter says; the first state shows it."""

    default_params = Params()

    def reset_env(self, key, params):
        state = State(time=0, shown=jnp.float32(params.pay))
        return self.get_obs(state), state

    def step_env(self, key, state, action, params):
        state = State(time=state.time + 1, shown=state.shown)
        return self.get_obs(state), state, jnp.float32(params.pay), jnp.array(False), {}

    def get_obs(self, state, params=None, key=None):
        return state.shown[None]

    def observation_space(self, params):
        return spaces.Box(-10.0, 10.0, (1,))

    def action_space(self, params):
        return spaces.Discrete(2)


@pytest.fixture(scope="module", autouse=True)
def paying():
    register("Paying-v0", Paying)
    yield
    # Other tests compare what gymnax registers.
    del registration._registry["Paying-v0"]
    registration.registered_envs.remove("Paying-v0")


def test_an_argument_moves_linearly_and_then_stays():
    config = Config(env_args={"length": "0.5..1.5@100", "masspole": "1..0@64"}, num_envs=4, num_steps=8)
    for update, length in enumerate([0.5, 0.82, 1.14, 1.46, 1.5, 1.5]):
        values = arguments_at(config, Count.of(update))
        np.testing.assert_allclose(values["length"], length, rtol=1e-6)
        np.testing.assert_allclose(values["masspole"], max(0.0, 1 - 32 * update / 64), rtol=1e-6)
    assert arguments_at(config, Count.of(2**40))["length"] == 1.5


@pytest.fixture(scope="module")
def trained():
    return jax.jit(train, static_argnums=0)(CONFIG, Hyperparams(), jax.random.key(0))


def test_the_value_of_each_update_is_that_of_its_environment_and_is_reported(trained):
    _, metrics = trained
    np.testing.assert_array_equal(metrics.env_args_pay, np.float32(PAID))
    np.testing.assert_array_equal(metrics.episode_return, 2 * np.float32(PAID))
    assert metrics._fields[-1] == "env_args_pay"


def test_new_episodes_begin_in_the_task_of_their_update(trained):
    ppo = make_ppo(CONFIG)
    state = jax.jit(ppo.init)(Hyperparams(), jax.random.key(0))
    assert state.collector.observation.max() == 1
    shown = []
    for _ in range(U):
        state, _ = jax.jit(ppo.step)(Hyperparams(), state)
        shown.append(float(state.collector.observation.max()))
    assert shown == PAID


@pytest.mark.long
def test_a_run_in_parts_is_the_run_in_one(trained):
    ppo = make_ppo(CONFIG)
    state = jax.jit(ppo.init)(Hyperparams(), jax.random.key(0))
    for count in (2, 3):
        state, metrics = jax.jit(lambda s, n: advance(ppo, U, Hyperparams(), s, n))(state, count)
    jax.tree.map(np.testing.assert_array_equal, state.learner.params, trained[0].learner.params)
    np.testing.assert_array_equal(metrics.env_args_pay[:3], PAID[2:])


@pytest.mark.long
def test_members_of_a_map_share_the_task():
    _, metrics = jax.vmap(train, (None, None, 0))(
        CONFIG, Hyperparams(), jax.random.split(jax.random.key(1), 3)
    )
    np.testing.assert_array_equal(metrics.episode_return, np.tile(2 * np.float32(PAID), (3, 1)))


@pytest.mark.parametrize(("given", "paid"), [({"pay": "1..3@32"}, 3.0), ({"pay": 5.0}, 5.0)])
def test_an_evaluation_takes_the_last_value_or_the_one_that_is_given(trained, given, paid):
    config = Config("Paying-v0", env_args=given, **SIZES)
    episodes = evaluate(config, jax.random.key(0), trained[0].learner.params, num_episodes=2)
    np.testing.assert_array_equal(episodes.episode_return, [2 * paid] * 2)


@pytest.mark.long
def test_a_value_that_a_sweep_traces_and_one_that_changes_go_together():
    def run(masspole):
        config = Config(
            "CartPole-v1", env_args={"masspole": 0.1, "length": "0.5..1@8"}, total_timesteps=24, **SIZES
        )
        ppo = make_ppo(config, traced={"masspole": masspole})
        return advance(ppo, 3, Hyperparams(), ppo.init(Hyperparams(), jax.random.key(0)))

    states, metrics = jax.jit(jax.vmap(run))(jnp.array([0.1, 5.0]))
    np.testing.assert_allclose(metrics.env_args_length, [[0.5, 1.0, 1.0]] * 2)
    angles = np.asarray(states.collector.environment.theta)
    assert not np.array_equal(*angles)
