"""A network of the user's own is not believed blindly."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen

import ppo_jax
from ppo_jax.networks.distributions import Categorical
from ppo_jax.networks.flax import plain, recurrent
from ppo_jax.networks.network import memoryless, separate, shared

CONFIG = ppo_jax.Config(num_envs=4, num_steps=16, total_timesteps=256, num_minibatches=2)


def train(make_network, **fields):
    config = ppo_jax.Config(**{**vars(CONFIG), **fields})
    return jax.jit(partial(ppo_jax.train, config, make_network=make_network))(
        ppo_jax.Hyperparams(learning_rate=1e-2), jax.random.key(0)
    )


def towers(actor, critic):
    return lambda config, seen, actions, privileged=None: separate(
        plain(linen.Dense(actor), seen), plain(linen.Dense(critic), seen), actions
    )


@pytest.mark.parametrize(
    ("make_network", "problem"),
    [
        (towers(3, 1), r"the actor returns outputs of shape \[4, 3\], whose last axis is not 2: the logits"),
        (towers(1, 1), r"the actor returns outputs of shape \[4, 1\], whose last axis is not 2"),
        (towers(2, 7), r"the critic returns outputs of shape \[4, 7\], whose last axis is not 1: the value"),
        (
            lambda config, seen, actions, privileged=None: shared(plain(linen.Dense(2), seen), actions),
            r"the shared tower returns outputs of shape \[4, 2\], whose last axis is not 3",
        ),
    ],
)
def test_a_tower_of_another_width_is_refused_with_both_widths(make_network, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem):
        train(make_network)


def by_hand(policy=None, value=None):
    def logits(params, observation):
        return observation @ params

    return lambda config, seen, actions, privileged=None: memoryless(
        lambda key: jnp.zeros((4, 2)),
        policy or (lambda params, observation: Categorical(logits(params, observation))),
        value or (lambda params, observation: logits(params, observation).sum(axis=-1)),
    )


@pytest.mark.parametrize(
    ("make_network", "problem"),
    [
        (by_hand(value=lambda p, x: (x @ p)[..., :1]), r"value returned the shape \[4, 1\] where .* \[4\]"),
        (by_hand(value=lambda p, x: x.sum()), r"value returned the shape \[\] where policy .* \[4\]"),
        (by_hand(policy=lambda p, x: x @ p), "policy returned a .*; return a distribution"),
    ],
)
def test_functions_that_return_something_else_are_refused(make_network, problem):
    with pytest.raises(ppo_jax.UsageError, match=problem):
        train(make_network)
    train(by_hand())


class Layers(linen.Module):
    """A layer that keeps something beside its parameters."""

    outputs: int
    kind: str

    @linen.compact
    def __call__(self, x, memory=None):
        x = linen.Dense(8)(x)
        if self.kind == "dropout":
            x = linen.Dropout(0.5, deterministic=False)(x)
        elif self.kind == "no dropout":
            x = linen.Dropout(0.5, deterministic=True)(x)
        elif self.kind == "counter":
            count = self.variable("counts", "calls", lambda: jnp.zeros(()))
            count.value += 1
        else:
            x = linen.BatchNorm(use_running_average=self.kind == "frozen")(x)
        x = linen.Dense(self.outputs)(x)
        return x if memory is None else (x, memory)


def of(kind, make=plain):
    return lambda config, seen, actions, privileged=None: separate(
        make(Layers(2, kind), seen), make(Layers(1, kind), seen), actions
    )


@pytest.mark.parametrize("make", [plain, partial(recurrent, memory_size=3)])
@pytest.mark.parametrize("kind", ["dropout", "counter", "updated"])
def test_layers_that_change_or_draw_are_refused_in_plain_words(kind, make):
    with pytest.raises(ppo_jax.UsageError, match=r"Layers cannot be used: .*leave out Dropout") as caught:
        train(of(kind, make), memory_size=3)
    assert "\n" not in str(caught.value)


def test_a_frozen_batch_norm_is_left_alone():
    state, metrics = train(of("frozen"))
    averages = state.learner.params["actor"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_array_equal(averages["mean"], 0)
    np.testing.assert_array_equal(averages["var"], 1)
    scale = state.learner.params["actor"]["params"]["BatchNorm_0"]["scale"]
    assert not np.array_equal(scale, np.ones_like(scale))
    assert np.isfinite(metrics.policy_loss).all()


def test_a_dropout_that_does_nothing_is_welcome():
    train(of("no dropout"))
