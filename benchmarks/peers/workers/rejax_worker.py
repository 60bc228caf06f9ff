"""Trains with Rejax: `algo.train(key)` under `jax.jit`, vmapped over keys for several agents.

Its evaluations are reduced to nothing: none at the start, and one at the end whose callback returns 0.
Its gradients are clipped element by element (`optax.clip`), not by their global norm. The clip bound and
everything else that is not set here are Rejax's defaults.
"""

from importlib import metadata
from typing import Any

import fixed_length
import jax
from protocol import Job, Ready, serve
from rejax import PPO  # pyright: ignore[reportMissingImports]


def prepare(job: Job) -> Ready:
    """Compiles a training of about the length asked for."""

    def make_train(total_timesteps: int) -> Any:
        algo = PPO.create(
            env=job.env,
            num_envs=job.num_envs,
            num_steps=job.num_steps,
            num_epochs=job.num_epochs,
            num_minibatches=job.num_minibatches,
            total_timesteps=total_timesteps,
            agent_kwargs={"hidden_layer_sizes": (64, 64), "activation": "tanh"},
            learning_rate=2.5e-4,
            max_grad_norm=0.5,
            eval_freq=total_timesteps,
            skip_initial_evaluation=True,
        )
        return algo.replace(eval_callback=evaluate_nothing).train

    return fixed_length.prepare(job, metadata.version("rejax"), make_train)


def evaluate_nothing(algo: Any, state: Any, key: jax.Array) -> int:
    """Takes the place of Rejax's evaluation."""
    return 0


if __name__ == "__main__":
    serve(prepare)
