"""Measures what a teacher and a warm start save, in a corridor with a sign that has to be remembered.

A sign is shown in the first step only. At the end of the corridor the agent turns left or right, and is
rewarded with 1 if it turns to the side of the sign (as in the T-maze of Bakker 2002); if it turns before the
end, the episode is over. The agent has a memory, and its critic sees the sign all the time, with and without
a teacher.

Teacher: a policy without memory that sees the sign all the time. It is trained in a short corridor, and does
as well in a long one, because both look the same to it. Every seed has its own. Warm start: a policy with a
memory that was trained in the short corridor goes on in a longer one. The one from scratch is given as many
steps in the longer one as both together, and is also compared after as many steps there.
"""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.algorithm.train import advance
from ppo_jax.envs.environment import Dynamics, Environment, Observation, Transition, make_batched
from ppo_jax.host.diagnosis.intervals import interval
from ppo_jax.spaces import Box, Discrete

SOLVED = 0.9  # mean return of 100 episodes
SHORT, LONG, TAUGHT = 3, 12, 6  # steps through a corridor: of the source, of the warm start, with a teacher
CONFIG = ppo_jax.Config(
    "corridor",
    num_envs=32,
    num_steps=32,
    num_epochs=4,
    num_minibatches=4,
    hidden_sizes=(32,),
    memory_size=32,
)
HYPER = ppo_jax.Hyperparams(learning_rate=5e-3, entropy_coefficient=0.01)
SEEING = dataclasses.replace(CONFIG, memory_size=0)


class Walk(NamedTuple):
    """The state of a walk through the corridor.

    Attributes:
        sign: -1 for the left, 1 for the right, [].
        place: Steps from the start, [].
        time: Steps so far, [].
    """

    sign: jax.Array
    place: jax.Array
    time: jax.Array


def corridor(length: int, sees: bool = False) -> Environment:
    """Makes the corridor: actions are to go on, to turn left, and to turn right at its end.

    Args:
        length: The steps from the sign to the end.
        sees: Whether the actor sees the sign all the time, rather than the critic alone.
    """

    def observe(walk: Walk) -> Any:
        at_end = (walk.place == length).astype(jnp.float32)
        all_of_it = jnp.stack([walk.sign, at_end])
        shown = jnp.stack([jnp.where(walk.time == 0, walk.sign, 0.0), at_end])
        return all_of_it if sees else Observation(shown, privileged=all_of_it)

    def reset(key: jax.Array) -> tuple[Walk, Any]:
        walk = Walk(jax.random.rademacher(key, (), jnp.float32), jnp.int32(0), jnp.int32(0))
        return walk, observe(walk)

    def step(key: jax.Array, walk: Walk, action: jax.Array) -> tuple[Walk, Transition]:
        turns = action > 0
        is_right = turns & (walk.place == length) & ((action == 2) == (walk.sign > 0))
        place = jnp.minimum(walk.place + (action == 0), length)
        after = Walk(walk.sign, place, walk.time + 1)
        over = after.time >= 4 * length
        return after, Transition(observe(after), is_right.astype(jnp.float32), turns, over & ~turns)

    privileged = None if sees else Box((2,))
    return make_batched(Dynamics(reset, step, Box((2,)), Discrete(3), privileged))


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure what a teacher and a warm start save."""

    seeds: int = 20
    """Seeds of each comparison."""
    steps: int = 120_000
    """Most steps of a run from scratch."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def train_many(
    config: ppo_jax.Config, environment: Environment, hyper: ppo_jax.Hyperparams, keys: jax.Array, known: Any
) -> tuple[Any, np.ndarray]:
    """Trains a seed for each key, in one program.

    Args:
        config: The static part. With a `teacher` or an `initial_policy`, that is what `known` holds.
        environment: The corridor.
        hyper: The traced part.
        keys: The keys, [S].
        known: The agents of the teachers or of the sources, [S, ...]; None without.

    Returns:
        The agents, and the mean returns of the last 100 episodes, [S, U].
    """
    plain = dataclasses.replace(config, initial_policy=None)

    def run(key: jax.Array, known: Any) -> Any:
        teacher = None
        if config.teacher:
            teacher = ppo_jax.make_teacher(SEEING, known, environment, config.teacher_sees)
        ppo = ppo_jax.make_ppo(plain, environment, teacher=teacher)
        if config.initial_policy:
            ppo = ppo_jax.warm_start(ppo, known)
        state, metrics = advance(ppo, config.num_updates, hyper, ppo.init(hyper, key))
        return ppo_jax.agent_of(state), metrics.return_window

    agents, returns = jax.jit(jax.vmap(run))(keys, known)
    last = np.nan_to_num(np.asarray(returns)[:, -1])
    Console().print(f"{config.total_timesteps:,} steps: mean return {last.mean():.2f}", last.round(2))
    return agents, np.asarray(returns)


