"""Trains with Jaxnasium: `PPO.train(key, env)` under `jax.jit`, on a CartPole of its own.

Nothing is logged, and nothing is normalized. It takes two values for every step: of the observation, and of
the one after it. What is not set here is its default.
"""

from importlib import metadata
from typing import Any

import equinox  # pyright: ignore[reportMissingImports]
import fixed_length
import jax
import jax.numpy as jnp
import jaxnasium  # pyright: ignore[reportMissingImports]
from jaxnasium.algorithms import PPO  # pyright: ignore[reportMissingImports]
from jaxnasium.algorithms.architectures import MLP  # pyright: ignore[reportMissingImports]
from protocol import Job, Ready, serve


def prepare(job: Job) -> Ready:
    """Compiles a training of about the length asked for."""
    environment = jaxnasium.make(job.env)
    network = {"body": MLP.with_params(hidden_sizes=(64, 64), activation=jnp.tanh)}

    def make_train(total_timesteps: int) -> Any:
        algorithm = PPO(
            total_timesteps=total_timesteps,
            num_envs=job.num_envs,
            num_steps=job.num_steps,
            num_epochs=job.num_epochs,
            num_minibatches=job.num_minibatches,
            learning_rate_start=2.5e-4,
            max_grad_norm=0.5,
            warmup_steps=0,
            normalize_observations=False,
            normalize_rewards=False,
            log_function=None,
            actor_kwargs=network,
            critic_kwargs=network,
        )

        def train(key: jax.Array) -> Any:
            return equinox.filter(algorithm.train(key, environment), equinox.is_array)

        return train

    return fixed_length.prepare(job, metadata.version("jaxnasium"), make_train)


if __name__ == "__main__":
    serve(prepare)
