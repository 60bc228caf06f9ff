"""The whole training compiles for accelerators: it is lowered for them here, without having one."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from ppo_jax.algorithm.train import advance, make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Dynamics, Transition, make_batched
from ppo_jax.scale.sharding import shard
from ppo_jax.spaces import Box, Discrete
from tests.support.marks import first_long

PLATFORMS = ("cuda", "rocm", "tpu")
SIZES = {"num_envs": 4, "num_steps": 8, "total_timesteps": 64, "num_minibatches": 2}
NORMALIZING = {"normalize_observations": True, "normalize_rewards": True}
KINDS = {
    "MLP, normalizing, adapting to the KL": (
        Config("Pendulum-v1", **SIZES, **NORMALIZING, objective="adaptive_kl", entropy_schedule="cosine"),
        Hyperparams(entropy_coefficient=0.01),
    ),
    "GRU, normalizing, stopping early": (
        Config("CartPole-v1", **SIZES, **NORMALIZING, memory_size=4, learning_rate_schedule="adaptive_kl"),
        Hyperparams(target_kl=0.01),
    ),
    "CNN": (Config("Breakout-MinAtar", **SIZES, shared_torso=True, activation="relu"), Hyperparams()),
}


def lower(config, hyper, lanes=None, environment=None):
    """Lowers a program that begins and trains for two updates, also for several lanes."""
    ppo = make_ppo(config, environment)

    def run(hyper, key):
        return advance(ppo, 2, hyper, ppo.init(hyper, key))

    key = jax.random.key(0)
    if lanes is not None:
        run, key = jax.vmap(run, in_axes=(None, 0)), jax.random.split(key, lanes)
    return jax.jit(run).trace(hyper, key).lower(lowering_platforms=PLATFORMS)


def test_a_training_lowers_for_every_accelerator():
    assert "stablehlo.while" in lower(*KINDS["MLP, normalizing, adapting to the KL"]).as_text()


@pytest.mark.parametrize("lanes", first_long([3, None], 1))
@pytest.mark.parametrize("kind", KINDS)
def test_trainings_of_all_kinds_lower_for_every_accelerator(kind, lanes):
    lower(*KINDS[kind], lanes=lanes)


@pytest.mark.parametrize("kind", first_long(KINDS, 1))
def test_trainings_that_are_spread_over_devices_lower_for_every_accelerator(kind):
    config, hyper = KINDS[kind]
    mesh = jax.make_mesh((2,), ("environments",), devices=jax.devices()[:2])
    ppo = shard(make_ppo(dataclasses.replace(config, shuffle_groups=2)), mesh)

    def run(hyper, key):
        return advance(ppo, 2, hyper, ppo.init(hyper, key))

    lowered = jax.jit(run).trace(hyper, jax.random.key(0)).lower(lowering_platforms=PLATFORMS)
    assert "stablehlo.all_reduce" in lowered.as_text()


def environment_that(computes):
    """Rewards what a function makes of the state."""

    def reset(key):
        x = jax.random.uniform(key, (2,))
        return x, x

    def step(key, state, action):
        return state, Transition(state, computes(state[0]), state[1] > 2, jnp.array(False))

    return make_batched(Dynamics(reset, step, Box((2,)), Discrete(2)))


def only_on_cpu(x):
    return jnp.linalg.eigvals(x[None, None]).real[0]


def on_host(x):
    return jax.pure_callback(lambda x: x, jax.ShapeDtypeStruct((), jnp.float32), x, vmap_method="sequential")


@pytest.mark.parametrize("computes", [only_on_cpu, on_host])
def test_what_only_a_cpu_or_the_host_can_compute_would_be_found(computes):
    config = Config("of the caller", **SIZES, hidden_sizes=(4,))
    with pytest.raises(NotImplementedError, match=r"'eig' not found for platform|python_callback"):
        lower(config, Hyperparams(), environment=environment_that(computes))
