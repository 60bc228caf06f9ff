"""Repeats Table 1 of the paper: the surrogate objectives compared on continuous control.

Schulman et al. 2017, Section 6.1. The hyperparameters are those of the paper's Table 3: 2,048 steps per
update (here from 8 environments), Adam with 3e-4, 10 epochs of minibatches of 64, gamma 0.99, lambda 0.95.
A score is the mean return of the last 100 episodes, shifted and scaled for each task so that the untrained
policy scores 0 and the best of all runs scores 1. The tasks differ from the paper's: MuJoCo does not run.
"""

import dataclasses
import json
import shlex
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

import ppo_jax
from ppo_jax.config import Objective
from ppo_jax.host.pictures.style import COLORS, GUIDE, save
from ppo_jax.host.programs import system


class Setting(NamedTuple):
    """One row of the table: an objective and a value of its hyperparameter.

    Attributes:
        label: The label in the paper's table.
        objective: The kind of objective.
        field: The hyperparameter that is varied.
        value: The value of this hyperparameter.
        published: The score in the paper.
    """

    label: str
    objective: Objective
    field: str
    value: float
    published: float


SETTINGS = (
    Setting("No clipping or penalty", "unclipped", "clip_epsilon", 0.2, -0.39),
    Setting("Clipping, ε = 0.1", "clipped", "clip_epsilon", 0.1, 0.76),
    Setting("Clipping, ε = 0.2", "clipped", "clip_epsilon", 0.2, 0.82),
    Setting("Clipping, ε = 0.3", "clipped", "clip_epsilon", 0.3, 0.70),
    Setting("Adaptive KL, d_targ = 0.003", "adaptive_kl", "desired_kl", 0.003, 0.68),
    Setting("Adaptive KL, d_targ = 0.01", "adaptive_kl", "desired_kl", 0.01, 0.74),
    Setting("Adaptive KL, d_targ = 0.03", "adaptive_kl", "desired_kl", 0.03, 0.71),
    Setting("Fixed KL, β = 0.3", "fixed_kl", "kl_coefficient", 0.3, 0.62),
    Setting("Fixed KL, β = 1", "fixed_kl", "kl_coefficient", 1.0, 0.71),
    Setting("Fixed KL, β = 3", "fixed_kl", "kl_coefficient", 3.0, 0.72),
    Setting("Fixed KL, β = 10", "fixed_kl", "kl_coefficient", 10.0, 0.69),
)

CONFIG = ppo_jax.Config(
    num_envs=8,
    num_steps=256,
    num_epochs=10,
    num_minibatches=32,
    normalize_observations=True,
    normalize_rewards=True,
    learning_rate_schedule="constant",
)
HYPER = ppo_jax.Hyperparams(
    learning_rate=3e-4, entropy_coefficient=0.0, max_grad_norm=float("inf"), value_coefficient=0.5
)


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare the paper's objectives."""

    tasks: tuple[str, ...] = ("Pendulum-v1", "Reacher-misc", "Swimmer-misc")
    """Environments with continuous actions."""
    num_seeds: int = 3
    """S: how many seeds for each setting on each task."""
    total_timesteps: int = 500_000
    """Environment steps of each run."""
    output: Path = Path("docs/paper_objectives")
    """File to write the results to, once with the suffix .json and once with .png."""


