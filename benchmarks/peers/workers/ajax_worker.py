"""Trains with ajax-rl: the function that its `PPO.train` maps over seeds, without logging and evaluations.

It takes two values for every step, of the observation and of the one after it. Gradients are clipped by their
norm over both networks. What is not set here is its default.
"""

from importlib import metadata
from typing import Any

import fixed_length
import jax
import jax.numpy as jnp
from ajax import PPO  # pyright: ignore[reportMissingImports]
from protocol import Job, Ready, serve

LAYERS = ("64", "tanh", "64", "tanh")


def prepare(job: Job) -> Ready:
    """Compiles a training of about the length asked for."""
    agent = PPO(
        job.env,
        n_envs=job.num_envs,
        n_steps=job.num_steps,
        n_epochs=job.num_epochs,
        num_minibatches=job.num_minibatches,
        actor_architecture=LAYERS,
        critic_architecture=LAYERS,
        actor_learning_rate=2.5e-4,
        critic_learning_rate=2.5e-4,
        ent_coef=0.01,
    )

    def make_train(total_timesteps: int) -> Any:
        train = agent.get_make_train()(
            env_args=agent.env_args,
            actor_optimizer_args=agent.actor_optimizer_args,
            critic_optimizer_args=agent.critic_optimizer_args,
            network_args=agent.network_args,
            agent_config=agent.agent_config,
            total_timesteps=total_timesteps,
            num_episode_test=1,
        )

        def train_first(key: jax.Array) -> Any:
            return train(key, jnp.int32(0))  # the number of the seed

        return train_first

    return fixed_length.prepare(job, metadata.version("ajax-rl"), make_train)


if __name__ == "__main__":
    serve(prepare)
