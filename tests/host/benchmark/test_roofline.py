"""FLOP are counted as one would count them on paper, and the matrix products are those of a gradient."""

import dataclasses

import jax
import numpy as np
import pytest

from ppo_jax.config import Config
from ppo_jax.host.benchmark import roofline
from ppo_jax.host.benchmark.options import Options, make_config

CONFIG = Config(num_envs=4, num_steps=8, total_timesteps=32, num_minibatches=2)


def test_flops_of_the_default_network_are_those_counted_by_hand():
    """Forward 2 (4 64 + 64 64 + 64 2) and 2 (4 64 + 64 64 + 64); backward twice, less the observations."""
    config = make_config(Options(), "4x128")
    towers = roofline.kernels(config)
    assert towers is not None
    forward = 2 * (4 * 64 + 64 * 64 + 64 * 2) + 2 * (4 * 64 + 64 * 64 + 64)
    gradient = 3 * forward - 2 * 2 * 4 * 64
    assert roofline.count_flops(config, towers) == (forward + 4 * gradient, gradient)


@pytest.mark.parametrize(
    "changes", [{"memory_size": 4}, {"shared_torso": True}, {"env": "Breakout-MinAtar", "encoder": "cnn"}]
)
def test_flops_are_not_counted_for_networks_that_do_more_than_multiply_in_a_row(changes):
    assert roofline.kernels(dataclasses.replace(CONFIG, **changes)) is None


def test_the_matrix_products_are_those_of_a_gradient():
    towers = roofline.kernels(CONFIG)
    assert towers is not None
    part = roofline.products_part(CONFIG, towers)
    x = part.carry.minibatch

    def half_square(kernels):
        return 0.5 * (roofline._forward(kernels, x)[-1] ** 2).sum()

    gradients = roofline._backward(towers[0], roofline._forward(towers[0], x))
    for ours, expected in zip(gradients, jax.grad(half_square)(towers[0]), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)
