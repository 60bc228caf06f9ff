"""Measures how long an exported policy takes to act on single observations and on a batch."""

import dataclasses
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import record
import tyro
from rich.console import Console

import ppo_jax
from ppo_jax.host.export.loading import Policy


@dataclasses.dataclass(frozen=True)
class Options:
    """Measure the calls of exported policies."""

    preset: str = "CartPole-v1"
    """Preset whose policy acts. It is trained for a single update: what it has learned does not matter."""
    formats: tuple[str, ...] = ("numpy", "onnx", "stablehlo")
    """Formats to measure."""
    calls: int = 20_000
    """Calls in a row that are timed together."""
    repeats: int = 9
    """Measurements, of which the median counts."""
    batch: int = 64
    """Observations of a batch."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Measures, prints, and writes the result."""
    with tempfile.TemporaryDirectory() as folder:
        config, hyper = ppo_jax.preset(options.preset)
        short = dataclasses.replace(config, total_timesteps=config.batch_size)
        run = ppo_jax.run(short, hyper, run_dir=Path(folder) / "run", quiet=True)
        path = run.export(Path(folder) / "export", options.formats)
        policies = {name: ppo_jax.load_policy(path, name) for name in options.formats}
    result = {"preset": options.preset, "calls": options.calls, "batch": options.batch}
    for name, policy in policies.items():
        result[name] = {
            "microseconds_per_call": measure(policy, options, ()),
            "microseconds_per_batch": measure(policy, options, (options.batch,)),
        }
    result = record.complete(result)
    Console().print_json(data=result)
    record.write(options.output, result)


def measure(policy: Policy, options: Options, batch: tuple[int, ...]) -> dict[str, float]:
    """Returns the microseconds of a call: the median, the least and the most of several measurements."""
    shape = policy.contract["observation"]["shape"]
    observation = np.random.default_rng(0).normal(size=(*batch, *shape)).astype(np.float32)
    policy.act(observation)  # a batch of a new size may have to be compiled for
    seconds = []
    for _ in range(options.repeats):
        begin = time.perf_counter()
        for _ in range(options.calls):
            policy.act(observation)
        seconds.append((time.perf_counter() - begin) / options.calls)
    each = [1e6 * x for x in seconds]
    return {"median": statistics.median(each), "min": min(each), "max": max(each)}


if __name__ == "__main__":
    main(tyro.cli(Options))
