"""The limits of a device: its arithmetic, its memory, and the matrix products of training alone."""

import dataclasses
import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.train import make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.benchmark.parts import Part, clock, make_update
from ppo_jax.host.programs.chunks import compile_ahead

GEMM_SIZES = (1024, 2048, 4096)
MEMORY_BYTES = 2**28  # far more than a cache holds
CACHE_BYTES = 2**18  # less than a cache holds: as much as a layer takes for a minibatch of 1,024 samples
REPEATS = 7  # measurements of each limit, of which the fastest counts

Tower = list[jax.Array]  # the weight matrices of an actor or a critic in order, each [I, O]


class Limits(NamedTuple):
    """Measured limits of a device.

    Attributes:
        flops_per_second: The rate of the fastest of several large square matrix products, float32.
        memory_bytes_per_second: Bytes read and written by an operation on an array that no cache holds.
        cache_bytes_per_second: The same for an array that fits into a cache.
    """

    flops_per_second: float
    memory_bytes_per_second: float
    cache_bytes_per_second: float


class Work(NamedTuple):
    """The operands of the matrix products of one update.

    Attributes:
        towers: The actor and the critic.
        step: The observations of one step, [N, D].
        batch: The observations of a batch, [B, D].
        minibatch: The observations of a minibatch, [M, D].
    """

    towers: list[Tower]
    step: jax.Array
    batch: jax.Array
    minibatch: jax.Array


def measure_limits() -> Limits:
    """Measures the limits of the device, in a few seconds."""
    rates = []
    for size in GEMM_SIZES:
        square, other = jnp.ones((size, size)), jnp.full((size, size), 0.5)
        rates.append(2 * size**3 / _least_seconds(jnp.matmul, square, other))
    return Limits(
        flops_per_second=max(rates),
        memory_bytes_per_second=_bandwidth(MEMORY_BYTES, 4),
        cache_bytes_per_second=_bandwidth(CACHE_BYTES, 4096),
    )


def _bandwidth(size: int, count: int) -> float:
    """Returns the bytes per second of an operation on an array of `size` bytes, done `count` times."""

    def negate(x: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, count, lambda _, x: -x, x)  # reads it all and writes it all

    return 2 * size * count / _least_seconds(negate, jnp.ones(size // 4))


def _least_seconds(function: Callable, *arguments: jax.Array) -> float:
    program = compile_ahead(function, *arguments)
    jax.block_until_ready(program(*arguments))  # the first call is slower
    return min(clock(program, *arguments) for _ in range(REPEATS))


def kernels(config: Config) -> list[Tower] | None:
    """Returns the weight matrices of actor and critic, or None if the network does more than multiply."""
    if config.memory_size or config.encoder == "cnn" or config.shared_torso:
        return None
    state = jax.jit(make_ppo(config).init)(Hyperparams(), jax.random.key(0))
    params = {name: tower for name, tower in state.learner.params.items() if name != "log_std"}
    towers = [[x for x in jax.tree.leaves(tower) if x.ndim == 2] for tower in params.values()]
    chained = all(a.shape[1] == b.shape[0] for tower in towers for a, b in itertools.pairwise(tower))
    return towers if chained else None


def count_flops(config: Config, towers: list[Tower]) -> tuple[int, int]:
    """Counts the FLOP of matrix products.

    Acting takes the actor once, values the critic once (the few successors that are valued separately are
    not counted). A gradient step takes both forward once and backward twice, for the gradients of the
    weights and of the inputs; the gradients of the observations are not needed.

    Returns:
        The FLOP of training per environment step, and those of a gradient step per sample.
    """
    forward = sum(2 * kernel.size for tower in towers for kernel in tower)
    of_observations = sum(2 * tower[0].size for tower in towers)
    gradient = 3 * forward - of_observations
    return forward + config.num_epochs * gradient, gradient


def bytes_per_sample(config: Config) -> float:
    """Returns the bytes that XLA's operations read and write in a gradient step, per sample."""
    size = config.minibatch_size
    single = dataclasses.replace(
        config, num_envs=size, num_steps=1, num_epochs=1, num_minibatches=1, total_timesteps=size
    )
    update = make_update(single)
    costs = compile_ahead(update.body, jnp.int32(0), update.carry).cost_analysis()
    return costs["bytes accessed"] / size


def products_part(config: Config, towers: list[Tower]) -> Part:
    """Makes a loop that does the matrix products of training, at their shapes, and nothing else."""
    key, num_features = jax.random.key(0), towers[0][0].shape[0]

    def multiply(index: jax.Array, work: Work) -> Work:
        return _multiply(config, work)

    work = Work(
        towers=towers,
        step=jax.random.normal(key, (config.num_envs, num_features)),
        batch=jax.random.normal(key, (config.batch_size, num_features)),
        minibatch=jax.random.normal(key, (config.minibatch_size, num_features)),
    )
    return Part(name="matrix products", body=multiply, carry=work, steps=config.batch_size)


def _multiply(config: Config, work: Work) -> Work:
    """Multiplies as often as one update does: actions step by step, values at once, then gradients."""

    def act(index: jax.Array, actor: Tower) -> Tower:
        return _move_first(actor, _forward(actor, work.step)[-1])

    def learn(index: jax.Array, towers: list[Tower]) -> list[Tower]:
        gradients = [_backward(tower, _forward(tower, work.minibatch)) for tower in towers]
        return jax.tree.map(lambda kernel, gradient: kernel - 1e-9 * gradient, towers, gradients)

    actor, critic = work.towers
    actor = jax.lax.fori_loop(0, config.num_steps, act, actor)
    critic = _move_first(critic, _forward(critic, work.batch)[-1])
    num_gradient_steps = config.num_epochs * config.num_minibatches
    towers = jax.lax.fori_loop(0, num_gradient_steps, learn, [actor, critic])
    return work._replace(towers=towers)


def _move_first(tower: Tower, outputs: jax.Array) -> Tower:
    """Moves the weights a little by the outputs: the next products depend on it, so these have to be done."""
    return [tower[0] + 1e-9 * outputs.sum(), *tower[1:]]


def _forward(tower: Tower, x: jax.Array) -> list[jax.Array]:
    """Returns the inputs of all layers, and the outputs of the last."""
    layers = [x]
    for kernel in tower:
        layers.append(layers[-1] @ kernel)
    return layers


def _backward(tower: Tower, layers: list[jax.Array]) -> list[jax.Array]:
    """Returns the gradients of half the sum of squares of the outputs."""
    error, gradients = layers[-1], []
    for kernel, x in zip(reversed(tower), reversed(layers[:-1]), strict=True):
        gradients.append(x.T @ error)
        error = error @ kernel.T
    return gradients[::-1]
