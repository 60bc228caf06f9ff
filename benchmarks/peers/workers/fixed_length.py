"""Measures a training in JAX whose length is fixed when it is compiled."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
from protocol import Job, Ready, calibrate, timed

MakeTrain = Callable[[int], Callable[[jax.Array], Any]]  # total steps of one agent -> train(key)
FIRST_STEPS = 65_536  # of the first trial, over all agents; every further one is a compilation
GROWTH = 16


def prepare(job: Job, version: str, make_train: MakeTrain) -> Ready:
    """Compiles trainings of several lengths until one takes about as long as asked.

    Args:
        job: What to train.
        version: Of the package.
        make_train: Makes the training of one agent; it is vmapped over keys for several.
    """
    first = max(1, FIRST_STEPS // job.batch_size)
    count = calibrate(partial(_clock_first, job, make_train), job.seconds, first, GROWTH)
    program, compile_seconds = _compile(job, make_train, count)
    run = partial(_run, program, job)
    run()  # the first call of a program is slower
    return Ready(partial(_train, run, count * job.batch_size), compile_seconds, version)


def _clock_first(job: Job, make_train: MakeTrain, count: int) -> float:
    program, _ = _compile(job, make_train, count)
    return timed(partial(_run, program, job))


def _compile(job: Job, make_train: MakeTrain, count: int) -> tuple[Any, float]:
    start = time.perf_counter()
    train = make_train(count * job.num_envs * job.num_steps)
    program = jax.jit(train if job.agents == 1 else jax.vmap(train)).lower(_keys(job)).compile()
    return program, time.perf_counter() - start


def _run(program: Any, job: Job) -> None:
    jax.block_until_ready(program(_keys(job)))


def _train(run: Callable[[], None], steps: int) -> tuple[int, float]:
    return steps, timed(run)


def _keys(job: Job) -> jax.Array:
    key = jax.random.PRNGKey(0)
    return key if job.agents == 1 else jax.random.split(key, job.agents)
