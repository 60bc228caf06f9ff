"""Trains presets from many seeds, evaluates every policy, and records the results.

For each preset it writes a JSON file with the numbers and a PNG with the learning curve. A score is the mean
return of 100 fresh episodes. `benchmarks/quotes.py` then copies the results into the pages and presets.
"""

import dataclasses
import json
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import record as records
import tyro
from matplotlib.figure import Figure

import ppo_jax
from ppo_jax.config import Precision
from ppo_jax.envs.registry import is_on_host, library_of, solved_return
from ppo_jax.host.diagnosis.intervals import Interval, interval
from ppo_jax.host.pictures.style import COLORS, GUIDE, save
from ppo_jax.host.programs import evaluation

EPISODES = 100
POINTS = 100  # of a curve


@dataclasses.dataclass(frozen=True)
class Options:
    """Record the learning results of presets."""

    presets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """Presets to train."""
    num_seeds: int = 20
    """S: how many seeds."""
    vmapped: bool = False
    """Train all seeds at once rather than one after the other; this is faster on an accelerator."""
    precision: Precision | None = None
    """Precision to train with instead of the preset's; give another --output as well."""
    output: Path = Path("docs/results")
    """Directory for the results."""


class Learned(NamedTuple):
    """The result of training S seeds.

    Attributes:
        greedy: The mean return with the most probable actions, [S].
        sampled: The mean return with sampled actions, [S].
        env_steps: The environment steps at each point of the learning curve, [P].
        episode_return: The mean return of the episodes up to each point, [S, P]; NaN where none ended.
        seconds: How long it took to train and evaluate all seeds.
    """

    greedy: np.ndarray
    sampled: np.ndarray
    env_steps: np.ndarray
    episode_return: np.ndarray
    seconds: float


