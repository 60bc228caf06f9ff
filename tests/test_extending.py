"""A contributor adds an environment library or an objective with one file and one row.

Here this module is the file, and each test adds the row. `tests/host/monitor/test_sinks.py` and
`tests/cli/test_program.py` do the same for a sink and a command.
"""

import dataclasses
import json

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax import validation
from ppo_jax.algorithm import loss
from ppo_jax.envs import make, registry
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.envs.registry import EnvironmentInfo
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from ppo_jax.spaces import Box, Discrete

CONFIG = ppo_jax.Config(
    num_envs=4, num_steps=8, total_timesteps=96, num_minibatches=2, num_epochs=2, hidden_sizes=(4,)
)
HYPER = ppo_jax.Hyperparams(learning_rate=1e-2)


def make_dynamics(name: str, arguments: dict, traced: dict) -> Dynamics:
    """The one function that every adapter of an environment library has: here, of a library of levers."""

    def reset(key):
        return jnp.int32(0), jnp.ones(1)

    def step(key, state, action):
        reward = (action == 1).astype(jnp.float32)
        return state + 1, Transition(jnp.ones(1), reward, terminated=state >= 3, truncated=jnp.array(False))

    return Dynamics(reset, step, Box((1,)), Discrete(2))


@pytest.mark.long
def test_an_environment_library_is_one_adapter_and_one_row(monkeypatch, tmp_path):
    monkeypatch.setitem(make.ADAPTERS, "levers", __name__)
    monkeypatch.setitem(registry.ENVIRONMENTS, "Lever-v0", EnvironmentInfo(library="levers"))
    config = dataclasses.replace(CONFIG, env="Lever-v0")
    assert start.run(Request(None, config, HYPER, seed=0), tmp_path / "run", quiet=True) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["env"] == "Lever-v0"
    assert 0 <= summary["evaluation"]["mean"] <= 4


def squared_surrogate(hyper, ratio, advantage, old_policy, policy):
    """An objective that pulls every ratio back to 1."""
    return ratio * advantage - hyper.kl_coefficient * (ratio - 1) ** 2


@pytest.mark.long
def test_an_objective_is_one_function_and_one_row(monkeypatch):
    monkeypatch.setitem(loss.OBJECTIVES, "squared", squared_surrogate)
    known = (*validation.CHOICES["objective"], "squared")
    monkeypatch.setitem(validation.CHOICES, "objective", known)
    config = dataclasses.replace(CONFIG, objective="squared")
    train = jax.jit(ppo_jax.train, static_argnums=0)
    _, metrics = train(config, HYPER, jax.random.key(0))
    _, clipped = train(CONFIG, HYPER, jax.random.key(0))
    assert jnp.isfinite(metrics.policy_loss).all()
    assert not jnp.array_equal(metrics.policy_loss, clipped.policy_loss)
