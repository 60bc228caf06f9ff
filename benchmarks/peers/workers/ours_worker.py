"""Trains with ppo_jax, compiled as its command line compiles it, from a new agent every time."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib import metadata
from typing import Any

import jax
import numpy as np
from protocol import Job, Ready, calibrate, serve, timed

from ppo_jax.algorithm.train import PPO, advance, make_ppo
from ppo_jax.config import MAX_TIMESTEPS, Config, Hyperparams
from ppo_jax.host.programs.chunks import CAPACITY, compile_ahead


def prepare(job: Job) -> Ready:
    """Compiles one program that runs any number of updates."""
    config = Config(
        env=job.env,
        num_envs=job.num_envs,
        num_steps=job.num_steps,
        num_epochs=job.num_epochs,
        num_minibatches=job.num_minibatches,
        total_timesteps=MAX_TIMESTEPS,
    )
    training = Training(job, make_ppo(config))
    count = calibrate(training.clock, job.seconds)
    train = partial(_train, training, count, count * job.batch_size)
    return Ready(train, training.compile_seconds, metadata.version("ppo-jax"))


class Training:
    """The compiled training of one agent, or of several.

    Attributes:
        compile_seconds: What tracing and compiling took.
    """

    def __init__(self, job: Job, ppo: PPO):
        """Compiles both parts."""
        self._hyper = Hyperparams()
        self._key = jax.random.key(0)
        if job.agents > 1:
            self._key = jax.random.split(self._key, job.agents)
        self.compile_seconds = timed(partial(self._compile, job, ppo))

    def _compile(self, job: Job, ppo: PPO) -> None:
        init: Any = ppo.init
        proceed: Any = partial(advance, ppo, CAPACITY)
        if job.agents > 1:
            init = jax.vmap(init, in_axes=(None, 0))
            proceed = jax.vmap(proceed, in_axes=(None, 0, None))
        state = jax.eval_shape(init, self._hyper, self._key)
        with ThreadPoolExecutor() as pool:
            compiling = pool.submit(compile_ahead, init, self._hyper, self._key)
            self._proceed = compile_ahead(proceed, self._hyper, state, np.int32(0))
        self._init = compiling.result()

    def clock(self, count: int) -> float:
        """Trains a new agent for a number of updates and returns the seconds."""
        return timed(partial(self._run, count))

    def _run(self, count: int) -> None:
        state = self._init(self._hyper, self._key)
        for done in range(0, count, CAPACITY):
            size = np.int32(min(CAPACITY, count - done))
            state, metrics = self._proceed(self._hyper, state, size)
            jax.block_until_ready((state, metrics))


def _train(training: Training, count: int, steps: int) -> tuple[int, float]:
    return steps, training.clock(count)


if __name__ == "__main__":
    serve(prepare)
