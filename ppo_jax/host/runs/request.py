"""The request of a run: what it is asked to do. It is checked, described, compared, and stored as JSON."""

import dataclasses
import hashlib
import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams, as_fields, config_from
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import code, written
from ppo_jax.host.runs import options as run_options
from ppo_jax.host.runs.code import Source
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json, write_json
from ppo_jax.host.runs.options import RunOptions
from ppo_jax.validation import seed_problems, validate

# Fields that runs of version 0.1.0 do not have, with the values that stand for what those did.
ADDED = {
    "env_args": "",
    "network": None,
    "shuffle_groups": 1,
    "initial_policy": None,
    "initial_parts": "both",
    "critic_warmup_updates": 0,
    "teacher": None,
    "teacher_sees": "actor",
    "teacher_coefficient": 1.0,
    "teacher_steps": "inf",
    "policies": {},
}


class Request(NamedTuple):
    """Everything that one run is asked to do.

    Attributes:
        preset: The preset that the values started from, if any.
        config: The static part.
        hyper: The traced part, as floats.
        seed: The source of all randomness, from 0 to 2**32 - 1.
        options: The options that do not change what is learned.
        sources: The user's own code as it was when the run was started.
        policies: The fields of `config` that name a policy, each with the digest of the policy (see `known`).
    """

    preset: str | None
    config: Config
    hyper: Hyperparams
    seed: int
    options: RunOptions = RunOptions()
    sources: tuple[Source, ...] = ()
    policies: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """The name of the preset, or else of the environment; of the user's own, without its file."""
        return self.preset or self.config.env.rpartition(":")[2]

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run: `total_timesteps` rounded down to whole updates."""
        return self.config.num_updates * self.config.batch_size

    @property
    def solved_return(self) -> float | None:
        """Mean return over 100 episodes at which the task counts as solved; None without such a mark."""
        return registry.solved_return(self.config.env, self.config.env_args)

    @property
    def fields(self) -> dict[str, Any]:
        """Every field of `config` and `hyper` by its name; arguments of the environment as one text."""
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config.env_args)
        return {**dataclasses.asdict(self.config), "env_args": arguments, **self.hyper._asdict()}

    @property
    def origin(self) -> "Request":
        """The request for the unchanged preset, or for the defaults if there is no preset."""
        config, hyper = presets.preset(self.preset) if self.preset else (Config(), Hyperparams())
        return Request(
            preset=self.preset,
            config=config,
            hyper=hyper,
            seed=0,
        )

    @property
    def changes(self) -> dict[str, Any]:
        """The fields whose values differ from those of `origin`."""
        base = self.origin.fields
        return {name: value for name, value in self.fields.items() if value != base[name]}


def check(request: Request, environment: object = None) -> None:
    """Finds every mistake in a request, before JAX is imported.

    Args:
        request: The request.
        environment: Anything but None if the name of the environment need not be known (see `validate`).

    Raises:
        UsageError: With all mistakes.
    """
    problems = [*seed_problems(request.seed), *run_options.problems(request.options)]
    config = request.config
    try:
        validate(config, request.hyper, environment)
        if 0 < config.num_updates <= config.critic_warmup_updates:
            problems.append(
                f"critic_warmup_updates = {config.critic_warmup_updates} leaves none of the "
                f"{config.num_updates} updates to the actor; give fewer"
            )
    except UsageError as error:
        problems.extend(error.problems)
    if problems:
        raise UsageError(problems)


def check_continuation(old: Request, new: Request) -> None:
    """Makes sure that a run can continue with a new request: the same learning, for as long or longer.

    Raises:
        UsageError: With every difference that is not allowed.
    """
    was, is_ = _decisive_fields(old), _decisive_fields(new)
    problems = [
        f"{name} = {is_[name]!r}, but the run was started with {was[name]!r}; "
        "give the same, or start another run"
        for name in was
        if is_[name] != was[name] and name != "policies"
    ]
    problems += [
        f"{name} = {is_[name]!r} has changed since the run was started with it; continue with `ppo-jax "
        "resume`, which uses the copy in the run directory, or start another run"
        for name, sha256 in was["policies"].items()
        if is_[name] == was[name] and is_["policies"].get(name) != sha256
    ]
    if new.config.total_timesteps < old.config.total_timesteps:
        problems.append(
            f"total_timesteps = {new.config.total_timesteps} is less than the "
            f"{old.config.total_timesteps} that the run was started with; give as many or more"
        )
    if problems:
        raise UsageError(problems)


def digest(request: Request) -> str:
    """Returns the SHA-256 of everything that decides the result, except how long the run trains."""
    fields = _decisive_fields(request)
    for name, usual in ADDED.items():
        if fields[name] == usual:
            del fields[name]  # so that runs from before there was such a field keep their digest
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _decisive_fields(request: Request) -> dict[str, Any]:
    """Returns the fields that decide what is learned, as JSON holds them, without the length of the run."""
    fields = {
        "seed": request.seed,
        **{name: plain(value) for name, value in request.fields.items()},
        "policies": dict(request.policies),
    }
    del fields["total_timesteps"]
    return fields


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: infinity, which JSON lacks, becomes the string "inf"."""
    return "inf" if value == math.inf else value


def from_plain(value: Any) -> Any:
    """Returns a value from what JSON holds; the inverse of `plain`."""
    return math.inf if value == "inf" else value


