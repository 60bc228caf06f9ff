import dataclasses

import jax
import jax.numpy as jnp
import pytest

import ppo_jax
from ppo_jax.algorithm.train import make_ppo
from ppo_jax.envs.environment import Dynamics, Transition
from ppo_jax.host.programs import chunks, footprint
from ppo_jax.spaces import Box, Discrete
from tests.support.marks import first_long

SHAPES = {  # each is compiled for itself alone: the first soon, the next two in continuous integration
    "observations": ("Breakout-MinAtar", {"num_envs": 256}),
    "activations": ("CartPole-v1", {"num_envs": 1024}),
    "convolutions": ("CartPole-v1", {"env": "84 x 84", "num_envs": 64, "num_steps": 64}),
    "memory": ("MemoryChain-bsuite", {"num_envs": 512}),
    "parameters": ("CartPole-v1", {"hidden_sizes": (1024, 1024)}),
    "few convolutions": ("CartPole-v1", {"env": "84 x 84", "num_envs": 8, "num_steps": 64}),
}
SOON, *OTHERS = SHAPES


@pytest.fixture(autouse=True, scope="module")
def images():
    """Registers an environment with images of 84 x 84 pixels."""

    def make():
        def observe(state):
            return jnp.full((84, 84, 4), state.astype(jnp.float32))

        def step(key, state, action):
            return state + 1, Transition(observe(state), jnp.float32(1), state > 100, jnp.array(False))

        start = jnp.zeros((), jnp.int32)
        return Dynamics(lambda key: (start, observe(start)), step, Box((84, 84, 4)), Discrete(4))

    ppo_jax.register("84 x 84", make)


def estimate(config):
    init = make_ppo(config).init
    return footprint.estimate(config, jax.eval_shape(init, ppo_jax.Hyperparams(), jax.random.key(0)))


@pytest.mark.parametrize("name", [SOON, *first_long(OTHERS, 2)])
def test_the_estimate_is_near_what_xla_says(name):
    preset, changes = SHAPES[name]
    config, hyper = ppo_jax.preset(preset)
    changes = {"num_epochs": 1, "num_minibatches": 2, "total_timesteps": 10**6, **changes}
    config = dataclasses.replace(config, **changes)
    use = chunks.compile_program(config, hyper).advance.memory_analysis()
    actual = use.temp_size_in_bytes + use.argument_size_in_bytes + use.output_size_in_bytes
    assert 0.6 < sum(share.size for share in estimate(config)) / actual < 1.6


def test_what_takes_most_comes_first_with_its_remedy(monkeypatch):
    monkeypatch.setattr(footprint, "available", lambda: 2**30)
    shares = estimate(ppo_jax.Config(num_envs=2**17, num_steps=32, num_minibatches=2, total_timesteps=2**25))
    assert [share.size for share in shares] == sorted((share.size for share in shares), reverse=True)
    with pytest.raises(ppo_jax.UsageError) as caught:
        footprint.check(shares)
    text = str(caught.value)
    assert "and the device has 1.00 GiB: the activations of a minibatch 2.02 GiB" in text
    assert text.endswith("give more --num-minibatches, or fewer --hidden-sizes")


def test_what_fits_passes():
    footprint.check(estimate(ppo_jax.Config()))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes."), True),
        (jax.errors.JaxRuntimeError("INTERNAL: something else"), False),
    ],
)
def test_only_an_error_about_memory_counts_as_memory_that_ran_out(error, expected):
    assert footprint.is_exhausted(error) is expected


def test_the_values_of_images_are_computed_in_pieces_that_need_little():
    """Else a rollout of 64 x 64 images of 84 x 84 pixels would need 7 GiB at once."""
    shape = jax.ShapeDtypeStruct((64, 64, 84, 84, 4), jnp.float32)
    assert footprint.steps_at_once(shape, on_cpu=True) == 2
    assert footprint.steps_at_once(shape, on_cpu=False) == 18


def test_after_a_crash_it_is_not_said_to_fit(monkeypatch):
    monkeypatch.setattr(footprint, "available", lambda: 2**40)
    text = footprint.describe(estimate(ppo_jax.Config()))
    assert "the device has 1,024.00 GiB less what else is in use: " in text
