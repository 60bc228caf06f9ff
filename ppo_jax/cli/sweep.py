"""The command `sweep`: many trainings in one compiled program."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec

from ppo_jax import presets
from ppo_jax.cli.command import Command, Group, PathFlag, Steps, TrustCode, helps
from ppo_jax.cli.results import finish_sweep
from ppo_jax.cli.train import GROUPS, preset_of
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import points as sweep_points
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.host.runs.points import ENV_ARGS, FIELDS, Point, Range

SWEPT = tuple(name for name in FIELDS if name != "total_timesteps")
Values = tuple[Any, ...] | Range


def _words(values: Values) -> list[str]:
    """Returns values as they are typed on the command line."""
    if isinstance(values, Range):
        return [str(values)]
    return [",".join(map(str, value)) if isinstance(value, tuple) else str(value) for value in values]


def _axis(name: str) -> Any:
    """Returns the type of the flag of a field: one or more values, or a range."""
    return Annotated[
        Values,
        PrimitiveConstructorSpec(
            nargs="*",
            metavar="VALUE ...",
            instance_from_str=partial(sweep_points.parse, name),
            is_instance=lambda value: isinstance(value, tuple),
            str_from_instance=_words,
        ),
    ]


def _parse_arguments(words: list[str]) -> tuple[tuple[str, Values], ...]:
    """Makes the values of parameters from words such as "length=0.5,1.0" or "gravity=9..11"."""
    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise ValueError(f"{wrong[0]!r} is not KEY=VALUE,..., such as length=0.5,1.0")
    return tuple((name, sweep_points.parse(ENV_ARGS + name, text.split(","))) for name, _, text in pairs)


EnvironmentAxes = Annotated[
    tuple[tuple[str, Values], ...],
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE,... ...",
        instance_from_str=_parse_arguments,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [f"{name}={','.join(_words(x))}" for name, x in value],
    ),
]

# A record with the values of each field that can be swept; its flags have the help of `train`.
Axes = dataclasses.make_dataclass(
    "Axes",
    [(name, _axis(name)) for name in SWEPT],
    frozen=True,
    namespace={"HELPS": helps(Config) | helps(Hyperparams)},
)
_OTHER = ("environment", "run", "checkpoint and monitoring", "devices")


def _axes_of(config: Config, hyper: Hyperparams) -> Any:
    """Returns the values of a configuration, one for each field."""
    return Axes(**{name: (getattr(hyper if hasattr(hyper, name) else config, name),) for name in SWEPT})


_DEFAULTS = _axes_of(Config(), Hyperparams())


@dataclasses.dataclass(frozen=True)
class Sweep(Command):
    """Train many agents at once: every combination of values, from several seeds.

    Flags of the algorithm take one value or several, such as --gamma 0.9 0.99.

    Ranges such as 0.9..0.99 or log:1e-4..1e-2 need --samples or --population.
    """

    axes: Axes = _DEFAULTS  # pyright: ignore[reportInvalidTypeForm]
    env: str = Config.env
    """Environment to train on: a name that `ppo-jax envs` lists, or your own as FILE.py:OBJECT or
    MODULE:OBJECT."""
    env_args: EnvironmentAxes = ()
    """Parameters of the environment, each with one value, several, or a range: length=0.5,1.0 gravity=9..11.
    By default, the environment's own values are used."""
    network: str | None = None
    """Network of your own, as FILE.py:FUNCTION or MODULE:FUNCTION. By default, one is built from the other
    flags of the network."""
    initial_policy: str | None = None
    """Run whose trained policy all members start from. By default, the weights are random."""
    teacher: str | None = None
    """Run whose trained policy teaches all members. By default, there is no teacher."""
    preset: str | None = None
    """Preset that supplies the value of every flag that is not given. By default, the preset with the name of
    the environment, if there is one."""
    points: PathFlag = None
    """JSON file with a list of points to train, such as [{"learning_rate": 0.001, "gamma": 0.99}, ...]. By
    default, the points are all combinations of the given values."""
    samples: int | None = None
    """Number of points to draw at random from the given values and ranges. By default, all combinations of
    values are trained."""
    seeds: int = 1
    """Number of seeds for each point: --seed, --seed + 1, and so on."""
    seed: int = 0
    """First seed. Each member, a point with one seed, has the same result as `ppo-jax train` with its values
    and seed."""
    metric: str = "return_window"
    """Metric whose last value ranks the points; the largest is the best. return_window is the mean return of
    the last 100 episodes."""
    total_timesteps: Steps = Config.total_timesteps
    """Environment steps of each member, rounded down to whole updates of --num-envs x --num-steps steps."""
    rungs: int | None = None
    """Search by successive halving with this many rungs. After each rung, only the best points (one in --eta)
    are trained on, to --eta times as many steps. By default, every point is trained to the end."""
    eta: int = 3
    """Factor by which each rung reduces the number of points: 3 keeps the best third."""
    population: int | None = None
    """Search by population-based training with this many members. They begin at random values in the given
    ranges. After each generation, the worst quarter copies the best quarter and varies its values."""
    generations: int = 20
    """Number of generations of the population."""
    block_size: int | None = None
    """Maximum number of members to train at the same time. It does not affect the results. By default, as
    many as fit into memory."""
    run_dir: PathFlag = None
    """Directory to create for the results. By default, a new one under runs/."""
    resume: bool = False
    """Continue the sweep in --run-dir, or start it if there is none."""
    quiet: bool = False
    """Print nothing but errors."""
    cache_dir: PathFlag = None
    """Directory in which to keep compiled programs. By default, none are kept."""
    checkpoint_every: Annotated[int | None, arg(metavar="UPDATES")] = None
    """Number of updates between checkpoints. By default, one is saved about once a minute."""
    trust_code: TrustCode = False

    groups: ClassVar = (
        Group(
            "environment",
            "What to train on, and which settings to start from.",
            ("env", "env_args", "preset"),
        ),
        Group(
            "sweep",
            "Which points (settings) to train, from how many seeds, and how to rank them.",
            (
                *("points", "samples", "seeds", "seed", "metric", "rungs", "eta"),
                *("population", "generations", "block_size"),
            ),
        ),
        Group(
            "run",
            "How long to train, and where the results go.",
            (
                *("total_timesteps", "run_dir", "resume", "quiet", "cache_dir", "checkpoint_every"),
                "trust_code",
            ),
        ),
        *(group for group in GROUPS if group.name not in _OTHER),
    )
    metavars: ClassVar = {
        "env": "NAME",
        "initial_policy": "RUN",
        "teacher": "RUN",
        "network": "FILE.py:FUNCTION",
        "preset": "NAME",
        "samples": "COUNT",
        "rungs": "COUNT",
        "population": "MEMBERS",
        "generations": "COUNT",
        "metric": "NAME",
        "block_size": "MEMBERS",
    }

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> Self:
        """Looks ahead for the preset, so that its values become the defaults of all other flags."""
        name = preset_of(arguments)
        config, hyper = presets.preset(name) if name is not None else (Config(), Hyperparams())
        return cls(
            axes=_axes_of(config, hyper),
            env=config.env,
            env_args=tuple((key, (value,)) for key, value in config.env_args),
            network=config.network,
            preset=name,
            total_timesteps=config.total_timesteps,
        )

    def run(self) -> int:
        """Trains all members, and returns the exit status."""
        from ppo_jax.host.training import start_sweep

        asked = self.request()
        sweep, status = start_sweep.run(
            asked, self.run_dir, self.resume, self.cache_dir, self.quiet, self.trust_code
        )
        return finish_sweep(sweep, status, self.quiet)

    def request(self) -> Any:
        """Returns what the flags ask for.

        Raises:
            UsageError: If the points cannot be made from them.
        """
        from ppo_jax.host.runs.family import SweepRequest
        from ppo_jax.host.runs.halving import Halving
        from ppo_jax.host.runs.population import Population
        from ppo_jax.host.runs.request import Request

        given = {**vars(self.axes), **{ENV_ARGS + name: values for name, values in self.env_args}}
        single = {name: x[0] for name, x in given.items() if not isinstance(x, Range) and len(x) == 1}
        base = Request(
            preset=self.preset,
            config=Config(
                env=self.env,
                network=self.network,
                total_timesteps=self.total_timesteps,
                initial_policy=self.initial_policy,
                teacher=self.teacher,
            ),
            hyper=Hyperparams(),
            seed=self.seed,
            options=RunOptions(checkpoint_every=self.checkpoint_every),
        )
        base = sweep_points.apply(base, single)
        varied = {name: values for name, values in given.items() if name not in single}
        return SweepRequest(
            base=base,
            points=tuple(self._points(varied)),
            num_seeds=self.seeds,
            metric=self.metric,
            block_size=self.block_size,
            halving=None if self.rungs is None else Halving(self.rungs, self.eta),
            population=None if self.population is None else Population(self.generations, varied),  # pyright: ignore
        )

    def _points(self, varied: dict[str, Values]) -> list[Point]:
        if self.population is not None:
            return self._first_members(varied)
        if self.points is not None:
            if varied or self.samples is not None:
                other = next(iter(varied), "samples")
                raise UsageError(f"points and {other} both say what to train; give only one of them")
            return sweep_points.read(Path(self.points))
        if self.samples is not None:
            return sweep_points.sample(varied, self.samples, self.seed)
        return sweep_points.grid(varied)

    def _first_members(self, varied: dict[str, Values]) -> list[Point]:
        others = {"points": self.points, "samples": self.samples}
        if given := [name for name, value in others.items() if value is not None]:
            raise UsageError(f"population and {given[0]} both say what to train; give only one of them")
        lists = [name for name, values in varied.items() if not isinstance(values, Range)]
        if lists:
            raise UsageError(
                f"{lists[0]} has several values, between which a population cannot move; give one, or a "
                "range such as 0.9..0.99"
            )
        return sweep_points.sample(varied, self.population, self.seed)  # pyright: ignore[reportArgumentType]