def main(options: Options) -> None:
    """Trains every setting on every task, prints the table and draws it."""
    start = time.perf_counter()
    returns = np.stack([returns_of_task(task, options) for task in options.tasks])  # [tasks, settings, S]
    if not np.isfinite(returns).all():
        raise SystemExit(
            "a run has diverged or has finished fewer than 100 episodes; give more --total-timesteps"
        )
    random = np.array([random_return(task) for task in options.tasks])[:, None, None]
    scores = (returns - random) / (returns.max(axis=(1, 2), keepdims=True) - random)
    record = describe(options, returns, random, scores, time.perf_counter() - start)
    options.output.with_suffix(".json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    for setting in record["settings"]:
        print(f"{setting['label']:28} {setting['score']:5.2f}   in the paper {setting['published']:5.2f}")
    print("`python benchmarks/quotes.py` copies the table into docs/paper_objectives.md")
    save(draw(scores), options.output.with_suffix(".png"))


def returns_of_task(task: str, options: Options) -> np.ndarray:
    """Trains all settings on one task, one program per kind of objective, [settings, S]."""
    returns = {}
    for objective in dict.fromkeys(setting.objective for setting in SETTINGS):
        settings = [setting for setting in SETTINGS if setting.objective == objective]
        for setting, row in zip(settings, returns_of_objective(task, settings, options), strict=True):
            returns[setting.label] = row
            print(f"{task}: {setting.label}: {row}", flush=True)
    return np.stack([returns[setting.label] for setting in SETTINGS])


def returns_of_objective(task: str, settings: list[Setting], options: Options) -> np.ndarray:
    """Trains the settings of one objective, vmapped over settings and seeds, [settings, S]."""
    config = dataclasses.replace(
        CONFIG, env=task, total_timesteps=options.total_timesteps, objective=settings[0].objective
    )
    values = jnp.array([setting.value for setting in settings])
    hyper = HYPER._replace(**{settings[0].field: values})
    keys = jax.random.split(jax.random.key(0), options.num_seeds)
    _, metrics = jax.jit(ppo_jax.sweep, static_argnums=0)(config, hyper, keys)
    return np.asarray(metrics.return_window[:, :, -1])


def random_return(task: str) -> float:
    """Returns the mean return of the untrained policy over 100 episodes."""
    config = dataclasses.replace(CONFIG, env=task)
    state = ppo_jax.make_ppo(config).init(HYPER, jax.random.key(0))
    evaluate = partial(ppo_jax.evaluate, config, greedy=False, statistics=state.collector.statistics)
    return float(jax.jit(evaluate)(jax.random.key(1), state.learner.params).episode_return.mean())


def describe(
    options: Options, returns: np.ndarray, random: np.ndarray, scores: np.ndarray, seconds: float
) -> dict[str, Any]:
    """Puts everything worth keeping into one record."""
    return {
        "command": shlex.join(["python", "benchmarks/paper_objectives.py", *sys.argv[1:]]),
        "tasks": list(options.tasks),
        "seeds": options.num_seeds,
        "env_steps": options.total_timesteps,
        "random_return": dict(zip(options.tasks, random.ravel().round(2).tolist(), strict=True)),
        "settings": [
            {
                "label": setting.label,
                "score": round(float(scores[:, i].mean()), 2),
                "published": setting.published,
                "score_of_task": dict(
                    zip(options.tasks, scores[:, i].mean(axis=1).round(2).tolist(), strict=True)
                ),
                "returns": dict(zip(options.tasks, returns[:, i].round(2).tolist(), strict=True)),
            }
            for i, setting in enumerate(SETTINGS)
        ],
        "seconds": round(seconds),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def draw(scores: np.ndarray) -> Figure:
    """Draws the mean score of each setting beside the paper's, and each run as a dot.

    Args:
        scores: The scores of all runs, [tasks, settings, S].
    """
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    ax = figure.subplots()
    rows = np.arange(len(SETTINGS))[::-1]
    lowest = min(-0.5, float(scores.mean(axis=(0, 2)).min()) - 0.1)
    for i, row in enumerate(rows):
        runs = scores[:, i].ravel()
        ax.plot(np.clip(runs, lowest, None), np.full(runs.shape, row), ".", color=GUIDE, markersize=4)
    ax.plot(
        scores.mean(axis=(0, 2)), rows, "o", color=COLORS[0], label="here: the mean, and each run as a dot"
    )
    published = [setting.published for setting in SETTINGS]
    ax.plot(published, rows, "D", color=COLORS[1], markerfacecolor="none", label="in the paper")
    ax.axvline(0, color=GUIDE, linewidth=0.8)
    ax.set_yticks(rows, [setting.label for setting in SETTINGS])
    ax.set_xlim(left=lowest - 0.05)
    ax.set_xlabel("score: 0 is the untrained policy, 1 the best run of the task")
    ax.legend(loc="lower left", fontsize="small")
    return figure


if __name__ == "__main__":
    main(tyro.cli(Options))