def describe(request: Request) -> str:
    """Describes in a few lines what a run will do."""
    config = request.config
    origin = f"preset {request.preset}" if request.preset else "default settings"
    changed = ", ".join(f"{name} = {value}" for name, value in request.changes.items())
    lines = [
        f"PPO on {config.env}: {origin}{' with ' if changed else ''}{changed}, seed {request.seed}",
        f"{config.num_updates:,} updates of {config.num_envs} environments x {config.num_steps} steps "
        f"= {request.total_steps:,} steps",
        f"each update: {config.num_epochs} epochs of {config.num_minibatches} minibatches "
        f"of {config.minibatch_size} samples",
    ]
    if request.solved_return is not None:
        lines.append(f"solved when 100 consecutive episodes reach a mean return of {request.solved_return:g}")
    return "\n".join(lines)


def command(request: Request) -> str:
    """Returns the command line that repeats a run, quoted for a shell."""
    preset = request.preset or presets.named_after(request.config.env)  # as `train` does
    usual = dataclasses.asdict(RunOptions())
    options = {k: v for k, v in dataclasses.asdict(request.options).items() if v != usual[k]}
    words = ["ppo-jax", "train"] + (["--preset", preset] if preset else [])
    changes = request._replace(preset=preset).changes
    if "env_args" in changes:
        changes["env_args"] = tuple(f"{name}={_word(value)}" for name, value in request.config.env_args)
    for name, value in {**changes, **options}.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else [value])]
    return shlex.join([*words, "--seed", str(request.seed)])


def _word(value: Any) -> str:
    """Returns an argument of an environment as it is typed on the command line."""
    is_plain = isinstance(value, str) and parse_argument(value) == value
    return value if is_plain else json.dumps(value)


def parse_argument(text: str) -> Any:
    """Returns the value of an argument: a number, true or false, or a text, which may stand in quotes."""
    try:
        value = json.loads(text.lower() if text in ("True", "False") else text)
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float | str) else text


def write(run: RunDirectory, request: Request) -> None:
    """Writes the `config.json` of a run."""
    write_json(run.config, to_json(request))


def read(run: RunDirectory) -> Request:
    """Reads the `config.json` of a run.

    Raises:
        UsageError: If it does not hold a valid request.
    """
    return from_json(read_json(run.config))


def find_code(run: RunDirectory, config: Config, trust_code: bool) -> tuple[Source, ...]:
    """Finds the user's own code that a run uses, without running any of it (see `code.check`).

    Args:
        run: The run directory.
        config: The configuration of the run or of its policy.
        trust_code: Whether to use code that is not as it was when the run was started.

    Raises:
        CodeError: With everything that is not as it was, or that cannot be found.
    """
    recorded = read(run).sources if code.references(config) else ()
    return code.check(config, recorded, trust_code)


def to_json(request: Request) -> dict[str, Any]:
    """Returns the content of `config.json`."""
    # A run that is resumed may go on with other devices.
    options = {name: x for name, x in dataclasses.asdict(request.options).items() if name != "devices"}
    policies = {"policies": dict(request.policies)} if request.policies else {}
    return {
        written.KEY: written.version(),
        "preset": request.preset,
        "seed": request.seed,
        "config": as_fields(request.config),
        "hyper": {name: plain(value) for name, value in request.hyper._asdict().items()},
        "options": options,
        "sources": [source._asdict() for source in request.sources],
        **policies,
    }


def from_json(content: Mapping[str, Any]) -> Request:
    """Makes a request from the content of `config.json`, without trusting it.

    Raises:
        UsageError: If it is not a valid request, or one of a newer version.
    """
    written.check("config.json", content)
    try:
        hyper = {name: from_plain(value) for name, value in content["hyper"].items()}
        options = dict(content.get("options", {}))  # the first runs had none
        request = Request(
            preset=content["preset"],
            config=config_from(content["config"]),
            hyper=Hyperparams(**hyper),
            seed=content["seed"],
            options=RunOptions(**{**options, "log_to": tuple(options.get("log_to", ()))}),
            sources=tuple(_source(row) for row in content.get("sources", ())),
            policies=tuple(
                (str(field), str(sha256)) for field, sha256 in content.get("policies", {}).items()
            ),
        )
        # The environment may be one that another program registered: it is looked for when it is needed.
        check(request, environment=request.config.env)
        if request.preset:
            presets.read(request.preset)  # it has to exist
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"config.json does not say what to train: {error}; it is damaged") from error
    return request


def continued(old: Request, new: Request) -> Request:
    """Returns a new request with what the run has decided by itself when it was started."""
    if new.config.shuffle_groups != 1:
        return new
    groups = old.config.shuffle_groups
    return new._replace(config=dataclasses.replace(new.config, shuffle_groups=groups))


def _source(row: Mapping[str, Any]) -> Source:
    """Makes a source from a row of `config.json`.

    A stranger does not know where their files lie on this machine, but knows what lies beside what: so a path
    has to be absolute.
    """
    source = Source(**row)
    if not all(isinstance(value, str) and value.isprintable() for value in source):
        raise TypeError(f"{source} does not consist of texts")
    if not Path(source.path).is_absolute():
        raise ValueError(f"the path of its code, {source.path!r}, is not absolute")
    return source