def main(options: Options) -> None:
    """Trains, records and draws each preset."""
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.presets:
        config, hyper = ppo_jax.preset(name)
        config = dataclasses.replace(config, precision=options.precision or config.precision)
        learned = learn(config, hyper, options.num_seeds, options.vmapped)
        record = describe(name, learned, options)
        (options.output / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
        save(draw(name, config, learned), options.output / f"{name}.png")
        print(f"{name}: {record['result']} ({learned.seconds:.0f} s)", flush=True)
    print("`python benchmarks/quotes.py` copies the results into pages and presets")


def learn(config: ppo_jax.Config, hyper: ppo_jax.Hyperparams, num_seeds: int, vmapped: bool) -> Learned:
    """Trains and evaluates S seeds with one compiled program."""
    start, results = (learn_on_host if is_on_host(config.env) else learn_compiled)(
        config, hyper, num_seeds, vmapped
    )
    greedy, sampled, returns, counts, env_steps = results  # [S], [S], [S, U], [S, U], [S, U]
    seconds = time.perf_counter() - start

    pieces = np.array_split(np.arange(config.num_updates), min(POINTS, config.num_updates))
    sums = np.where(counts > 0, returns, 0.0) * counts
    with np.errstate(invalid="ignore"):  # no episode ended: 0 / 0 is NaN
        curve = np.stack([sums[:, piece].sum(1) / counts[:, piece].sum(1) for piece in pieces], axis=1)
    return Learned(
        greedy=greedy,
        sampled=sampled,
        env_steps=env_steps[0, [piece[-1] for piece in pieces]],
        episode_return=curve,
        seconds=seconds,
    )


def learn_compiled(
    config: ppo_jax.Config, hyper: ppo_jax.Hyperparams, num_seeds: int, vmapped: bool
) -> tuple[float, tuple[Any, ...]]:
    """Trains and evaluates in one program; returns when that began, after compiling, and the results."""

    def learn_one(key: jax.Array) -> tuple[Any, ...]:
        state, metrics = ppo_jax.train(config, hyper, key)
        agent = ppo_jax.agent_of(state)

        def score(number: int, greedy: bool) -> jax.Array:
            key_of_episodes = jax.random.fold_in(key, number)
            episodes = ppo_jax.evaluate(
                config, key_of_episodes, agent.params, EPISODES, greedy, statistics=agent.statistics
            )
            return episodes.episode_return.mean()

        greedy, sampled = score(1, True), score(2, False)
        return greedy, sampled, metrics.episode_return, metrics.episodes, metrics.env_steps

    keys = jax.random.split(jax.random.key(0), num_seeds)
    program = jax.jit(jax.vmap(learn_one) if vmapped else learn_one)
    program = program.lower(keys if vmapped else keys[0]).compile()
    start = time.perf_counter()
    if vmapped:
        return start, jax.device_get(program(keys))
    rows = [jax.device_get(program(key)) for key in keys]
    return start, tuple(np.stack(values) for values in zip(*rows, strict=True))


def learn_on_host(
    config: ppo_jax.Config, hyper: ppo_jax.Hyperparams, num_seeds: int, vmapped: bool
) -> tuple[float, tuple[Any, ...]]:
    """Trains and evaluates in simulators on the host, one seed after the other; returns the same."""
    from ppo_jax.host.programs import chunks, simulators

    assert not vmapped, "simulators on the host cannot be mapped over seeds"
    program = simulators.make_program(config, hyper)
    start, rows = time.perf_counter(), []
    for seed in range(num_seeds):
        state, _ = chunks.begin(program, hyper, seed)
        training = chunks.Training(program, config, hyper, state)
        state, metrics = program.advance(hyper, training.state, config.num_updates)
        agent = jax.device_get(ppo_jax.agent_of(state))
        scores = [evaluation.run(config, agent, EPISODES, greedy, seed).mean for greedy in (True, False)]
        rows.append((*scores, *jax.device_get((metrics.episode_return, metrics.episodes, metrics.env_steps))))
    return start, tuple(np.stack(values) for values in zip(*rows, strict=True))


def describe(name: str, learned: Learned, options: Options) -> dict[str, Any]:
    """Puts everything worth keeping into one record."""
    seeds = len(learned.greedy)
    known, curve = known_curve(learned)
    record = {
        "preset": name,
        "command": f"python benchmarks/learning.py {name} --num-seeds {seeds}"
        + " --vmapped" * options.vmapped
        + (f" --precision {options.precision}" if options.precision else ""),
        "seeds": seeds,
        "env_steps": int(learned.env_steps[-1]),
        "greedy": {"seeds": rounded(learned.greedy), **named(interval(learned.greedy))},
        "sampled": {"seeds": rounded(learned.sampled), **named(interval(learned.sampled))},
        "curve": {"env_steps": learned.env_steps[known].tolist(), **named(curve)},
        "train_and_evaluate_seconds": round(learned.seconds, 1),
        "steps_per_second": round(seeds * int(learned.env_steps[-1]) / learned.seconds),
    }
    record = records.complete(record)
    if library := library_of(ppo_jax.preset(name)[0].env):
        record["versions"] |= records.version_of(library)
    return {**record, "result": result(record)}


def result(record: dict[str, Any]) -> str:
    """Puts the greedy returns of a record into a sentence."""
    greedy = record["greedy"]
    return (
        f"greedy return {greedy['iqm']:.4g} [{greedy['low']:.4g}, {greedy['high']:.4g}], "
        f"worst of {record['seeds']} seeds {min(greedy['seeds']):.4g}"
    )


def known_curve(learned: Learned) -> tuple[np.ndarray, Interval]:
    """Returns the points at which every seed has a return, and the interval there."""
    known = np.asarray(np.isfinite(learned.episode_return).all(axis=0))
    return known, interval(learned.episode_return[:, known])


def named(interval: Interval) -> dict[str, Any]:
    """Returns an interval as plain numbers."""
    return {name: rounded(value) for name, value in interval._asdict().items()}


def rounded(values: np.ndarray) -> Any:
    """Returns numbers, or lists of them, with five digits."""
    return np.vectorize(lambda x: float(f"{x:.5g}"), otypes=[float])(values).tolist()


def draw(name: str, config: ppo_jax.Config, learned: Learned) -> Figure:
    """Draws the curve: interquartile mean with its interval, and every seed behind it."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    ax = figure.subplots()
    for seed in learned.episode_return:
        ax.plot(learned.env_steps, seed, color=GUIDE, linewidth=0.4, alpha=0.6)
    known, curve = known_curve(learned)
    steps = learned.env_steps[known]
    ax.fill_between(steps, curve.low, curve.high, color=COLORS[0], alpha=0.25, label="95 % interval")
    ax.plot(steps, curve.iqm, color=COLORS[0], label=f"interquartile mean of {len(learned.greedy)} seeds")
    mark = solved_return(config.env)
    if mark is not None:
        ax.axhline(mark, color=GUIDE, linestyle="--", label=f"solved: {mark:g}")
    ax.set_title(name, fontsize="medium")
    ax.set_xlabel("environment steps of one seed")
    ax.set_ylabel("episode return in training")
    ax.legend(loc="best", fontsize="small")
    return figure


if __name__ == "__main__":
    main(tyro.cli(Options))
