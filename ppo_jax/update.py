"""Learning from one batch: K epochs of shuffled minibatches, one Adam step each (Algorithm 1)."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ppo_jax.actor_critic import Network, Params
from ppo_jax.config import Config, Hyperparams
from ppo_jax.loss import LossInfo, Samples, ppo_loss
from ppo_jax.schedules import Steering, init_steering, steer
from ppo_jax.shuffle import shuffle

# Stands in for a bound of inf: optax scales by bound / norm, and inf / inf would be NaN.
MAX_FLOAT = jnp.finfo(jnp.float32).max


class Learner(NamedTuple):
    """What learning changes.

    Attributes:
        params: theta, parameters of the policy and the value function.
        optimizer: Adam's count, and its moments for all parameters in one vector.
        steering: What follows the KL of the updates.
    """

    params: Params
    optimizer: optax.OptState
    steering: Steering


class UpdateInfo(NamedTuple):
    """Means over all gradient steps of an update.

    Attributes:
        loss: Parts of the loss and diagnostics.
        grad_norm: Global norm of the gradient before it was scaled down.
        num_epochs: Epochs that were done, [] int32: K, or fewer if the KL exceeded `target_kl`.
    """

    loss: LossInfo
    grad_norm: jax.Array
    num_epochs: jax.Array


def init_learner(network: Network, hyper: Hyperparams, key: jax.Array) -> Learner:
    """Draws first parameters and starts the optimizer.

    Args:
        network: What to initialize.
        hyper: For the optimizer.
        key: For the parameters.
    """
    params = network.init(key)
    optimizer = _optimizer(hyper).init(ravel_pytree(params)[0])
    return Learner(params=params, optimizer=optimizer, steering=init_steering())


def update(
    config: Config, network: Network, hyper: Hyperparams, key: jax.Array, learner: Learner, batch: Samples
) -> tuple[Learner, UpdateInfo]:
    """Optimizes the loss over a batch for K epochs; each epoch uses every sample exactly once.

    Departure from the paper, off by default (`target_kl` = None): once the mean KL of an epoch exceeds
    `target_kl`, the epochs that remain are left out.

    Args:
        config: For K and the number of minibatches.
        network: Policy and value function.
        hyper: Of the loss and the optimizer, as they are in this update (see `schedules.at_update`).
        key: For the order of the samples, drawn anew in each epoch.
        learner: Before the update.
        batch: [T, N, ...].

    Returns:
        The learner after the update, and means over all its gradient steps.
    """
    units = jax.tree.map(_sequences if network.remembers else _samples, batch)
    train_epoch = partial(_train_epoch, partial(_gradient_step, config, network, hyper), units)
    num_units = config.num_envs if network.remembers else config.batch_size
    minibatches = partial(_minibatch_indices, config, num_units)
    indices = jax.vmap(minibatches)(jax.random.split(key, config.num_epochs))  # [K, num_minibatches, ...]
    progress = _Progress(learner=learner, done=jnp.zeros((), bool))
    progress, info = jax.lax.scan(partial(_epoch, hyper, train_epoch), progress, indices)

    learner = progress.learner
    if config.measures_kl:
        kl = _kl(network, learner.params, units)
        learner = learner._replace(steering=steer(config, hyper, learner.steering, kl))
    return learner, _mean_of_epochs(info)


class _Progress(NamedTuple):
    learner: Learner
    done: jax.Array  # [] bool, the KL has exceeded its limit


def _samples(x: jax.Array) -> jax.Array:
    return jax.lax.collapse(x, 0, 2)  # [T, N, ...] to [B, ...]


def _sequences(x: jax.Array) -> jax.Array:
    return jnp.swapaxes(x, 0, 1)  # [T, N, ...] to [N, T, ...]


def _minibatch_indices(config: Config, num_units: int, key: jax.Array) -> jax.Array:
    """Splits one epoch's random order of the samples or sequences into minibatches."""
    return shuffle(key, num_units).reshape(config.num_minibatches, -1)


def _epoch(
    hyper: Hyperparams, train_epoch: Callable, progress: _Progress, indices: jax.Array
) -> tuple[_Progress, UpdateInfo]:
    """Takes the gradient steps of an epoch, unless the KL has exceeded its limit before."""
    if hyper.target_kl is None:  # no `cond`, which under `vmap` passes over all parameters once more
        learner, info = train_epoch(progress.learner, indices)
        return progress._replace(learner=learner), info
    skip_epoch = partial(_skip_epoch, train_epoch)
    learner, info = jax.lax.cond(progress.done, skip_epoch, train_epoch, progress.learner, indices)
    done = progress.done | (info.loss.approx_kl > hyper.target_kl)
    return _Progress(learner=learner, done=done), info


def _train_epoch(
    take_step: Callable, units: Samples, learner: Learner, indices: jax.Array
) -> tuple[Learner, UpdateInfo]:
    """Takes one gradient step on each minibatch, all of which are gathered at once before."""
    minibatches = jax.tree.map(partial(jnp.take, indices=indices, axis=0), units)
    learner, info = jax.lax.scan(take_step, learner, minibatches)
    return learner, jax.tree.map(jnp.mean, info)._replace(num_epochs=jnp.ones((), jnp.int32))


def _skip_epoch(train_epoch: Callable, learner: Learner, indices: jax.Array) -> tuple[Learner, UpdateInfo]:
    _, info = jax.eval_shape(train_epoch, learner, indices)
    return learner, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), info)


def _mean_of_epochs(info: UpdateInfo) -> UpdateInfo:
    """Averages over the epochs that were done; those left out are all zero. [K] to []."""
    num_epochs = info.num_epochs.sum()
    return jax.tree.map(lambda x: x.sum() / num_epochs, info)._replace(num_epochs=num_epochs)


def _gradient_step(
    config: Config, network: Network, hyper: Hyperparams, learner: Learner, minibatch: Samples
) -> tuple[Learner, UpdateInfo]:
    loss = partial(ppo_loss, config, network, hyper)
    grads, info = jax.grad(loss, has_aux=True)(learner.params, minibatch)
    gradient, unravel = ravel_pytree(grads)  # one vector: a few large operations instead of many small ones
    step, optimizer = _optimizer(hyper).update(gradient, learner.optimizer)
    params = jax.tree.map(jnp.add, learner.params, unravel(step))  # pyright: ignore
    norm = optax.tree.norm(gradient)
    info = UpdateInfo(loss=info, grad_norm=norm, num_epochs=jnp.zeros((), jnp.int32))
    return learner._replace(params=params, optimizer=optimizer), info


def _kl(network: Network, params: Params, units: Samples) -> jax.Array:
    """Computes the mean over the batch of the exact KL(pi_old || pi)."""
    policy = network.unroll(params, units.memory, units.observation, units.start).policy
    return units.policy.kl(policy).mean()


def _optimizer(hyper: Hyperparams) -> optax.GradientTransformation:
    """Adam behind a bound on the global norm, made anew in the trace so that nothing is baked in."""
    return optax.chain(
        optax.clip_by_global_norm(jnp.minimum(hyper.max_grad_norm, MAX_FLOAT)),
        optax.scale_by_adam(eps=hyper.adam_epsilon),
        optax.scale_by_learning_rate(hyper.learning_rate),
    )
