"""Measures compile time and steps per second: whole training, rollout, environment, update.

Each part is one compiled loop whose length is chosen at run time, so that a measurement takes about
`--seconds` on any machine and nothing is compiled twice. Reported are the median and the spread of
several measurements, interleaved over the parts of a shape.
"""

import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import tyro
from rich.console import Console
from rich.table import Table

from ppo_jax.actor_critic import Network, Params
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.environment import Environment
from ppo_jax.envs.gymnax import make_environment
from ppo_jax.networks import make_network
from ppo_jax.rollout import Collector, init_collector, rollout
from ppo_jax.runs import system
from ppo_jax.train import PPO, TrainState, estimate, make_ppo
from ppo_jax.update import Learner, init_learner, update

Body = Callable[[jax.Array, Any], Any]  # (index, carry) -> carry: T * N environment steps or samples


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure throughput over several shapes."""

    env: str = "CartPole-v1"
    """Environment to step."""
    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32")
    """Environments x steps of one update."""
    num_epochs: int = 4
    """K."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    repeats: int = 5
    """Measurements of each part."""
    seconds: float = 0.5
    """About how long one measurement should take."""
    output: Path | None = None
    """File of JSON to write."""


class Part(NamedTuple):
    """Something to measure: a loop body and where it starts."""

    name: str
    body: Body
    carry: Any


class Measurement(NamedTuple):
    """One part at one shape."""

    shape: str
    part: str
    compile_seconds: float
    steps_per_second: float  # median
    slowest: float
    fastest: float


def main(options: Options) -> None:
    """Measures all shapes, prints the table and writes the JSON."""
    measurements = [row for shape in options.shapes for row in measure_shape(options, shape)]
    show(options, measurements)
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps(as_json(options, measurements), indent=2) + "\n")


def measure_shape(options: Options, shape: str) -> list[Measurement]:
    """Measures every part at one shape.

    Args:
        options: What to measure.
        shape: Such as "64x128".
    """
    num_envs, num_steps = map(int, shape.split("x"))
    config = Config(
        env=options.env,
        num_envs=num_envs,
        num_steps=num_steps,
        total_timesteps=1_000 * num_envs * num_steps,
        num_epochs=options.num_epochs,
        num_minibatches=options.num_minibatches,
    )
    parts = make_parts(config, Hyperparams())
    programs, compile_seconds = zip(*map(compile_part, parts), strict=True)
    counts = [calibrate(options, program, part) for program, part in zip(programs, parts, strict=True)]
    rates: list[list[float]] = [[] for _ in parts]
    for _ in range(options.repeats):
        for index, part in enumerate(parts):
            seconds = clock(programs[index], part, counts[index])
            rates[index].append(counts[index] * config.batch_size / seconds)
    return [
        Measurement(shape, part.name, compiling, statistics.median(rate), min(rate), max(rate))
        for part, compiling, rate in zip(parts, compile_seconds, rates, strict=True)
    ]


def make_parts(config: Config, hyper: Hyperparams) -> list[Part]:
    """Makes the loops to measure; each turn of a loop is one update's worth of T * N steps."""
    environment = make_environment(config.env)
    network = make_network(config, environment.observation_space, environment.action_space)
    ppo = make_ppo(config)
    key = jax.random.key(0)
    learner = init_learner(network, hyper, key)
    collector = init_collector(config, environment, network, key)
    _, trajectory, _ = rollout(config, environment, network, hyper, key, learner.params, collector)
    batch = estimate(config, network, hyper, learner.params, trajectory)
    improve = partial(update, config, network, hyper)
    return [
        Part("training", partial(train_once, ppo, hyper), ppo.init(hyper, key)),
        Part(
            "rollout", partial(collect_once, config, environment, network, hyper, learner.params), collector
        ),
        Part("environment", partial(step_once, config, environment), collector),
        Part("update", partial(improve_once, improve, batch), learner),
    ]


def train_once(ppo: PPO, hyper: Hyperparams, index: jax.Array, state: TrainState) -> TrainState:
    """Does one whole iteration."""
    return ppo.step(hyper, state)[0]


