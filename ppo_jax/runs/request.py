"""What a training was asked to do, as it is shown, checked and written down."""

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from ppo_jax import presets
from ppo_jax.config import Config, Hyperparams, config_from, validate
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError

MAX_SEED = 2**32 - 1


class Request(NamedTuple):
    """One training, as the command line gives it.

    Attributes:
        preset: Name of the preset the values started from, if any.
        config: The static part.
        hyper: The traced part, floats.
        seed: Source of all randomness, from 0 to 2**32 - 1.
    """

    preset: str | None
    config: Config
    hyper: Hyperparams
    seed: int

    @property
    def label(self) -> str:
        """The preset's name, or else the environment's."""
        return self.preset or self.config.env

    @property
    def total_steps(self) -> int:
        """Environment steps of the whole run: `total_timesteps` rounded down to whole updates."""
        return self.config.num_updates * self.config.batch_size

    @property
    def solved_return(self) -> float | None:
        """Mean return over 100 episodes at which the task is solved, None if there is no such mark."""
        return registry.solved_return(self.config.env)


def check(request: Request) -> None:
    """Finds every mistake in a request, before JAX is imported.

    Raises:
        UsageError: With all of them.
    """
    problems = seed_problems(request.seed)
    try:
        validate(request.config, request.hyper)
    except UsageError as error:
        problems.extend(error.problems)
    if problems:
        raise UsageError(problems)


def seed_problems(seed: int) -> list[str]:
    """Says what is wrong with a seed; an empty list if nothing is."""
    if isinstance(seed, int) and 0 <= seed <= MAX_SEED:
        return []
    return [f"seed = {seed} is not between 0 and {MAX_SEED}; give one that is, such as 0"]


def describe(request: Request) -> str:
    """Says in a few lines what a training will do."""
    config = request.config
    origin = f"preset {request.preset}" if request.preset else "default settings"
    changed = ", ".join(f"{name} = {value}" for name, value in changes(request).items())
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


def changes(request: Request) -> dict[str, Any]:
    """Returns the fields whose values differ from the preset's, or from the defaults without one."""
    base_config, base_hyper = presets.preset(request.preset) if request.preset else (Config(), Hyperparams())
    base = {**dataclasses.asdict(base_config), **base_hyper._asdict()}
    given = {**dataclasses.asdict(request.config), **request.hyper._asdict()}
    return {name: value for name, value in given.items() if value != base[name]}


def as_json(request: Request) -> dict[str, Any]:
    """Returns the content of `config.json`."""
    return {
        "preset": request.preset,
        "seed": request.seed,
        "config": dataclasses.asdict(request.config),
        "hyper": {name: plain(value) for name, value in request.hyper._asdict().items()},
    }


def from_json(content: Mapping[str, Any]) -> Request:
    """Makes a request from the content of `config.json`, trusting nothing.

    Raises:
        UsageError: If it is not one, or not a valid one.
    """
    try:
        hyper = {name: math.inf if value == "inf" else value for name, value in content["hyper"].items()}
        asked = Request(
            preset=content["preset"],
            config=config_from(content["config"]),
            hyper=Hyperparams(**hyper),
            seed=content["seed"],
        )
        check(asked)
        changes(asked)
    except (KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"config.json does not say what to train: {error}; it is damaged") from error
    return asked


def digest(request: Request) -> str:
    """Returns the SHA-256 of all that decides the result but how long it trains."""
    content = {name: plain(value) for name, value in _decisive(request).items()}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def check_continuation(old: Request, new: Request) -> None:
    """Finds out whether a run may go on as something else was asked for: only if that is longer.

    Raises:
        UsageError: With every difference.
    """
    was, is_ = _decisive(old), _decisive(new)
    problems = [
        f"{name} = {plain(is_[name])!r}, but the run was started with {plain(was[name])!r}; "
        "give the same, or start another run"
        for name in was
        if is_[name] != was[name]
    ]
    if new.config.total_timesteps < old.config.total_timesteps:
        problems.append(
            f"total_timesteps = {new.config.total_timesteps} is less than the "
            f"{old.config.total_timesteps} that the run was started with; give as many or more"
        )
    if problems:
        raise UsageError(problems)


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: infinity, which it lacks, becomes the string "inf"."""
    return "inf" if value == math.inf else value


def _decisive(request: Request) -> dict[str, Any]:
    fields = {**dataclasses.asdict(request.config), **request.hyper._asdict(), "seed": request.seed}
    del fields["total_timesteps"]
    return fields
