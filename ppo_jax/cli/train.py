"""The commands that train: `train` and `resume`."""

import argparse
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Self

from tyro.conf import arg
from tyro.constructors import PrimitiveConstructorSpec
from tyro.extras import literal_type_from_choices

from ppo_jax import presets
from ppo_jax.cli.command import Command, Group, PathFlag, RunOrSweepPath, Steps, TrustCode
from ppo_jax.cli.processes import Processes
from ppo_jax.cli.results import finish_sweep
from ppo_jax.config import Arguments, Config, Hyperparams
from ppo_jax.envs.arguments import TIME_LIMIT
from ppo_jax.errors import UsageError
from ppo_jax.host.monitor.sinks import SINKS
from ppo_jax.host.runs.options import OnNonfinite, RunOptions


def _parse_arguments(words: list[str]) -> Arguments:
    """Makes arguments from words such as "length=1.0"."""
    from ppo_jax.host.runs.request import parse_argument

    pairs = [word.partition("=") for word in words]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise ValueError(f"{wrong[0]!r} is not KEY=VALUE, such as length=1.0")
    names = [name for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"{twice[0]!r} is given twice")
    return Arguments(sorted((name, parse_argument(text)) for name, _, text in pairs))


EnvironmentArguments = Annotated[
    Arguments,
    PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE ...",
        instance_from_str=_parse_arguments,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda value: [f"{name}={argument}" for name, argument in value],
    ),
]
DEFAULT_PRESET = "CartPole-v1"
GROUPS = (
    Group(
        "environment",
        "What to train on, and which settings to start from.",
        ("env", "env_args", "time_limit", "preset"),
    ),
    Group(
        "run",
        "How long to train, and where the results go.",
        ("total_timesteps", "seed", "run_dir", "resume", "quiet", "cache_dir", "trust_code"),
    ),
    Group(
        "start",
        "What the run starts from, instead of random weights.",
        ("initial_policy", "initial_parts", "critic_warmup_updates"),
    ),
    Group(
        "teacher",
        "A trained policy that the new one imitates, while it learns from rewards.",
        ("teacher", "teacher_sees", "teacher_coefficient", "teacher_steps"),
    ),
    Group(
        "checkpoint and monitoring",
        "How the run is saved and watched, and what happens when a number is not finite.",
        ("checkpoint_every", "keep", "evaluate_every", "log_to", "on_nonfinite"),
    ),
    Group(
        "devices",
        "Where to compute. The result does not depend on the number of devices, up to rounding.",
        ("devices", *(field.name for field in dataclasses.fields(Processes))),
    ),
    Group(
        "normalization",
        "Which quantities are normalized before they are used.",
        ("normalize_observations", "normalize_rewards", "normalize_advantages"),
    ),
    Group(
        "network",
        "The layers of the policy (the actor) and of the value function (the critic).",
        ("network", "hidden_sizes", "activation", "shared_torso", "encoder", "memory_size", "precision"),
    ),
    Group(
        "optimizer",
        "Adam, and how its learning rate changes.",
        ("learning_rate", "learning_rate_schedule", "final_learning_rate", "max_grad_norm", "adam_epsilon"),
    ),
    Group(
        "algorithm",
        "How much data an update uses, how often, and how advantages are estimated.",
        (
            *("num_envs", "num_steps", "num_epochs", "num_minibatches", "shuffle_groups"),
            *("gamma", "gae_lambda", "target_kl"),
        ),
    ),
    Group(
        "loss",
        "The terms of the loss: policy, entropy, value, and KL penalty.",
        (
            *("clip_epsilon", "clip_schedule", "final_clip_epsilon"),
            *("entropy_coefficient", "entropy_schedule", "final_entropy_coefficient"),
            *("value_coefficient", "value_clip_epsilon"),
            *("objective", "kl_coefficient", "desired_kl"),
        ),
    ),
)
METAVARS = {
    "env": "NAME",
    "network": "FILE.py:FUNCTION",
    "initial_policy": "RUN",
    "critic_warmup_updates": "UPDATES",
    "teacher": "RUN",
    "teacher_steps": "STEPS",
    "preset": "NAME",
    "hidden_sizes": "INT ...",
    "checkpoint_every": "UPDATES",
    "evaluate_every": "UPDATES",
    "time_limit": "STEPS",
    "devices": "N",
    "coordinator": "HOST:PORT",
    "log_to": f"{{{','.join(SINKS)}}} ...",
}


def preset_of(arguments: Sequence[str]) -> str | None:
    """Returns the preset that arguments ask for: by its name, or by that of the environment; None without."""
    lookahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    lookahead.add_argument("--preset", nargs="?")
    lookahead.add_argument("--env", nargs="?")
    given, _ = lookahead.parse_known_args(arguments)
    if given.preset is not None:
        return given.preset
    return presets.named_after(given.env or DEFAULT_PRESET)


