"""Measures a training in JAX whose length is fixed when it is compiled."""

import time
from collections.abc import Callable
from typing import Any

import jax
from protocol import Job, Ready, calibrate

MakeTrain = Callable[[int], Callable[[jax.Array], Any]]  # total steps of one agent -> train(key)
FIRST_STEPS = 65_536  # of the first trial, over all agents; every further trial is a compilation
GROWTH = 16


def prepare(job: Job, version: str, make_train: MakeTrain) -> Ready:
    """Compiles trainings of several lengths until one takes about as long as asked.

    Args:
        job: What to train.
        version: The version of the package.
        make_train: The function that makes the training of one agent; it is vmapped over keys for several.
    """
    keys = jax.random.PRNGKey(0)
    if job.agents > 1:
        keys = jax.random.split(keys, job.agents)

    def compile_training(count: int) -> tuple[Any, float]:
        start = time.perf_counter()
        train = make_train(count * job.num_envs * job.num_steps)
        program = jax.jit(train if job.agents == 1 else jax.vmap(train)).lower(keys).compile()
        return program, time.perf_counter() - start

    def clock(program: Any) -> float:
        start = time.perf_counter()
        jax.block_until_ready(program(keys))
        return time.perf_counter() - start

    def try_length(count: int) -> float:
        program, _ = compile_training(count)
        return clock(program)

    count = calibrate(try_length, job.seconds, max(1, FIRST_STEPS // job.batch_size), GROWTH)
    program, compile_seconds = compile_training(count)
    clock(program)  # the first call of a program is slower

    def train_once() -> tuple[int, float]:
        return count * job.batch_size, clock(program)

    return Ready(train=train_once, compile_seconds=compile_seconds, version=version)
