"""Measures a PPO with the interface of Stable-Baselines3, on environments of gymnasium."""

from functools import partial
from typing import Any

import gymnasium
from protocol import Job, Ready, UnsupportedError, calibrate, timed

NUM_ENVS = 4  # more are stepped one after the other as well, so that nothing new would be seen


def prepare(job: Job, version: str, compiles: bool, ppo: type[Any], vec_env: type[Any]) -> Ready:
    """Makes the agent and finds out how many updates to measure; it goes on learning in between.

    Args:
        job: What to train.
        version: Of the package.
        compiles: Whether the first update compiles; its time in excess of the second then is reported.
        ppo: Class of the agent.
        vec_env: Class of the environments in parallel.
    """
    if job.agents > 1:
        raise UnsupportedError("one agent only")
    if job.num_envs > NUM_ENVS:
        raise UnsupportedError("not run: too slow to be of interest")
    model = _make_model(job, ppo, vec_env)
    learn = partial(_learn, model, job)
    first, second = learn(1), learn(1)
    count = calibrate(learn, job.seconds)
    train = partial(_train, learn, job, count)
    return Ready(train, max(0.0, first - second) if compiles else None, version)


def _make_model(job: Job, ppo: type[Any], vec_env: type[Any]) -> Any:
    environments = vec_env([partial(gymnasium.make, job.env)] * job.num_envs)
    return ppo(
        "MlpPolicy",
        environments,
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


def _learn(model: Any, job: Job, count: int) -> float:
    return timed(partial(model.learn, count * job.batch_size, reset_num_timesteps=False))


def _train(learn: Any, job: Job, count: int) -> tuple[int, float]:
    return count * job.batch_size, learn(count)