@dataclasses.dataclass(frozen=True)
class Train(Command):
    """Train an agent. Without flags, it learns CartPole-v1.

    Below, "the paper" is Schulman et al. 2017 (https://arxiv.org/abs/1707.06347).
    """

    config: Config = dataclasses.field(default=Config())
    hyper: Hyperparams = dataclasses.field(default=Hyperparams())
    options: RunOptions = dataclasses.field(default=RunOptions())
    processes: Processes = dataclasses.field(default=Processes())
    preset: str | None = None
    """Preset that supplies the value of every flag that is not given. By default, the preset with the name of
    the environment, if there is one."""
    seed: int = 0
    """Seed of all random numbers. The same seed gives exactly the same result."""
    run_dir: PathFlag = None
    """Directory to create for the results. By default, a new one under runs/."""
    resume: bool = False
    """Continue the run in --run-dir, or start it if there is none. Flags that change what is learned must be
    the same as before; only --total-timesteps may be larger."""
    quiet: bool = False
    """Print nothing but errors."""
    cache_dir: PathFlag = None
    """Directory in which to keep compiled programs, so that later runs with the same sizes start sooner. By
    default, none are kept."""
    trust_code: TrustCode = False
    time_limit: int | None = None
    """Maximum number of steps of an episode, for environments whose library sets no limit itself, such as
    those of Brax (the same as --env-args time_limit=STEPS). By default, the limit that is usual for that
    library."""

    groups: ClassVar = GROUPS
    metavars: ClassVar = METAVARS
    types: ClassVar = {
        "log_to": tuple[literal_type_from_choices(SINKS), ...],
        "env_args": EnvironmentArguments,
        "total_timesteps": Steps,
    }

    @classmethod
    def defaults(cls, arguments: Sequence[str]) -> Self:
        """Looks ahead for the preset, so that its values become the defaults of all other flags."""
        name = preset_of(arguments)
        if name is None:
            return cls()
        config, hyper = presets.preset(name)
        return cls(config=config, hyper=hyper, preset=name)

    def run(self) -> int:
        """Trains, and returns the exit status."""
        from ppo_jax.host.runs.request import Request
        from ppo_jax.host.training import start

        config, given = self.config, dict(self.config.env_args)
        if self.time_limit is not None and TIME_LIMIT in given:
            raise UsageError(f"time_limit = {self.time_limit} is given in --env-args as well; give it once")
        if self.time_limit is not None:
            config = dataclasses.replace(config, env_args={**given, TIME_LIMIT: self.time_limit})
        asked = Request(
            preset=self.preset,
            config=config,
            hyper=self.hyper,
            seed=self.seed,
            options=self.options,
        )
        how = (self.run_dir, self.resume, self.cache_dir, self.quiet, self.trust_code)
        return self.processes.run(partial(start.run, asked, *how))


@dataclasses.dataclass(frozen=True)
class Resume(Command):
    """Continue a stopped run. The result is the same as if it had never stopped."""

    run_dir: RunOrSweepPath
    total_timesteps: Annotated[Steps | None, arg(metavar="STEPS")] = None
    """Environment steps of the whole run, at least as many as before. If there are more, schedules move from
    their current values towards the new end. By default, as many as before."""
    on_nonfinite: OnNonfinite | None = None
    """What to do when a number becomes NaN or infinite (see `ppo-jax train --help`). By default, the choice
    made when the run was started."""
    quiet: bool = False
    """Print nothing but errors."""
    cache_dir: PathFlag = None
    """Directory in which to keep compiled programs. By default, none are kept."""
    trust_code: TrustCode = False
    processes: Processes = dataclasses.field(default=Processes())

    def run(self) -> int:
        """Continues the run, and returns the exit status."""
        from ppo_jax.host.runs import directory, family, request
        from ppo_jax.host.training import start

        if family.is_sweep(self.run_dir):
            return self._run_sweep(family.read(family.open_existing(self.run_dir)))
        asked = request.read(directory.open_existing(self.run_dir))
        config, options = asked.config, asked.options
        if self.total_timesteps is not None:
            config = dataclasses.replace(config, total_timesteps=self.total_timesteps)
        if self.on_nonfinite is not None:
            options = dataclasses.replace(options, on_nonfinite=self.on_nonfinite)
        asked = asked._replace(config=config, options=options)
        how = (self.run_dir, True, self.cache_dir, self.quiet, self.trust_code)
        return self.processes.run(partial(start.run, asked, *how))

    def _run_sweep(self, asked: Any) -> int:
        from ppo_jax.host.training import start_sweep

        if self.total_timesteps is not None or self.on_nonfinite is not None:
            raise UsageError(
                f"RUN = '{self.run_dir}' is a sweep, which is only continued as it was begun; leave out "
                "--total-timesteps and --on-nonfinite"
            )
        sweep, status = start_sweep.run(
            asked, self.run_dir, True, self.cache_dir, self.quiet, self.trust_code
        )
        return finish_sweep(sweep, status, self.quiet)
