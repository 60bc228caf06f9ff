"""Measures a training in JAX whose length is fixed when it is compiled."""

import time
from collections.abc import Callable
from typing import Any

import jax
from protocol import Job, Ready, better_updates, likely_updates

MakeTrain = Callable[[int], Callable[..., Any]]  # total steps of one agent -> train(*inputs, key)


def prepare(
    job: Job,
    version: str,
    make_train: MakeTrain,
    *inputs: Any,
    make_key: Callable[[int], jax.Array] = jax.random.PRNGKey,
) -> Ready:
    """Compiles a training of the length that is likely to take as long as asked, and another if it did not.

    Args:
        job: What to train.
        version: The version of the package.
        make_train: The function that makes the training of one agent; it is vmapped over keys for several.
        *inputs: What the training takes before the key, the same for all agents.
        make_key: The function that makes a key from a seed.
    """
    keys = make_key(0)
    if job.agents > 1:
        keys = jax.random.split(keys, job.agents)

    def compile_training(count: int) -> tuple[Any, float]:
        start = time.perf_counter()
        train = make_train(count * job.num_envs * job.num_steps)
        if job.agents > 1:
            train = jax.vmap(train, in_axes=(*(None for _ in inputs), 0))
        program = jax.jit(train).lower(*inputs, keys).compile(compiler_options=job.options)
        return program, time.perf_counter() - start

    def clock(program: Any) -> float:
        start = time.perf_counter()
        jax.block_until_ready(program(*inputs, keys))
        return time.perf_counter() - start

    first = likely_updates(job)
    program, compile_seconds = compile_training(first)
    count = better_updates(job, first, clock(program))
    if count != first:
        program, compile_seconds = compile_training(count)
        clock(program)  # the first call of a program is slower

    def train_once() -> tuple[int, float]:
        return count * job.batch_size, clock(program)

    return Ready(train=train_once, compile_seconds=compile_seconds, version=version)
