"""Trains with Stable-Baselines3: PyTorch on the CPU, CartPole of gymnasium in a DummyVecEnv.

PyTorch gets one thread. With its default, one thread per core, it was a hundred times slower on two cores
that another process used as well, because its threads wait for each other at each of these small operations.
"""

from importlib import metadata

import stable_baselines
import torch  # pyright: ignore[reportMissingImports]
from protocol import Job, Ready, serve
from stable_baselines3 import PPO  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.vec_env import DummyVecEnv  # pyright: ignore[reportMissingImports]


def prepare(job: Job) -> Ready:
    """Makes and warms up the agent; nothing is compiled."""
    torch.set_num_threads(1)
    return stable_baselines.prepare(job, metadata.version("stable-baselines3"), False, PPO, DummyVecEnv)


if __name__ == "__main__":
    serve(prepare)
