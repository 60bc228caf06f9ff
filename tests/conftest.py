"""What every test runs under: several fake CPU devices, and no silent broadcasting; and what some share."""

import importlib
import os

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture
def seen(monkeypatch):
    """Every minibatch that the loss is given, in order."""
    module, minibatches = importlib.import_module("ppo_jax.algorithm.update"), []
    original = module.ppo_loss

    def note(minibatch):
        minibatches.append(jax.tree.map(np.array, minibatch))

    def noting(config, network, hyper, params, minibatch):
        jax.debug.callback(note, minibatch, ordered=True)
        return original(config, network, hyper, params, minibatch)

    monkeypatch.setattr(module, "ppo_loss", noting)
    return minibatches
