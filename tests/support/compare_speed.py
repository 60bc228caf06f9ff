"""Compares two checkouts of the package: how fast do they train, and how soon does training start?

    python tests/support/compare_speed.py OLD_CHECKOUT NEW_CHECKOUT

Training: in each round, each checkout starts a process that compiles the training of CartPole-v1 at three
batch shapes, as the command `ppo-jax train` compiles it. The two processes then train in turns, the same
number of updates each. The result is the ratio new / old of steps per second.

Start: both checkouts run `ppo-jax train` in turns. The result is the ratio new / old of the seconds from the
start of the process until its first record is in metrics.jsonl.

For each ratio, the script prints the median over all pairs, and the least and the most. Run it on an idle
machine. It uses only public names of the package, so the layouts of the checkouts may differ.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHAPES = ("4x128", "64x128", "2048x32")
SETTINGS: dict[str, Any] = {
    "env": "CartPole-v1",
    "num_epochs": 4,
    "num_minibatches": 4,
    "total_timesteps": 10_000_000,
}
COMPILER_OPTIONS: dict[str, str | bool] = {  # those of the command
    "xla_backend_optimization_level": "1",
    "xla_cpu_prefer_vector_width": "512",
}
COMMAND = "from ppo_jax.cli import main; main()"  # what `ppo-jax` runs
PATIENCE = 300.0  # seconds after which a run without a record is given up


def main() -> None:
    """Compares the checkouts that the command line names."""
    parser = argparse.ArgumentParser(description="Compare the speed of two checkouts of ppo_jax.")
    parser.add_argument("old", type=Path, help="the checkout to compare with")
    parser.add_argument("new", type=Path, help="the checkout to judge")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of training, in new processes each")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of measurements for each round and shape")
    parser.add_argument("--seconds", type=float, default=1.0, help="about how long one measurement takes")
    parser.add_argument(
        "--starts", type=int, default=11, help="pairs of runs for the time to the first record"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        checkouts = [options.old.resolve(), options.new.resolve()]
        compare_training(options, checkouts, Path(folder))
        compare_starts(options, checkouts, Path(folder))


def compare_training(options: argparse.Namespace, checkouts: list[Path], folder: Path) -> None:
    """Prints for each shape how fast the checkouts train."""
    rates: dict[str, list[list[float]]] = {shape: [] for shape in SHAPES}  # pairs of old, new
    for _ in range(options.rounds):
        trainers = [Trainer(checkout, folder) for checkout in checkouts]
        for shape in SHAPES:
            num_updates = calibrate(trainers[0], shape, options.seconds)
            trainers[1].train(shape, num_updates)  # the first run of a program is slower
            steps = num_updates * batch_size(shape)
            for pair in range(options.pairs):
                seconds = [0.0, 0.0]
                for i in order(pair):
                    seconds[i] = trainers[i].train(shape, num_updates)
                rates[shape].append([steps / x for x in seconds])
        for trainer in trainers:
            trainer.stop()
    for shape, pairs in rates.items():
        report(f"training {shape}", "steps/s", pairs)


def compare_starts(options: argparse.Namespace, checkouts: list[Path], folder: Path) -> None:
    """Prints how soon the first record of a run appears."""
    for checkout in checkouts:
        seconds_to_first_record(checkout, folder)  # compiles the modules to bytecode
    pairs = []
    for pair in range(options.starts):
        seconds = [0.0, 0.0]
        for i in order(pair):
            seconds[i] = seconds_to_first_record(checkouts[i], folder)
        pairs.append(seconds)
    report("first record", "s", pairs)


def order(pair: int) -> tuple[int, int]:
    """Returns which checkout begins and which follows; they change places with every pair."""
    return (0, 1) if pair % 2 == 0 else (1, 0)


def report(name: str, unit: str, pairs: list[list[float]]) -> None:
    """Prints the medians of old and new, and the median, the least and the most of the ratios new / old."""
    if not pairs:
        return
    old, new = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = [of_new / of_old for of_old, of_new in pairs]
    digits = 0 if old > 1000 else 3
    medians = f"old {old:>11,.{digits}f} {unit:8} new {new:>11,.{digits}f} {unit:8}"
    spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {len(ratios)} pairs)"
    print(f"{name:18} {medians} new / old {spread}", flush=True)


def batch_size(shape: str) -> int:
    """Returns the environment steps of one update at a shape such as "64x128"."""
    num_envs, num_steps = map(int, shape.split("x"))
    return num_envs * num_steps


def environment_of(checkout: Path, folder: Path) -> dict[str, str]:
    """Returns the environment variables under which a process imports the package from a checkout."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | {
        "PYTHONPATH": str(checkout),
        # Bytecode is kept, as in an installed package, but outside of the checkouts.
        "PYTHONPYCACHEPREFIX": str(folder / "bytecode"),
        "JAX_PLATFORMS": "cpu",
        "JAX_ENABLE_COMPILATION_CACHE": "false",
    }