def collect_once(
    config: Config,
    environment: Environment,
    network: Network,
    hyper: Hyperparams,
    params: Params,
    index: jax.Array,
    collector: Collector,
) -> Collector:
    """Does one rollout."""
    key = jax.random.fold_in(jax.random.key(0), index)
    collector, trajectory, _ = rollout(config, environment, network, hyper, key, params, collector)
    # Whatever nobody reads is not computed: the trajectory is made to matter.
    return jax.lax.optimization_barrier((collector, trajectory))[0]


def step_once(config: Config, environment: Environment, index: jax.Array, collector: Collector) -> Collector:
    """Steps the environments under random actions."""
    key = jax.random.fold_in(jax.random.key(0), index)
    num_actions = environment.action_space.n  # pyright: ignore[reportAttributeAccessIssue]
    actions = jax.random.randint(key, (config.num_steps, config.num_envs), 0, num_actions)
    keys = jax.random.split(key, config.num_steps)
    collector, time_steps = jax.lax.scan(partial(act_once, environment), collector, (keys, actions))
    return jax.lax.optimization_barrier((collector, time_steps))[0]


def act_once(
    environment: Environment, collector: Collector, inputs: tuple[jax.Array, jax.Array]
) -> tuple[Collector, Any]:
    """Takes one step of N environments."""
    key, action = inputs
    state, time_step = environment.step(key, collector.environment, action)
    return collector._replace(environment=state, observation=time_step.observation), time_step


def improve_once(improve: Callable, batch: Any, index: jax.Array, learner: Learner) -> Learner:
    """Learns for K epochs from a fixed batch."""
    return improve(jax.random.fold_in(jax.random.key(0), index), learner, batch)[0]


def compile_part(part: Part) -> tuple[Callable[[int, Any], Any], float]:
    """Compiles the loop of a part; returns it and the seconds of tracing and compiling."""
    start = time.perf_counter()
    program = jax.jit(partial(repeat, part.body)).lower(1, part.carry).compile()
    return program, time.perf_counter() - start


def repeat(body: Body, count: jax.Array, carry: Any) -> Any:
    """Runs a loop of a length that is known only at run time."""
    return jax.lax.fori_loop(0, count, body, carry)


def calibrate(options: Options, program: Callable, part: Part) -> int:
    """Finds the number of turns that takes about `options.seconds`; warms up on the way."""
    count = 1
    while (seconds := clock(program, part, count)) < options.seconds / 4:
        count *= 4
    return max(1, round(count * options.seconds / seconds))


def clock(program: Callable, part: Part, count: int) -> float:
    """Returns the seconds that a number of turns takes."""
    start = time.perf_counter()
    jax.block_until_ready(program(count, part.carry))
    return time.perf_counter() - start


def as_json(options: Options, measurements: list[Measurement]) -> dict[str, Any]:
    """Returns the content of the result file."""
    return {
        "options": dataclasses.asdict(options) | {"output": str(options.output)},
        "versions": system.versions(),
        "hardware": system.hardware(),
        "measurements": [measurement._asdict() for measurement in measurements],
    }


def show(options: Options, measurements: list[Measurement]) -> None:
    """Prints the measurements as a table."""
    hardware, versions = system.hardware(), system.versions()
    title = (
        f"{options.env}, K = {options.num_epochs}, {options.num_minibatches} minibatches, median of "
        f"{options.repeats}; {hardware['cpu']} x{hardware['cpu_count']}, {hardware['device']}, "
        f"Python {versions['python']}, jax {versions['jax']}"
    )
    table = Table(title=title, title_justify="left")
    for heading in ("shape", "part", "compile s", "steps/s", "slowest", "fastest", "ns/step"):
        table.add_column(heading, justify="left" if heading in ("shape", "part") else "right")
    for shape, part, compiling, median, slowest, fastest in measurements:
        rates = [f"{rate:,.0f}" for rate in (median, slowest, fastest)]
        table.add_row(shape, part, f"{compiling:.1f}", *rates, f"{1e9 / median:,.0f}")
    Console(width=max(110, Console().width)).print(table)


if __name__ == "__main__":
    main(tyro.cli(Options))
