"""Trains presets from many seeds, evaluates every policy, and records what came out.

For each preset it writes a JSON file with the numbers and a PNG with the curve, and then a page with all of
them. The interquartile mean over seeds comes with its 95 % bootstrap interval; a score is the mean return
of 100 fresh episodes.
"""

import dataclasses
import json
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np
import tyro
from matplotlib.figure import Figure

import ppo_jax
from ppo_jax.config import Precision
from ppo_jax.envs.registry import solved_return
from ppo_jax.host.diagnosis.intervals import Interval, interval
from ppo_jax.host.pictures.style import COLORS, GUIDE, save
from ppo_jax.host.programs import system

EPISODES = 100
POINTS = 100  # of a curve
PAGE = """# Learning results of the presets

Greedy return: the policy of each seed, trained for so many environment steps, plays 100 fresh episodes with
its most probable actions; the interquartile mean over seeds, its 95 % stratified-bootstrap interval in
brackets, and the worst seed. Each row is printed by its command; the numbers of every seed and of the curve
are in the JSON file of the preset.

| preset | seeds | steps | greedy return | worst seed | command |
|---|---|---|---|---|---|
{rows}
{notes}

{hardware}

The curves show the return of the episodes that ended in training, with sampled actions.

{curves}
"""


@dataclasses.dataclass(frozen=True)
class Options:
    """Record the learning results of presets."""

    presets: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PRESET")]
    """Which presets to train."""
    num_seeds: int = 20
    """S: how many seeds."""
    vmapped: bool = False
    """Train all seeds at once, which is best on an accelerator, rather than one after the other."""
    precision: Precision | None = None
    """Train with another precision than the preset's; give another --output too."""
    output: Path = Path("docs/results")
    """Directory for the results."""


class Learned(NamedTuple):
    """What came out of S seeds.

    Attributes:
        greedy: Mean return of the most probable actions, [S].
        sampled: Mean return of sampled actions, [S].
        env_steps: Of the points of the curve, [P].
        episode_return: Mean return of the episodes up to each point, [S, P]; NaN where none ended.
        seconds: Of training all seeds.
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
    (options.output / "README.md").write_text(page(options.output), encoding="utf-8")


def learn(config: ppo_jax.Config, hyper: ppo_jax.Hyperparams, num_seeds: int, vmapped: bool) -> Learned:
    """Trains and evaluates S seeds with one compiled program."""
    keys = jax.random.split(jax.random.key(0), num_seeds)
    one = partial(learn_one, config, hyper)
    program = jax.jit(jax.vmap(one) if vmapped else one)
    program = program.lower(keys if vmapped else keys[0]).compile()
    start = time.perf_counter()
    results = program(keys) if vmapped else jax.tree.map(stack, *map(program, keys))
    greedy, sampled, returns, counts, env_steps = jax.device_get(results)
    seconds = time.perf_counter() - start
    pieces = np.array_split(np.arange(config.num_updates), min(POINTS, config.num_updates))
    sums = np.where(counts > 0, returns, 0.0) * counts
    with np.errstate(invalid="ignore"):  # no episode ended: 0 / 0 is NaN
        curve = np.stack([sums[:, piece].sum(1) / counts[:, piece].sum(1) for piece in pieces], axis=1)
    ends = env_steps[0, [piece[-1] for piece in pieces]]
    return Learned(greedy, sampled, ends, curve, seconds)


def stack(*rows: jax.Array) -> np.ndarray:
    """One result of each seed, stacked, [S, ...]."""
    return np.stack(jax.device_get(rows))


def learn_one(config: ppo_jax.Config, hyper: ppo_jax.Hyperparams, key: jax.Array) -> tuple[jax.Array, ...]:
    """Trains one seed and evaluates it both ways."""
    state, metrics = ppo_jax.train(config, hyper, key)
    scores = [
        ppo_jax.evaluate(
            config,
            jax.random.fold_in(key, number),
            state.learner.params,
            EPISODES,
            greedy,
            statistics=state.collector.statistics,
        ).episode_return.mean()
        for number, greedy in ((1, True), (2, False))
    ]
    return *scores, metrics.episode_return, metrics.episodes, metrics.env_steps


def describe(name: str, learned: Learned, options: Options) -> dict[str, Any]:
    """Puts everything worth keeping into one record."""
    greedy, sampled = (interval(scores) for scores in (learned.greedy, learned.sampled))
    seeds = len(learned.greedy)
    known, curve = known_curve(learned)
    result = (
        f"greedy return {greedy.iqm:.4g} [{greedy.low:.4g}, {greedy.high:.4g}], "
        f"worst of {seeds} seeds {learned.greedy.min():.4g}"
    )
    return {
        "preset": name,
        "command": f"python benchmarks/learning.py {name} --num-seeds {seeds}"
        + " --vmapped" * options.vmapped
        + (f" --precision {options.precision}" if options.precision else ""),
        "result": result,
        "seeds": seeds,
        "env_steps": int(learned.env_steps[-1]),
        "greedy": {"seeds": rounded(learned.greedy), **named(greedy)},
        "sampled": {"seeds": rounded(learned.sampled), **named(sampled)},
        "curve": {"env_steps": learned.env_steps[known].tolist(), **named(curve)},
        "train_and_evaluate_seconds": round(learned.seconds, 1),
        "steps_per_second": round(seeds * int(learned.env_steps[-1]) / learned.seconds),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def page(folder: Path) -> str:
    """Renders the results in a folder, one row and one picture each, as Markdown."""
    records = [
        json.loads(path.read_text()) for path in sorted(folder.glob("*.json"), key=lambda path: path.stem)
    ]
    return PAGE.format(
        rows="\n".join(map(row, records)),
        notes="".join(f"\n- {record['preset']}: {record['note']}" for record in records if "note" in record),
        hardware="\n".join(dict.fromkeys(map(hardware, records))),
        curves="\n".join(f"![{record['preset']}]({record['preset']}.png)" for record in records),
    )


def row(record: dict[str, Any]) -> str:
    """One result as a row of the table."""
    greedy = record["greedy"]
    return (
        f"| {record['preset']} | {record['seeds']} | {record['env_steps']:,} "
        f"| {greedy['iqm']:.4g} [{greedy['low']:.4g}, {greedy['high']:.4g}] | {min(greedy['seeds']):.4g} "
        f"| `{record['command']}` |"
    )


def hardware(record: dict[str, Any]) -> str:
    """What a result was measured on."""
    machine, versions = record["hardware"], record["versions"]
    names = ("python", "jax", "flax", "gymnax")
    return (
        f"Measured on {machine['device']} ({machine['cpu']}, {machine['cpu_count']} cores) with "
        + ", ".join(f"{name} {versions[name]}" for name in names)
    )


def known_curve(learned: Learned) -> tuple[np.ndarray, Interval]:
    """Returns the points at which every seed has a return, and the interval there."""
    known = np.asarray(np.isfinite(learned.episode_return).all(axis=0))
    return known, interval(learned.episode_return[:, known])


def named(result: Interval) -> dict[str, Any]:
    """An interval as plain numbers."""
    return {name: rounded(value) for name, value in result._asdict().items()}


def rounded(values: np.ndarray) -> Any:
    """Numbers with as many digits as they deserve."""
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
