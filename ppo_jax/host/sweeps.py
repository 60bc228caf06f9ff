"""Sweeps from Python: everything that `ppo-jax sweep` does, as a call that returns a `Sweep`."""

import dataclasses
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import RunError, UsageError, check_kind
from ppo_jax.host.diagnosis.history import Columns
from ppo_jax.host.python import Run, as_path, open_run, settings_of
from ppo_jax.host.report import sweep_page
from ppo_jax.host.runs import family, members, points
from ppo_jax.host.runs.family import DEFAULT_METRIC, SweepDirectory, SweepRequest
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.halving import Halving
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.points import Point, Range
from ppo_jax.host.runs.population import Population
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start_sweep
from ppo_jax.host.training.signals import Stop


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """Options of a sweep: the ranking, the checkpoints, the search, and the blocks.

    Attributes:
        seed: The first seed; the others follow it.
        metric: The metric whose last value ranks the points; the largest is best.
        block_size: The most members to train at the same time; by default as many as fit into RAM.
        checkpoint_every: The number of updates between checkpoints; by default one is saved about once a
            minute.
        trust_code: Whether to use code of your own that has changed since the sweep was started.
        halving: The rungs of successive halving; by default every point is trained to the end.
        population: The search of population-based training, whose members begin at the points.
    """

    seed: int = 0
    metric: str = DEFAULT_METRIC
    block_size: int | None = None
    checkpoint_every: int | None = None
    trust_code: bool = False
    halving: Halving | None = None
    population: Population | None = None


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep, as its directory was when it was opened. Member h * S + s is point h from the s-th seed.

    Attributes:
        path: The directory of the sweep.
        points: The values of each point, [H].
        num_seeds: The number of seeds of each point, S.
        summary: The result, with its "status" and its "ranking", best first; empty before the end.
    """

    path: Path
    points: tuple[Point, ...]
    num_seeds: int
    summary: dict[str, Any] = dataclasses.field(repr=False)

    def member(self, number: int) -> Run:
        """Opens a member like a run.

        Args:
            number: The number of the member. The members that train the best point from other seeds come
                after all others.
        """
        return open_run(self.path / "members" / str(number))

    def metrics(self, point: int) -> Columns:
        """Returns the metrics of the seeds of a point after every update, [S, U] each."""
        asked = family.read(SweepDirectory(self.path))
        if not 0 <= point < len(self.points):
            raise UsageError(f"point = {point} is not one of the {len(self.points)}; give its number, from 0")
        _, columns = members.metrics_of(SweepDirectory(self.path), asked, members.groups_of(asked), point)
        return columns

    def report(self, output: Path | str | None = None) -> Path:
        """Writes the page of the sweep, by default to report.html in its directory; returns the path."""
        return sweep_page.report(SweepDirectory(self.path), None if output is None else as_path(output))


def grid(axes: Mapping[str, Sequence[Any]]) -> list[Point]:
    """Returns every combination of values.

    Args:
        axes: The values of each name: a field of `Config` or `Hyperparams`, or a parameter of the
            environment, such as "env_args.length".

    Raises:
        UsageError: If a name is unknown.
    """
    _check_names(axes)
    return points.grid(axes)


def sample(axes: Mapping[str, Sequence[Any] | Range], count: int, seed: int = 0) -> list[Point]:
    """Draws points at random; each value is drawn independently of the others.

    Args:
        axes: The values, of which all are equally likely, or the `Range` of each name.
        count: The number of points.
        seed: The source of all draws.

    Raises:
        UsageError: If a name is unknown.
    """
    _check_names(axes)
    return points.sample(axes, count, seed)


def _check_names(axes: Mapping[str, Any]) -> None:
    if problems := [problem for name in axes for problem in points.name_problems(name)]:
        raise UsageError(problems)


def run_sweep(
    config: Config,
    points: Sequence[Point],
    num_seeds: int = 1,
    hyper: Hyperparams | None = None,
    run_dir: Path | str | None = None,
    resume: bool = False,
    options: SweepOptions | None = None,
    quiet: bool = False,
) -> Sweep:
    """Trains every point from every seed, as `ppo-jax sweep` does.

    Args:
        config: The static part, as far as points do not say otherwise.
        points: The values of each point, from `grid` or `sample`, or written by hand.
        num_seeds: The number of seeds of each point.
        hyper: The traced part; by default that of the preset of the environment, or the usual values.
        run_dir: The directory of the sweep; by default a new one under `runs/`.
        resume: Whether to continue the sweep in `run_dir`, if there is one.
        options: The options of the sweep.
        quiet: Whether to show nothing but errors.

    Returns:
        The sweep.

    Raises:
        UsageError: With every mistake, or if the directory cannot be used.
        RunError: If all members failed, or a file could not be written.
        KeyboardInterrupt: If the user interrupted it; everything was saved before.
        SystemExit: If SIGTERM ended it; everything was saved before.
    """
    check_kind("config", config, Config, "ppo_jax.Config(...)")
    chosen = options or SweepOptions()
    preset, hyper = settings_of(config, hyper)
    run_options = RunOptions(checkpoint_every=chosen.checkpoint_every)
    base = Request(preset, config, hyper, chosen.seed, run_options)
    asked = SweepRequest(
        base=base,
        points=tuple(map(dict, points)),
        num_seeds=num_seeds,
        metric=chosen.metric,
        block_size=chosen.block_size,
        halving=chosen.halving,
        population=chosen.population,
    )
    for point in asked.points:
        _check_names(point)
    stop, path = Stop(is_guest=True), None if run_dir is None else as_path(run_dir)
    sweep, status = start_sweep.run(asked, path, resume, None, quiet, chosen.trust_code, stop)
    how = f"everything was saved; to continue: ppo-jax resume {sweep.path}"
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt(how)
    if stop.signal is not None:
        raise SystemExit(stop.status(otherwise=0))
    if status:
        raise RunError(f"the sweep in '{sweep.path}' failed; see its summary.json")
    sweep_page.report(sweep)
    return open_sweep(sweep.path)


def open_sweep(path: Path | str) -> Sweep:
    """Opens the directory of a sweep.

    Raises:
        UsageError: If it is not one.
    """
    sweep = family.open_existing(as_path(path))
    asked = family.read(sweep)
    summary = read_json(sweep.summary) if sweep.summary.exists() else {}
    return Sweep(sweep.path, asked.points, asked.num_seeds, summary)
