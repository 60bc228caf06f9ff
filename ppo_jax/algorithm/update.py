"""Learns from one batch: K epochs of shuffled minibatches, one Adam step for each (Algorithm 1)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

from ppo_jax import shards
from ppo_jax.algorithm.loss import LossInfo, Samples, ppo_loss
from ppo_jax.algorithm.schedules import Steering, init_steering, steer
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.fast.loops import scan_until
from ppo_jax.fast.shuffle import shuffle
from ppo_jax.networks.network import Network, Params

MAX_FLOAT = jnp.finfo(jnp.float32).max


class Learner(NamedTuple):
    """Everything that learning changes.

    Attributes:
        params: theta, the parameters of the policy and the value function.
        optimizer: The state of Adam: its count, and its moments of all parameters in one vector.
        steering: The factors that adapt to the KL of the updates.
    """

    params: Params
    optimizer: optax.OptState
    steering: Steering


class UpdateInfo(NamedTuple):
    """Means over all gradient steps of an update.

    Attributes:
        loss: The parts of the loss, and diagnostics.
        grad_norm: Global norm of the gradient before it was scaled down.
        num_epochs: The number of epochs, [] int32: K, or fewer if the KL exceeded `target_kl`.
    """

    loss: LossInfo
    grad_norm: jax.Array
    num_epochs: jax.Array


def improve(
    config: Config, network: Network, hyper: Hyperparams, key: jax.Array, learner: Learner, batch: Samples
) -> tuple[Learner, UpdateInfo]:
    """Optimizes the loss over a batch for K epochs; each epoch uses every sample exactly once.

    Departure from the paper, off by default (`target_kl` = None): once the mean KL of an epoch exceeds
    `target_kl`, the remaining epochs are skipped.

    Args:
        config: The static part of the run; K and the number of minibatches are used here.
        network: The policy and the value function.
        hyper: The hyperparameters of this update (see `schedules.at_update`).
        key: The source of the order of the samples, drawn anew in each epoch.
        learner: The learner before the update.
        batch: The samples, [T, N, ...].

    Returns:
        The learner after the update, and means over all its gradient steps.
    """
    if network.remembers:  # sequences stay whole: [T, N, ...] to [N, T, ...]
        units = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), batch)
    else:  # [T, N, ...] to [B, ...]
        units = jax.tree.map(lambda x: jax.lax.collapse(x, 0, 2), batch)

    def gradient_step(learner: Learner, minibatch: Samples) -> tuple[Learner, UpdateInfo]:
        loss = partial(ppo_loss, config, network, hyper)
        grads, info = jax.grad(loss, has_aux=True)(learner.params, minibatch)
        gradient, unravel = ravel_pytree(grads)  # one vector: few large operations instead of many small
        gradient, info = shards.mean((gradient, info))
        step, optimizer = make_optimizer(hyper).update(gradient, learner.optimizer)
        params = jax.tree.map(jnp.add, learner.params, unravel(step))  # pyright: ignore
        norm = optax.tree.norm(gradient)
        info = UpdateInfo(loss=info, grad_norm=norm, num_epochs=jnp.zeros((), jnp.int32))
        return learner._replace(params=params, optimizer=optimizer), info

    def epoch(learner: Learner, order: jax.Array) -> tuple[Learner, UpdateInfo]:
        # All minibatches are gathered at once, which costs less than one gather per gradient step:
        # [num_minibatches, M, ...], or [num_minibatches, n, T, ...] with memory.
        minibatches = jax.tree.map(lambda x: jnp.take(x, order, axis=0), units)
        learner, info = jax.lax.scan(gradient_step, learner, minibatches)
        info = jax.tree.map(jnp.mean, info)
        return learner, info._replace(num_epochs=jnp.ones((), jnp.int32))

    orders = jax.vmap(partial(draw_order, config, network))(jax.random.split(key, config.num_epochs))
    if hyper.target_kl is None:  # without the early stop, whose `cond` would slow a vmapped run down
        learner, info = jax.lax.scan(epoch, learner, orders)
    else:
        learner, info = scan_until(lambda info: info.loss.approx_kl > hyper.target_kl, epoch, learner, orders)

    if config.measures_kl:
        policy = network.unroll(learner.params, units.memory, units.observation, units.start).policy
        kl = shards.mean(units.policy.kl(policy).mean())
        learner = learner._replace(steering=steer(config, hyper, learner.steering, kl))
    # The mean over the epochs that were done, [K] to []: epochs that were skipped are all zero.
    num_epochs = info.num_epochs.sum()
    return learner, jax.tree.map(lambda x: x.sum() / num_epochs, info)._replace(num_epochs=num_epochs)


def draw_order(config: Config, network: Network, key: jax.Array) -> jax.Array:
    """Draws which samples, or which whole sequences, are in each minibatch of an epoch.

    Each minibatch has equally many of every group of environments (see `Config.shuffle_groups`), and a group
    is never on two devices. So any number of devices takes the same minibatches, and no sample moves.

    Args:
        config: The static part of the run; the groups and the number of minibatches are used here.
        network: The network; if it remembers, an environment's sequence stays whole.
        key: The source of the order.

    Returns:
        Indices, [num_minibatches, M]: of samples, b = t * N + n, or of environments, n.

    Raises:
        UsageError: If the groups cannot be divided among the devices.
    """
    num_groups, rest = divmod(config.shuffle_groups, shards.count())
    if rest:
        raise UsageError(
            f"shuffle_groups = {config.shuffle_groups} cannot be divided among {shards.count()} devices; "
            f"give a multiple, such as {shards.count()}"
        )
    num_steps = 1 if network.remembers else config.num_steps
    width = config.num_envs // config.shuffle_groups  # environments of a group
    if config.shuffle_groups == 1:
        return shuffle(key, num_steps * width).reshape(config.num_minibatches, -1)
    keys = shards.own(jax.random.split(key, config.shuffle_groups))  # [G]
    place = jax.vmap(partial(shuffle, size=num_steps * width))(keys)  # [G, T * N / G], within each group
    group = jnp.arange(num_groups, dtype=jnp.int32)[:, None]
    index = place // width * (num_groups * width) + group * width + place % width
    index = index.reshape(num_groups, config.num_minibatches, -1)  # [G, num_minibatches, M / G]
    return jnp.swapaxes(index, 0, 1).reshape(config.num_minibatches, -1)


def init_learner(network: Network, hyper: Hyperparams, key: jax.Array) -> Learner:
    """Returns the learner before the first update, with freshly drawn parameters.

    Args:
        network: The network to initialize.
        hyper: The hyperparameters of the optimizer.
        key: The source of the first parameters.
    """
    params = network.init(key)
    vector, _ = ravel_pytree(params)
    return Learner(
        params=params,
        optimizer=make_optimizer(hyper).init(vector),
        steering=init_steering(),
    )


def make_optimizer(hyper: Hyperparams) -> optax.GradientTransformation:
    """Makes Adam with a bound on the gradient's norm; called inside the trace, so its numbers are traced."""
    return optax.chain(
        # A bound of inf would become inf / inf = NaN: optax scales by bound / norm.
        optax.clip_by_global_norm(jnp.minimum(hyper.max_grad_norm, MAX_FLOAT)),
        optax.scale_by_adam(eps=hyper.adam_epsilon),
        optax.scale_by_learning_rate(hyper.learning_rate),
    )
