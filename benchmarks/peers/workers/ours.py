"""What the workers of ppo_jax share."""

from importlib import metadata

from protocol import Job

from ppo_jax.config import Config

VERSION = metadata.version("ppo-jax")


def make_config(job: Job, total_timesteps: int) -> Config:
    """Returns the configuration of a job.

    Args:
        job: What to train.
        total_timesteps: The environment steps of one agent.
    """
    return Config(
        env=job.env,
        num_envs=job.num_envs,
        num_steps=job.num_steps,
        num_epochs=job.num_epochs,
        num_minibatches=job.num_minibatches,
        total_timesteps=total_timesteps,
    )