def first_solved(returns: np.ndarray, config: ppo_jax.Config) -> list[int | None]:
    """Returns the steps after which each seed has solved the task; None if it has not.

    Args:
        returns: The mean returns of the last 100 episodes, [S, U].
        config: The configuration.
    """
    reached = returns >= SOLVED
    return [int(row.argmax() + 1) * config.batch_size if row.any() else None for row in reached]


def sum_up(steps: list[int | None], most: int) -> dict[str, Any]:
    """Sums up the steps to a solution; a seed without one counts with the most that it was given."""
    return {"solved": sum(one is not None for one in steps), "most": most, "steps": steps}


def band(values: Any) -> list[float]:
    """Returns the interquartile mean of seeds and its 95 % interval."""
    found = interval(np.asarray(values, float))
    return [float(found.iqm), float(found.low), float(found.high)]


def main(options: Options) -> None:
    """Trains all arms, prints, and writes the result."""
    keys = jax.random.split(jax.random.key(0), 4 * options.seeds).reshape(4, options.seeds)
    result = {"seeds": options.seeds, "solved_return": SOLVED}
    result["teacher"] = compare_teacher(options, keys)
    result["warm_start"] = compare_start(options, keys)
    Console().print(result)
    record.write(options.output, record.complete(result))


def compare_teacher(options: Options, keys: jax.Array) -> dict[str, Any]:
    """Compares learning with and without a teacher in the same corridor, from the same seeds.

    A seed that does not solve the task counts with all steps that it was given.
    """
    config = dataclasses.replace(CONFIG, total_timesteps=options.steps)
    seeing = dataclasses.replace(SEEING, total_timesteps=options.steps // 2)
    teachers, their_returns = train_many(seeing, corridor(SHORT, sees=True), HYPER, keys[0], None)
    _, alone = train_many(config, corridor(TAUGHT), HYPER, keys[1], None)
    taught = dataclasses.replace(config, teacher="teacher", teacher_sees="critic")
    hyper = HYPER._replace(teacher_coefficient=30.0, teacher_steps=options.steps / 2)
    _, with_teacher = train_many(taught, corridor(TAUGHT), hyper, keys[1], teachers)
    steps = {
        name: first_solved(returns, config)
        for name, returns in {"alone": alone, "taught": with_teacher}.items()
    }
    counted = {name: np.array([one or options.steps for one in these]) for name, these in steps.items()}
    return {
        "length": TAUGHT,
        "teachers": sum_up(first_solved(their_returns, seeing), seeing.total_timesteps),
        "alone": sum_up(steps["alone"], options.steps) | {"band": band(counted["alone"])},
        "taught": sum_up(steps["taught"], options.steps) | {"band": band(counted["taught"])},
        "share": band(counted["taught"] / counted["alone"]),
    }


def compare_start(options: Options, keys: jax.Array) -> dict[str, Any]:
    """Compares a start from the policy of a shorter corridor with one from scratch."""
    source = dataclasses.replace(CONFIG, total_timesteps=options.steps // 3)
    further = dataclasses.replace(
        CONFIG, initial_policy="source", total_timesteps=options.steps - options.steps // 3
    )
    sources, of_source = train_many(source, corridor(SHORT), HYPER, keys[2], None)
    _, warm = train_many(further, corridor(LONG), HYPER, keys[3], sources)
    whole = dataclasses.replace(CONFIG, total_timesteps=options.steps)
    _, scratch = train_many(whole, corridor(LONG), HYPER, keys[3], None)
    same = further.num_updates - 1
    last = {"warm": warm[:, -1], "scratch": scratch[:, same], "scratch, all steps": scratch[:, -1]}
    last = {name: np.nan_to_num(values) for name, values in last.items()}  # no 100 episodes have ended
    return {
        "short": SHORT,
        "long": LONG,
        "source": sum_up(first_solved(of_source, source), source.total_timesteps),
        "warm": sum_up(first_solved(warm, further), further.total_timesteps),
        "scratch": sum_up(first_solved(scratch, whole), whole.total_timesteps),
        "returns": {name: band(values) for name, values in last.items()},
        "gain": band(last["warm"] - last["scratch"]),
        "gain at equal steps": band(last["warm"] - last["scratch, all steps"]),
    }


if __name__ == "__main__":
    main(tyro.cli(Options))
