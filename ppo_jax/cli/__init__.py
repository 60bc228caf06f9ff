"""The command `ppo-jax`. Flags are generated from `Config` and `Hyperparams`.

Mistakes are found before JAX is imported, so they are answered at once: exit status 2, no traceback.
"""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro

from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.benchmark import options
from ppo_jax.host.benchmark.options import Options
from ppo_jax.host.monitor import sinks
from ppo_jax.host.monitor.screen import discard_output, make_screen
from ppo_jax.host.runs import directory, options, policy, request, verify
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.checkpoints.manifest import DamageError
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.options import OnNonfinite, RunOptions
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training.signals import Stop

DEFAULT_PRESET = "CartPole-v1"
MAX_EPISODES = 1_000_000  # evaluated side by side, so each costs memory


@dataclasses.dataclass(frozen=True)
class Train:
    """Train an agent. Without flags: the CartPole-v1 preset."""

    config: tyro.conf.OmitArgPrefixes[Config]
    hyper: tyro.conf.OmitArgPrefixes[Hyperparams]
    preset: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """Where unset flags take their values from; by default the preset named after --env, if any."""
    seed: int = 0
    """Source of all randomness: the same seed gives the same bits."""
    run_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Directory to create for the run; by default a new one under runs/."""
    resume: bool = False
    """Go on where the run in --run-dir stopped, if there is one; its flags have to be the same, but for the
    number of steps, which may grow, and those that do not change what is learned."""
    options: tyro.conf.OmitArgPrefixes[RunOptions] = dataclasses.field(default_factory=RunOptions)
    cache_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Directory to keep compiled programs in, so that later runs of the same shapes start at once; by
    default nothing is kept."""
    quiet: bool = False
    """Print nothing but errors."""

    def run(self) -> int:
        """Trains, and returns the exit status."""
        asked = Request(self.preset, self.config, self.hyper, self.seed)
        request.check(asked)
        options.check(self.options)
        if self.resume and self.run_dir is None:
            raise UsageError("resume = True, but nothing says which run; give its --run-dir")
        if self.resume and self.run_dir is not None and not directory.is_free(self.run_dir):
            run = directory.open_existing(self.run_dir)
            request.check_continuation(request.from_json(directory.read_json(run.config)), asked)
            return _train(Order(asked, self.options, self.cache_dir, self.quiet), run)
        run = directory.create(self.run_dir, f"{asked.label}-seed{asked.seed}", _as_json(asked, self.options))
        try:
            return _train(Order(asked, self.options, self.cache_dir, self.quiet), run)
        except UsageError:  # only the environment itself could tell
            with suppress(UsageError), directory.locked(run):  # unless another process trains there
                directory.release(run)
            raise


@dataclasses.dataclass(frozen=True)
class Resume:
    """Go on where a run stopped, to the same bits as if it had not."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory that `ppo-jax train` wrote."""
    total_timesteps: int | None = None
    """Train this many steps in all, more than were asked for at first; schedules move towards the new
    end from where they are."""
    on_nonfinite: OnNonfinite | None = None
    """What to do when a number becomes NaN or infinite; by default what was asked for at first."""
    cache_dir: Annotated[Path | None, tyro.conf.arg(metavar="PATH")] = None
    """Directory to keep compiled programs in; by default nothing is kept."""
    quiet: bool = False
    """Print nothing but errors."""

    def run(self) -> int:
        """Trains on, and returns the exit status."""
        run = directory.open_existing(self.run_dir)
        content = directory.read_json(run.config)
        asked, options = request.from_json(content), options.from_json(content)
        if self.total_timesteps is not None:
            longer = dataclasses.replace(asked.config, total_timesteps=self.total_timesteps)
            request.check(asked._replace(config=longer))
            request.check_continuation(asked, asked._replace(config=longer))
            asked = asked._replace(config=longer)
        if self.on_nonfinite is not None:
            options = dataclasses.replace(options, on_nonfinite=self.on_nonfinite)
        return _train(Order(asked, options, self.cache_dir, self.quiet), run)


