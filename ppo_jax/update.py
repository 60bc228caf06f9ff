"""Learning from one batch: K epochs of shuffled minibatches, one Adam step each (Algorithm 1)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from ppo_jax.config import Config, Hyperparams
from ppo_jax.loss import LossInfo, Samples, ppo_loss
from ppo_jax.networks import Network, Params

# Stands in for a bound of inf: optax scales by bound / norm, and inf / inf would be NaN.
MAX_FLOAT = jnp.finfo(jnp.float32).max


class Learner(NamedTuple):
    """What learning changes.

    Attributes:
        params: theta, parameters of the policy and the value function.
        optimizer: Adam's moments and count.
    """

    params: Params
    optimizer: optax.OptState


class UpdateInfo(NamedTuple):
    """Means over all gradient steps of an update.

    Attributes:
        loss: Parts of the loss and diagnostics.
        grad_norm: Global norm of the gradient before it was scaled down.
    """

    loss: LossInfo
    grad_norm: jax.Array


def learning_rate(config: Config, hyper: Hyperparams, num_done: jax.Array) -> jax.Array:
    """Computes the learning rate of one update, linear in the updates done before it.

    All gradient steps of an update share one rate, so the rate that is reported is the rate that was
    used. The first update takes `learning_rate`; `final_learning_rate` would be that of update U + 1.

    Args:
        config: For U, the number of updates.
        hyper: For both ends.
        num_done: Updates done before, [] int32.
    """
    schedule = optax.linear_schedule(hyper.learning_rate, hyper.final_learning_rate, config.num_updates)
    return jnp.asarray(schedule(num_done))


def init_learner(network: Network, hyper: Hyperparams, key: jax.Array) -> Learner:
    """Draws first parameters and starts the optimizer.

    Args:
        network: What to initialize.
        hyper: For the optimizer.
        key: For the parameters.
    """
    params = network.init(key)
    return Learner(params=params, optimizer=_optimizer(hyper, hyper.learning_rate).init(params))


def update(
    config: Config,
    network: Network,
    hyper: Hyperparams,
    rate: jax.Array,
    key: jax.Array,
    learner: Learner,
    batch: Samples,
) -> tuple[Learner, UpdateInfo]:
    """Optimizes the loss over a batch for K epochs; each epoch uses every sample exactly once.

    Args:
        config: For K and the number of minibatches.
        network: Policy and value function.
        hyper: Of the loss and the optimizer.
        rate: Learning rate of this update.
        key: For the order of the samples, drawn anew in each epoch.
        learner: Before the update.
        batch: [T, N, ...].

    Returns:
        The learner after the update, and means over all its gradient steps.
    """
    samples = jax.tree.map(partial(_flatten, config.batch_size), batch)
    take_step = partial(_gradient_step, config, network, hyper, rate, samples)
    indices = jax.vmap(partial(_minibatch_indices, config))(jax.random.split(key, config.num_epochs))
    indices = indices.reshape(-1, config.minibatch_size)  # [K * num_minibatches, M]
    learner, info = jax.lax.scan(take_step, learner, indices)
    return learner, jax.tree.map(jnp.mean, info)


def _flatten(batch_size: int, x: jax.Array) -> jax.Array:
    return x.reshape(batch_size, *x.shape[2:])  # [T, N, ...] to [B, ...]


def _minibatch_indices(config: Config, key: jax.Array) -> jax.Array:
    """Splits one epoch's random order of the batch into minibatches, [num_minibatches, M]."""
    order = jax.random.permutation(key, config.batch_size)
    return order.reshape(config.num_minibatches, config.minibatch_size)


def _gradient_step(
    config: Config,
    network: Network,
    hyper: Hyperparams,
    rate: jax.Array,
    samples: Samples,
    learner: Learner,
    indices: jax.Array,
) -> tuple[Learner, UpdateInfo]:
    minibatch = jax.tree.map(partial(jnp.take, indices=indices, axis=0), samples)
    loss = partial(ppo_loss, config, network, hyper)
    grads, info = jax.grad(loss, has_aux=True)(learner.params, minibatch)
    steps, optimizer = _optimizer(hyper, rate).update(grads, learner.optimizer)
    params = jax.tree.map(jnp.add, learner.params, steps)
    learner = Learner(params=params, optimizer=optimizer)
    return learner, UpdateInfo(loss=info, grad_norm=optax.tree.norm(grads))


def _optimizer(hyper: Hyperparams, rate: jax.Array | float) -> optax.GradientTransformation:
    """Adam behind a bound on the global norm, made anew in the trace so that nothing is baked in."""
    return optax.chain(
        optax.clip_by_global_norm(jnp.minimum(hyper.max_grad_norm, MAX_FLOAT)),
        optax.scale_by_adam(eps=hyper.adam_epsilon),
        optax.scale_by_learning_rate(rate),
    )
