"""Runs from Python: everything that the command line does, as a call that returns a `Run`.

What draws is imported by the methods that draw: it takes over a second, which no training should wait for.
"""

import dataclasses
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ppo_jax import presets
from ppo_jax.algorithm.agent import Agent
from ppo_jax.algorithm.train import agent_of
from ppo_jax.config import Config, Hyperparams
from ppo_jax.envs.make import NOTHING
from ppo_jax.errors import RunError, UsageError, check_kind
from ppo_jax.host.programs import episode, evaluation
from ppo_jax.host.programs.evaluation import Result
from ppo_jax.host.programs.player import Player
from ppo_jax.host.runs import agents, members, records, request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.records import Record
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import start
from ppo_jax.host.training.loop import Loop
from ppo_jax.host.training.session import looping
from ppo_jax.host.training.signals import Stop

Columns = dict[str, np.ndarray]  # metrics by name, [U] each; NaN where there was no value


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, as its directory was when it was opened.

    Attributes:
        path: The run directory.
        config: The static part of the run.
        hyper: The traced part.
        seed: The seed.
        metrics: The metrics, one array [U] for each, NaN where there was no value; empty before the first
            update.
        evaluations: The evaluations during training, in order.
        summary: The result, with its "status": "done", "interrupted" or "failed"; empty before the end.
        trust_code: Whether to use the user's own code that is not as it was when the run was started.
    """

    path: Path
    config: Config
    hyper: Hyperparams
    seed: int
    metrics: Columns = dataclasses.field(repr=False)
    evaluations: list[Record] = dataclasses.field(repr=False)
    summary: dict[str, Any] = dataclasses.field(repr=False)
    trust_code: bool = False

    def agent(self, best: bool = False) -> Agent:
        """Loads the agent.

        Args:
            best: Whether to take the checkpoint with the best return rather than the agent at the end.
        """
        _, agent = agents.load(RunDirectory(self.path), best, self.trust_code)
        return agent

    def player(self, greedy: bool = True, seed: int = 0, best: bool = False) -> Player:
        """Returns the agent as an object that acts: `action = player.act(observation)`.

        Args:
            greedy: Whether to take the most probable action rather than sample one.
            seed: The source of sampled actions.
            best: Whether to take the checkpoint with the best return rather than the agent at the end.
        """
        return Player(self.config, self.agent(best), greedy, seed)

    def evaluate(
        self,
        num_episodes: int = 100,
        greedy: bool = True,
        seed: int = 0,
        best: bool = False,
        env_args: Mapping[str, Any] = NOTHING,
    ) -> Result:
        """Plays whole episodes with the agent; the same as `ppo-jax evaluate`.

        Args:
            num_episodes: The number of episodes.
            greedy: Whether to take the most probable action rather than sample one.
            seed: The source of all randomness; the same seed gives the same episodes.
            best: Whether to take the checkpoint with the best return rather than the agent at the end.
            env_args: Arguments of the environment in place of those of the run.
        """
        config = evaluation.in_other_task(self.config, env_args)
        return evaluation.run(config, self.agent(best), num_episodes, greedy, seed)

    def plot(self, output: Path | str | None = None) -> Path:
        """Draws the diagnostics, by default to diagnostics.png in the run directory; returns the path."""
        from ppo_jax.host.pictures import plots

        return plots.draw([RunDirectory(self.path)], None if output is None else as_path(output))

    def report(self, output: Path | str | None = None) -> Path:
        """Writes the report, by default to report.html in the run directory; returns the path."""
        from ppo_jax.host.report import page

        run = RunDirectory(self.path)
        recording = page.record(run)
        return page.report(run, None if output is None else as_path(output), recording)

    def render(self, output: Path | str, seed: int = 0, greedy: bool = True, best: bool = False) -> Path:
        """Draws one episode as an animated GIF; returns the path.

        Args:
            output: The picture to write; its name has to end in .gif, or for an environment of Brax in .html.
            seed: The source of all randomness.
            greedy: Whether to take the most probable action rather than sample one.
            best: Whether to take the checkpoint with the best return rather than the agent at the end.
        """
        from ppo_jax.host.pictures import film

        path = as_path(output)
        film.check(self.config.env, path, self.config.env_args)
        played = episode.play(self.config, self.agent(best), seed, greedy)
        film.draw(played, path)
        return path

    def export(
        self,
        directory: Path | str,
        formats: str | Sequence[str] = ("numpy",),
        best: bool = False,
        card: bool = False,
        license: str = "unknown",
    ) -> Path:
        """Writes the policy as files for other programs, compared with it; the same as `ppo-jax export`.

        Args:
            directory: The directory to write; it must not exist, or be empty.
            formats: One or more of "numpy", "onnx" and "stablehlo".
            best: Whether to take the checkpoint with the best return rather than the agent at the end.
            card: Whether to write a model card, too.
            license: The license that the card names, such as "apache-2.0".

        Returns:
            The directory, which `ppo_jax.load_policy` reads.
        """
        from ppo_jax.host.export import writing
        from ppo_jax.host.export.options import ExportOptions

        names = (formats,) if isinstance(formats, str) else tuple(formats)
        path = as_path(directory)
        options = ExportOptions(path, names, best, card, license)
        writing.export(RunDirectory(self.path), options, self.trust_code)
        return path


class Training:
    """A run in progress, for those who want to do something between chunks of updates.

    Attributes:
        path: The run directory.
    """

    def __init__(self, path: Path, loop: Loop | None):
        self.path = path
        self._loop = loop

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to train: all is done, or the run has failed or was asked to stop."""
        return self._loop is None or self._loop.is_over

    def advance(self) -> Columns:
        """Trains for one chunk of updates, about a quarter of a second.

        Returns:
            The metrics of the chunk, one array [U] for each, NaN where there was no value; empty if the chunk
            was thrown away because a number was not finite, or if the run is over.
        """
        return {} if self.is_over or self._loop is None else records.as_columns(self._loop.advance())

    def __iter__(self) -> Iterator[Columns]:
        """Trains to the end, and yields the metrics of each chunk."""
        while not self.is_over:
            yield self.advance()

    def agent(self) -> Agent:
        """Returns the agent as it is now."""
        return open_run(self.path).agent() if self._loop is None else agent_of(self._loop.training.state)


