"""What a device could do at most: its arithmetic, its memory, and the matrix products of a training alone."""

import dataclasses
import itertools
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.train import make_ppo
from ppo_jax.config import Config, Hyperparams
from ppo_jax.host.benchmark.parts import Part, clock, make_parts
from ppo_jax.host.programs.chunks import compile_ahead

GEMM_SIZES = (1024, 2048, 4096)
MEMORY_BYTES = 2**28  # far more than a cache holds
CACHE_BYTES = 2**18  # less than it holds, as much as a layer of a minibatch of 1,024 samples takes


class Limits(NamedTuple):
    """Measured limits of a device.

    Attributes:
        flops_per_second: Of the fastest of several large square matrix products, float32.
        memory_bytes_per_second: Read and written by an operation on an array that no cache holds.
        cache_bytes_per_second: The same on an array that fits into a cache.
    """

    flops_per_second: float
    memory_bytes_per_second: float
    cache_bytes_per_second: float


def measure_limits() -> Limits:
    """Measures the limits of the device, in a few seconds."""
    products = [2 * size**3 / _seconds(jnp.matmul, *_squares(size)) for size in GEMM_SIZES]
    return Limits(max(products), _bandwidth(MEMORY_BYTES, 4), _bandwidth(CACHE_BYTES, 4096))


def kernels(config: Config) -> list[list[jax.Array]] | None:
    """Returns the weight matrices of each tower in order, or None unless all it does is multiply by them."""
    if config.memory_size or config.encoder == "cnn" or config.shared_torso:
        return None
    state = jax.jit(make_ppo(config).init)(Hyperparams(), jax.random.key(0))
    params = {name: tower for name, tower in state.learner.params.items() if name != "log_std"}
    towers = [[x for x in jax.tree.leaves(tower) if x.ndim == 2] for tower in params.values()]
    chained = all(a.shape[1] == b.shape[0] for tower in towers for a, b in itertools.pairwise(tower))
    return towers if chained else None


def count_flops(config: Config, towers: list[list[jax.Array]]) -> tuple[int, int]:
    """Counts the FLOP of matrix products: of a training per environment step, of a gradient step per sample.

    Acting takes the actor once, values the critic once (the few successors that are valued apart are not
    counted). A gradient step takes both forward once and backward twice, for the gradients of weights and
    of inputs; those of the observations are not needed.
    """
    forward = sum(2 * kernel.size for tower in towers for kernel in tower)
    observations = sum(2 * tower[0].size for tower in towers)
    gradient = 3 * forward - observations
    return forward + config.num_epochs * gradient, gradient


def products_part(config: Config, towers: list[list[jax.Array]]) -> Part:
    """Makes a loop that does the matrix products of a training, at their shapes, and nothing else."""
    width, key = towers[0][0].shape[0], jax.random.key(0)
    sizes = (config.num_envs, config.batch_size, config.minibatch_size)
    work = _Work(towers, *(jax.random.normal(key, (size, width)) for size in sizes))
    return Part("matrix products", partial(_multiply, config), work, config.batch_size)


def bytes_per_sample(config: Config) -> float:
    """Returns the bytes that XLA's operations read and write in a gradient step, per sample."""
    size = config.minibatch_size
    single = dataclasses.replace(
        config, num_envs=size, num_steps=1, num_epochs=1, num_minibatches=1, total_timesteps=size
    )
    update = next(part for part in make_parts(single, num_agents=1) if part.name == "update")
    costs = compile_ahead(update.body, jnp.int32(0), update.carry).cost_analysis()
    return costs["bytes accessed"] / size


class _Work(NamedTuple):
    towers: list[list[jax.Array]]
    step: jax.Array  # observations of one step, [N, D]
    batch: jax.Array  # [B, D]
    minibatch: jax.Array  # [M, D]


def _squares(size: int) -> tuple[jax.Array, jax.Array]:
    return jnp.ones((size, size)), jnp.full((size, size), 0.5)


def _bandwidth(size: int, count: int) -> float:
    return 2 * size * count / _seconds(partial(_negate, count), jnp.ones(size // 4))


def _negate(count: int, x: jax.Array) -> jax.Array:
    return jax.lax.fori_loop(0, count, lambda _, x: -x, x)


def _seconds(function: Any, *arguments: jax.Array) -> float:
    """Returns the least of several times of an operation."""
    program = compile_ahead(function, *arguments)
    jax.block_until_ready(program(*arguments))
    return min(clock(program, *arguments) for _ in range(7))


def _multiply(config: Config, index: jax.Array, work: _Work) -> _Work:
    """Multiplies as often as one update does: actions step by step, values at once, then gradients."""
    actor, critic = work.towers
    actor = jax.lax.fori_loop(0, config.num_steps, partial(_act, work.step), actor)
    towers = [actor, _act(work.batch, index, critic)]
    num_gradient_steps = config.num_epochs * config.num_minibatches
    towers = jax.lax.fori_loop(0, num_gradient_steps, partial(_learn, work.minibatch), towers)
    return work._replace(towers=towers)


def _act(x: jax.Array, index: jax.Array, tower: list[jax.Array]) -> list[jax.Array]:
    """Goes forward only; the weights move a little, so that the next products depend on these."""
    return [tower[0] + 1e-9 * _forward(tower, x)[-1].sum(), *tower[1:]]


def _learn(x: jax.Array, index: jax.Array, towers: list[list[jax.Array]]) -> list[list[jax.Array]]:
    gradients = [_backward(tower, _forward(tower, x)) for tower in towers]
    return jax.tree.map(lambda kernel, gradient: kernel - 1e-9 * gradient, towers, gradients)


def _forward(tower: list[jax.Array], x: jax.Array) -> list[jax.Array]:
    layers = [x]
    for kernel in tower:
        layers.append(layers[-1] @ kernel)
    return layers


def _backward(tower: list[jax.Array], layers: list[jax.Array]) -> list[jax.Array]:
    """Returns the gradients of half the sum of squares of the outputs."""
    error, gradients = layers[-1], []
    for kernel, x in zip(reversed(tower), reversed(layers[:-1]), strict=True):
        gradients.append(x.T @ error)
        error = error @ kernel.T
    return gradients[::-1]
