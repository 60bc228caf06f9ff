"""Measures a PPO with the interface of Stable-Baselines3, on environments of gymnasium."""

import time
from functools import partial
from typing import Any

import gymnasium
from protocol import Job, Ready, UnsupportedError, calibrate


def prepare(job: Job, version: str, compiles: bool, ppo: type[Any], vec_env: type[Any]) -> Ready:
    """Makes the agent, and finds out how many updates to measure; the agent learns on in between.

    Args:
        job: What to train.
        version: The version of the package.
        compiles: Whether the first update compiles; the time by which it exceeds the second is then reported.
        ppo: The class of the agent.
        vec_env: The class of several environments.
    """
    if job.agents > 1:
        raise UnsupportedError("one agent only")
    model = ppo(
        "MlpPolicy",
        vec_env([partial(gymnasium.make, job.env)] * job.num_envs),
        learning_rate=2.5e-4,
        n_steps=job.num_steps,
        batch_size=job.batch_size // job.num_minibatches,
        n_epochs=job.num_epochs,
        ent_coef=0.01,
        max_grad_norm=0.5,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}},
        device="cpu",
        seed=0,
    )

    def learn(count: int) -> float:
        start = time.perf_counter()
        model.learn(count * job.batch_size, reset_num_timesteps=False)
        return time.perf_counter() - start

    first, second = learn(1), learn(1)
    count = calibrate(learn, job.seconds)

    def train_once() -> tuple[int, float]:
        return count * job.batch_size, learn(count)

    compile_seconds = max(0.0, first - second) if compiles else None
    return Ready(train=train_once, compile_seconds=compile_seconds, version=version)