@dataclasses.dataclass(frozen=True)
class Verify:
    """Check every file of a run: the checkpoints byte by byte, the others as far as they can be."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory that `ppo-jax train` wrote."""

    def run(self) -> int:
        """Checks, and returns the exit status: 1 if something is damaged."""
        findings = verify.verify(directory.open_existing(self.run_dir))
        for finding in findings:
            print(verify.describe(finding))
        return int(any(finding.problem for finding in findings))


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Run episodes of a trained policy, exactly as many as asked for."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory that `ppo-jax train` wrote."""
    episodes: int = 100
    """How many whole episodes, each in a fresh environment."""
    sampled: bool = False
    """Sample actions from the policy rather than take the most probable one."""
    best: bool = False
    """Take the checkpoint with the best return rather than the policy as it was at the end."""
    seed: int = 0
    """Source of all randomness."""

    def run(self) -> int:
        """Evaluates, and returns the exit status."""
        problems = request.seed_problems(self.seed)
        if not 1 <= self.episodes <= MAX_EPISODES:
            problems.append(
                f"episodes = {self.episodes} is not between 1 and {MAX_EPISODES}; give one such as 100"
            )
        if problems:
            raise UsageError(problems)
        config, agent = _load(directory.open_existing(self.run_dir), self.best)
        from ppo_jax.host.programs import evaluation

        result = evaluation.run(config, agent, self.episodes, not self.sampled, self.seed)
        print(evaluation.describe(result))
        return 0


@dataclasses.dataclass(frozen=True)
class Plot:
    """Draw the diagnostics of one run, or of several over each other.

    Runs that differ in their seed alone become one curve, their interquartile mean, with a 95 % band.
    """

    run_dirs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directories that `ppo-jax train` wrote."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="PICTURE")] = None
    """Picture to write; by default diagnostics.png in the run, comparison.png here for several."""

    def run(self) -> int:
        """Draws, and returns the exit status."""
        if not self.run_dirs:
            raise UsageError("RUN is required; give one or more directories that `ppo-jax train` wrote")
        runs = [directory.open_existing(path) for path in self.run_dirs]
        from ppo_jax.host.pictures import plots

        print(f"wrote {plots.draw(runs, self.output)}")
        return 0


@dataclasses.dataclass(frozen=True)
class Report:
    """Write all about a run into one HTML file that needs no network."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory that `ppo-jax train` wrote."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write; by default page.html in the run."""

    def run(self) -> int:
        """Writes, and returns the exit status."""
        run = directory.open_existing(self.run_dir)
        from ppo_jax.host.report import page

        print(f"wrote {page.report(run, self.output, page.record(run))}")
        return 0


