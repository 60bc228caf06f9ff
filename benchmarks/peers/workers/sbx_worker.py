"""Trains with SBX, Stable-Baselines3 on JAX: CartPole of gymnasium in a DummyVecEnv."""

from importlib import metadata

import stable_baselines
from protocol import Job, Ready, serve
from sbx import PPO  # pyright: ignore[reportMissingImports]
from stable_baselines3.common.vec_env import DummyVecEnv  # pyright: ignore[reportMissingImports]


def prepare(job: Job) -> Ready:
    """Makes and warms up the agent; the first update compiles."""
    return stable_baselines.prepare(job, metadata.version("sbx-rl"), True, PPO, DummyVecEnv)


if __name__ == "__main__":
    serve(prepare)