def calibrate(trainer: "Trainer", shape: str, seconds: float) -> int:
    """Returns how many updates take about so many seconds."""
    num_updates = 1
    while (taken := trainer.train(shape, num_updates)) < seconds / 4:
        num_updates *= 4
    return max(1, round(num_updates * seconds / taken))


class Trainer:
    """A process that trains with the package of one checkout whenever it is asked to."""

    def __init__(self, checkout: Path, folder: Path):
        """Starts the process, and waits until everything is compiled."""
        command = [sys.executable, str(Path(__file__).resolve()), "--train"]
        environment = environment_of(checkout, folder)
        self._process = subprocess.Popen(
            command, env=environment, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        imported = self._answer()["checkout"]
        if Path(imported) != checkout:
            raise RuntimeError(f"the package was imported from {imported}, not from {checkout}")

    def train(self, shape: str, num_updates: int) -> float:
        """Trains from the first state on, and returns the seconds that it took."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{shape} {num_updates}\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]

    def stop(self) -> None:
        """Ends the process."""
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("a process that trains has died; its message stands above")
        return json.loads(line)


def serve() -> None:
    """Compiles the training at all shapes, then trains as each line of the input asks: shape, updates."""
    import ppo_jax

    programs = {shape: compile_training(shape) for shape in SHAPES}
    print(json.dumps({"checkout": str(Path(ppo_jax.__file__).parents[1])}), flush=True)
    for line in sys.stdin:
        shape, num_updates = line.split()
        print(json.dumps({"seconds": programs[shape](int(num_updates))}), flush=True)


def compile_training(shape: str) -> Any:
    """Compiles the training at a shape, and returns a function from a number of updates to seconds."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import ppo_jax

    num_envs, num_steps = map(int, shape.split("x"))
    ppo = ppo_jax.make_ppo(ppo_jax.Config(num_envs=num_envs, num_steps=num_steps, **SETTINGS))
    hyper = ppo_jax.Hyperparams()

    def repeat(hyper: Any, carry: Any, num_updates: Any) -> Any:
        # The metrics are carried along, so that they are computed as in a real run.
        return jax.lax.fori_loop(0, num_updates, lambda _, carry: ppo.step(hyper, carry[0]), carry)

    state = jax.jit(ppo.init)(hyper, jax.random.key(0))
    _, metrics = jax.eval_shape(ppo.step, hyper, state)
    carry = state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)
    program = jax.jit(repeat).lower(hyper, carry, np.int32(1)).compile(compiler_options=COMPILER_OPTIONS)

    def train(num_updates: int) -> float:
        start = time.perf_counter()
        jax.block_until_ready(program(hyper, carry, np.int32(num_updates)))
        return time.perf_counter() - start

    return train


def seconds_to_first_record(checkout: Path, folder: Path) -> float:
    """Returns the seconds from the start of `ppo-jax train` until metrics.jsonl has its first record."""
    with tempfile.TemporaryDirectory(dir=folder) as directory:
        metrics = Path(directory) / "run" / "metrics.jsonl"
        flags = ["train", "--total-timesteps", "100000000", "--run-dir", str(metrics.parent), "--quiet"]
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *flags], env=environment_of(checkout, folder), cwd=directory
        )
        try:
            while not (metrics.exists() and metrics.stat().st_size):
                if process.poll() is not None or time.perf_counter() > start + PATIENCE:
                    raise RuntimeError(f"the run of {checkout} has no record; status {process.poll()}")
                time.sleep(0.002)
            return time.perf_counter() - start
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    serve() if sys.argv[1:] == ["--train"] else main()
