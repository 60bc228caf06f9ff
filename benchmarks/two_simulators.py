"""Compares the environments that gymnax and Gymnasium both have.

First, step by step: trajectories of random actions are recorded in Gymnasium, and every step of them is taken
again by gymnax from the same state. Then policies: presets are trained in gymnax from several seeds, and each
policy plays fresh episodes in both.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.envs.make import make_dynamics
from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.host.programs import evaluation

# The fields of gymnax's state that make up Gymnasium's, in order.
FIELDS = {
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "Acrobot-v1": ("joint_angle1", "joint_angle2", "velocity_1", "velocity_2"),
    "MountainCar-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
    "MountainCarContinuous-v0": ("position", "velocity"),
}
EPISODES = 100
ROUNDING = 1e-5  # Gymnasium computes in float64, gymnax in float32


class Steps(NamedTuple):
    """Steps of Gymnasium, [B].

    Attributes:
        state: The states before the steps, [B, S].
        action: The actions, [B, ...].
        observation: The observations after the steps, [B, D].
        reward: The rewards.
        terminated: Whether the task ended.
    """

    state: np.ndarray
    action: np.ndarray
    observation: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare the environments that gymnax and Gymnasium both have."""

    trajectories: int = 1000
    """Random trajectories of each environment."""
    seeds: int = 20
    """Policies of each preset."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Compares, prints, and writes the result."""
    rows = []
    for name in FIELDS:
        row = {
            "env": name,
            **compare_steps(name, options.trajectories),
            **compare_policies(name, options.seeds),
        }
        Console().print(row)
        rows.append(row)
    result = {"trajectories": options.trajectories, "seeds": options.seeds, "environments": rows}
    record.write(options.output, record.complete(result))


def compare_steps(name: str, trajectories: int) -> dict[str, Any]:
    """Takes the steps of random trajectories again, and returns by how much they differ."""
    steps = play_at_random(name, trajectories)
    dynamics = make_dynamics(name)
    first, _ = dynamics.reset(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def again(state: jax.Array, action: jax.Array) -> Any:
        fields = dict(zip(FIELDS[name], state, strict=True))
        _, transition = dynamics.step(jax.random.key(0), dataclasses.replace(first, **fields), action)
        return transition.observation, transition.reward, transition.terminated

    observation, reward, terminated = jax.device_get(
        again(jnp.asarray(steps.state), jnp.asarray(steps.action))
    )
    difference = np.abs(observation - steps.observation)
    both = steps.terminated & terminated
    return {
        "steps": len(steps.reward),
        "largest_difference_of_observations": float(difference.max()),
        "steps_beyond_rounding": int((difference > ROUNDING).any(axis=1).sum()),
        "largest_difference_of_rewards": float(np.abs(reward - steps.reward).max()),
        "ends_in_both": int(both.sum()),
        "ends_in_one": int((steps.terminated ^ terminated).sum()),
    }


def play_at_random(name: str, trajectories: int) -> Steps:
    """Records trajectories of random actions in Gymnasium."""
    env = gymnasium.make(name)
    env.action_space.seed(0)
    rows: list[tuple[Any, ...]] = []
    for seed in range(trajectories):
        env.reset(seed=seed)
        done = False
        while not done:
            state, action = np.array(env.unwrapped.state, np.float32), env.action_space.sample()  # pyright: ignore
            # Gymnasium computes in float64; both begin the step in the same state of float32.
            env.unwrapped.state = state.astype(np.float64)  # pyright: ignore
            observation, reward, terminated, truncated, _ = env.step(action)
            rows.append((state, action, observation, np.float32(reward), terminated))
            done = terminated or truncated
    return Steps(*map(np.stack, zip(*rows, strict=True)))


def compare_policies(name: str, seeds: int) -> dict[str, Any]:
    """Trains policies in gymnax, and returns what they reach there and in Gymnasium."""
    config, hyper = ppo_jax.preset(name)
    train = jax.jit(ppo_jax.train, static_argnums=0)
    returns: dict[str, list[float]] = {"gymnax": [], "gymnasium": []}
    for seed in range(seeds):
        state, _ = train(config, hyper, jax.random.key(seed))
        agent = jax.device_get(ppo_jax.agent_of(state))
        there = evaluation.in_gymnasium(config)
        for library, one in (("gymnax", config), ("gymnasium", there)):
            returns[library].append(evaluation.run(one, agent, EPISODES, greedy=True, seed=seed).mean)
    return {library: sum_up(values) for library, values in returns.items()}


def sum_up(values: list[float]) -> dict[str, Any]:
    """Returns the returns of all seeds, their interquartile mean, and its interval."""
    found = interval(np.array(values))
    named = {name: round(float(value), 3) for name, value in found._asdict().items()}
    return {**named, "seeds": [round(value, 3) for value in values]}


if __name__ == "__main__":
    main(tyro.cli(Options))