def run(
    config: Config,
    hyper: Hyperparams | None = None,
    seed: int = 0,
    run_dir: Path | str | None = None,
    resume: bool = False,
    options: RunOptions | None = None,
    quiet: bool = False,
    trust_code: bool = False,
) -> Run:
    """Trains, as `ppo-jax train` does: with a live display, checkpoints, sinks, evaluation and pictures.

    Args:
        config: The static part of the run. An environment or a network of your own is named in it: as
            "FILE.py:OBJECT", or as what was registered with `register` or `register_network`.
        hyper: The traced part; by default that of the preset of the environment, or the usual values.
        seed: The source of all randomness, from 0 to 2**32 - 1.
        run_dir: The run directory; by default a new one under `runs/`.
        resume: Whether to continue the run in `run_dir`, if there is one.
        options: How the run is saved, evaluated and logged.
        quiet: Whether to show nothing but errors.
        trust_code: Whether to use code of your own that has changed since the run was started.

    Returns:
        The run.

    Raises:
        UsageError: With every mistake, or if the directory cannot be used.
        RunError: If a number became NaN or infinite, or the environment broke its contract.
        KeyboardInterrupt: If the user interrupted it; everything was saved before.
        SystemExit: If SIGTERM ended it; everything was saved before.
    """
    with start_run(config, hyper, seed, run_dir, resume, options, quiet, trust_code) as training:
        for _ in training:
            pass
    return open_run(training.path, trust_code)


@contextmanager
def start_run(
    config: Config,
    hyper: Hyperparams | None = None,
    seed: int = 0,
    run_dir: Path | str | None = None,
    resume: bool = False,
    options: RunOptions | None = None,
    quiet: bool = False,
    trust_code: bool = False,
) -> Iterator[Training]:
    """Starts a run that the `with` block advances, chunk by chunk; takes what `run` takes.

    After the block, the state and the policy are saved, the policy is evaluated if the run is done, and its
    pictures are drawn. A block that ends early leaves a run that can be resumed.

    Yields:
        The run in progress: iterate over it, or call its `advance`.

    Raises:
        As `run` does.
    """
    check_kind("config", config, Config, "ppo_jax.Config(...)")
    if options is not None:
        check_kind("options", options, RunOptions, "ppo_jax.host.runs.options.RunOptions(...)")
    preset, hyper = settings_of(config, hyper)
    asked = Request(preset, config, hyper, seed, options or RunOptions())
    stop, path = Stop(is_guest=True), None if run_dir is None else as_path(run_dir)
    with start.opened(asked, path, resume, trust_code, quiet, stop) as session:
        if session is None:
            assert path is not None  # only a run that is continued can be complete
            yield Training(path, None)
            return
        with looping(session) as loop:
            yield Training(session.run.path, loop)
    how = f"everything was saved; to continue: {session.continuation}"
    if loop.journal.failure:
        raise RunError(loop.journal.failure.text)
    if stop.signal == signal.SIGINT:
        raise KeyboardInterrupt(how)
    if stop.signal is not None:
        raise SystemExit(stop.status(otherwise=0))


def open_run(path: Path | str, trust_code: bool = False) -> Run:
    """Opens a run directory that `run` or `ppo-jax train` wrote, or a member of a sweep.

    Args:
        path: The run directory, or SWEEP/members/NUMBER.
        trust_code: Whether to use code of your own that has changed or moved since the run was started. Never
            trust the code of a stranger.

    Raises:
        UsageError: If it is not the directory of a run.
    """
    run = members.open_run(as_path(path))
    asked = request.read(run)
    return Run(
        path=run.path,
        config=asked.config,
        hyper=asked.hyper,
        seed=asked.seed,
        metrics=records.as_columns(records.load(run.metrics) if run.metrics.exists() else []),
        evaluations=records.load(run.evaluations) if run.evaluations.exists() else [],
        summary=read_json(run.summary) if run.summary.exists() else {},
        trust_code=trust_code,
    )


def settings_of(config: Config, hyper: Hyperparams | None) -> tuple[str | None, Hyperparams]:
    """Returns the preset of the environment, if any, and its hyperparameters unless some are given."""
    preset = presets.named_after(config.env)
    if hyper is None:
        hyper = presets.preset(preset)[1] if preset else Hyperparams()
    return preset, hyper


def as_path(given: Path | str) -> Path:
    """Returns a path, with the home directory for a ~ at its start.

    Raises:
        UsageError: If it is none.
    """
    if not isinstance(given, str | os.PathLike):
        raise UsageError(f"path = {given!r} is not a path; give a text or a pathlib.Path")
    return Path(os.path.expanduser(given))
