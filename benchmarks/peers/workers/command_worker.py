"""Trains with ppo_jax as the command `ppo-jax train` does: compiled in the same way, a chunk at a time.

Every measurement trains a new agent. What the host does between chunks is not included;
`benchmarks/host_loop.py` measures that.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import numpy as np
import ours
from protocol import Job, Ready, calibrate, serve

from ppo_jax.algorithm.metrics import Metrics
from ppo_jax.algorithm.train import TrainState, advance, make_ppo
from ppo_jax.config import Hyperparams
from ppo_jax.host.programs.chunks import CAPACITY, compile_ahead
from ppo_jax.validation import MAX_TIMESTEPS


def prepare(job: Job) -> Ready:
    """Compiles one program that runs any number of updates."""
    start = time.perf_counter()
    init, proceed = compile_both(job)
    compile_seconds = time.perf_counter() - start

    def train(count: int) -> float:
        start = time.perf_counter()
        state = init(Hyperparams(), make_key(job))
        for done in range(0, count, CAPACITY):
            state, metrics = proceed(Hyperparams(), state, np.int32(min(CAPACITY, count - done)))
            jax.block_until_ready((state, metrics))
        return time.perf_counter() - start

    count = calibrate(train, job.seconds)

    def train_once() -> tuple[int, float]:
        return count * job.batch_size, train(count)

    return Ready(train=train_once, compile_seconds=compile_seconds, version=ours.VERSION)


def compile_both(job: Job) -> tuple[Any, Any]:
    """Compiles the start of one agent, or of several at once, and the loop over updates."""
    ppo, hyper, key = make_ppo(ours.make_config(job, MAX_TIMESTEPS)), Hyperparams(), make_key(job)

    def proceed(hyper: Hyperparams, state: TrainState, num_updates: jax.Array) -> tuple[TrainState, Metrics]:
        return advance(ppo, CAPACITY, hyper, state, num_updates)

    init: Any = ppo.init
    if job.agents > 1:
        init = jax.vmap(init, in_axes=(None, 0))
        proceed = jax.vmap(proceed, in_axes=(None, 0, None))
    state = jax.eval_shape(init, hyper, key)
    with ThreadPoolExecutor() as pool:  # both at the same time
        compiled_init = pool.submit(compile_ahead, init, hyper, key)
        compiled_proceed = compile_ahead(proceed, hyper, state, np.int32(0))
    return compiled_init.result(), compiled_proceed


def make_key(job: Job) -> jax.Array:
    """Makes a key, or one for each of several agents."""
    key = jax.random.key(0)
    return key if job.agents == 1 else jax.random.split(key, job.agents)


if __name__ == "__main__":
    serve(prepare)
