"""Trains with ppo_jax as a library: `jax.jit(ppo_jax.train)`, vmapped over keys for several agents.

With our options of XLA, this is the call that docs/python.md recommends for the speed of the command.
"""

from functools import partial
from typing import Any

import fixed_length
import jax
import ours
from protocol import Job, Ready, serve

import ppo_jax


def prepare(job: Job) -> Ready:
    """Compiles a training of about the length asked for."""

    def make_train(total_timesteps: int) -> Any:
        return partial(ppo_jax.train, ours.make_config(job, total_timesteps))

    return fixed_length.prepare(job, ours.VERSION, make_train, ppo_jax.Hyperparams(), make_key=jax.random.key)


if __name__ == "__main__":
    serve(prepare)