@dataclasses.dataclass(frozen=True)
class Render:
    """Draw an episode of a trained policy as a GIF."""

    run_dir: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """Run directory that `ppo-jax train` wrote."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="GIF")]
    """Picture to write; its name ends in .gif."""
    sampled: bool = False
    """Sample actions from the policy rather than take the most probable one."""
    best: bool = False
    """Take the checkpoint with the best return rather than the policy as it was at the end."""
    seed: int = 0
    """Source of all randomness: that of an evaluation of one episode with the same seed."""
    max_steps: int = 3000
    """Where an episode that does not end is cut off."""

    def run(self) -> int:
        """Draws, and returns the exit status."""
        if problems := request.seed_problems(self.seed):
            raise UsageError(problems)
        config, agent = _load(directory.open_existing(self.run_dir), self.best)
        from ppo_jax.host.pictures import film
        from ppo_jax.host.programs.episode import play

        film.check(config.env, self.output)
        episode = play(config, agent, self.seed, not self.sampled, self.max_steps)
        film.draw(episode, self.output)
        print(film.describe(episode, self.output))
        return 0


@dataclasses.dataclass(frozen=True)
class Figures:
    """Draw the two teaching figures: the clipped surrogate, and advantages for several lambda."""

    directory: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Directory to write the pictures to; it is made if need be."""

    def run(self) -> int:
        """Draws, and returns the exit status."""
        from ppo_jax.host.pictures import lessons

        print(f"wrote {', '.join(map(str, lessons.draw(self.directory)))}")
        return 0


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """Measure steps per second: whole training and its parts, beside the limits of the device."""

    options: tyro.conf.OmitArgPrefixes[Options]
    output: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File of JSON to write, with a picture (.png) beside it; by default neither is written."""

    def run(self) -> int:
        """Measures, and returns the exit status."""
        options.check(self.options)
        if self.output is not None and self.output.suffix != ".json":
            raise UsageError(f"output = '{self.output}' does not end in .json; give a name that does")
        from rich.console import Console

        from ppo_jax.host.benchmark import measure, plots

        console = Console(width=150)
        result = measure.run(self.options, console)
        measure.show(result, console)
        if self.output is not None:
            self.output.parent.mkdir(parents=True, exist_ok=True)
            directory.write_json(self.output, measure.as_json(result))
            plots.draw(result, self.output.with_suffix(".png"))
            print(f"wrote {self.output} and {self.output.with_suffix('.png')}")
        return 0


@dataclasses.dataclass(frozen=True)
class Envs:
    """List the presets with their recorded results, and the environments."""

    def run(self) -> int:
        """Lists, and returns the exit status."""
        from ppo_jax.cli import catalogue

        catalogue.show()
        return 0


Command = Train | Resume | Evaluate | Render | Plot | Report | Verify | Figures | Benchmark | Envs


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits: 0 done, 1 the run failed, 2 a mistake in what was asked for.

    Args:
        arguments: Without the program's name; by default those of the process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        sys.exit(_parse(arguments).run())
    except UsageError as error:
        _complain(error)
        sys.exit(2)
    except DamageError as error:
        print(f"ppo-jax: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("ppo-jax: interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        discard_output()  # or the exit would fail too
        sys.exit(0)
    except OSError as error:
        where = f" to '{error.filename}'" if error.filename else ""
        print(
            f"ppo-jax: error: cannot write{where}: {error.strerror}; free some space or give another place",
            file=sys.stderr,
        )
        sys.exit(1)


def _parse(arguments: list[str]) -> Command:
    subcommand = tyro.conf.subcommand
    train = subcommand("train", default=_train_defaults(arguments))
    return tyro.cli(
        Annotated[Train, train]  # pyright: ignore[reportArgumentType]
        | Annotated[Resume, subcommand("resume")]
        | Annotated[Evaluate, subcommand("evaluate")]
        | Annotated[Render, subcommand("render")]
        | Annotated[Plot, subcommand("plot")]
        | Annotated[Report, subcommand("report")]
        | Annotated[Verify, subcommand("verify")]
        | Annotated[Figures, subcommand("figures")]
        | Annotated[Benchmark, subcommand("benchmark")]
        | Annotated[Envs, subcommand("envs")],
        args=arguments,
        prog="ppo-jax",
        description="Proximal Policy Optimization in JAX, compiled end to end.",
    )


class Order(NamedTuple):
    """A training as it is carried out, whichever command asked for it."""

    asked: Request
    options: RunOptions
    cache_dir: Path | None
    quiet: bool


def _train(order: Order, run: RunDirectory) -> int:
    """Trains in a run directory, and returns the exit status."""
    asked, stop = order.asked, Stop()
    sinks.check(order.options.log_to)
    screen = make_screen(order.quiet, asked.total_steps, asked.solved_return)
    with stop.listening(), directory.locked(run):
        if directory.is_complete(run, asked.config.num_updates):
            screen.say(f"{run.path} is complete; to train on, give more --total-timesteps")
            return 0
        directories.check_one_is_good(run, request.digest(asked))
        directory.write_json(run.config, _as_json(asked, order.options))
        screen.say(request.describe(asked))
        screen.say(f"run directory {run.path}")
        with screen.waiting("loading JAX"):
            from ppo_jax.host.training import session
        return session.train(session.Session(asked, order.options, run, screen, stop, order.cache_dir))


def _load(run: RunDirectory, best: bool) -> tuple[Config, Any]:
    """Returns the policy of a run as it was at the end, or that of its best checkpoint."""
    if best:
        asked = request.from_json(directory.read_json(run.config))
        checkpoint = directories.find_best(run.checkpoints)
        from ppo_jax.host.programs import evaluation

        return asked.config, evaluation.from_checkpoint(asked, checkpoint)
    config, tensors = policy.load(run)
    from ppo_jax.host.programs import evaluation

    return config, evaluation.restore(config, tensors)


def _as_json(asked: Request, options: RunOptions) -> dict[str, Any]:
    return request.as_json(asked) | {"options": dataclasses.asdict(options)}


def _train_defaults(arguments: list[str]) -> Train:
    """Looks ahead for the preset, so that its values become the defaults of all other flags."""
    if arguments[0] != "train":
        return Train(Config(), Hyperparams())
    lookahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    lookahead.add_argument("--preset", nargs="?")
    lookahead.add_argument("--env", nargs="?")
    given, _ = lookahead.parse_known_args(arguments)
    name = given.env or DEFAULT_PRESET if given.preset is None else given.preset
    if given.preset is None and name not in presets.names():
        return Train(Config(), Hyperparams())
    return Train(*presets.preset(name), preset=name)


def _complain(error: UsageError) -> None:
    for problem in error.problems:
        print(f"ppo-jax: error: {problem}", file=sys.stderr)
