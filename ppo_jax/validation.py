"""Finds every mistake in a configuration at once, on the host, before anything is traced.

This module imports nothing heavy, so that a mistake on the command line is reported immediately.
"""

import math
from typing import Any, NamedTuple, get_args

from ppo_jax import registered
from ppo_jax.config import (
    Activation,
    Arguments,
    Config,
    Encoder,
    Hyperparams,
    Objective,
    Parts,
    Precision,
    RateSchedule,
    Schedule,
    View,
)
from ppo_jax.envs import ramps, registry
from ppo_jax.errors import UsageError, check_kind, closest

MAX_TIMESTEPS = 2**53 - 1  # steps are exact in float64 too, as which JSON and columns of metrics hold them
MAX_BATCH = 2 * 10**9  # samples of an update are numbered in int32
MAX_SEED = 2**32 - 1

_COUNTS = ("num_envs", "num_steps", "total_timesteps", "num_epochs", "num_minibatches", "shuffle_groups")
_SWITCHES = ("shared_torso", "normalize_advantages", "normalize_observations", "normalize_rewards")
CHOICES = {
    "encoder": get_args(Encoder),
    "activation": get_args(Activation),
    "precision": get_args(Precision),
    "objective": get_args(Objective),
    "learning_rate_schedule": get_args(RateSchedule),
    "clip_schedule": get_args(Schedule),
    "entropy_schedule": get_args(Schedule),
    "initial_parts": get_args(Parts),
    "teacher_sees": get_args(View),
}
_SCHEDULES = {
    "learning_rate_schedule": "learning_rate",
    "clip_schedule": "clip_epsilon",
    "entropy_schedule": "entropy_coefficient",
}


class _Range(NamedTuple):
    """The range of values that a hyperparameter may take, also in words."""

    low: float
    high: float
    words: str
    optional: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a number, or every number of an array, is in the range."""
        if self.optional and value is None:
            return True
        numbers = _numbers(value)
        return bool(numbers) and all(
            isinstance(number, int | float)
            and not isinstance(number, bool)
            and self.low <= number <= self.high  # false for NaN
            for number in numbers
        )


_SMALLEST, _LARGEST = 2.0**-126, 2.0**128 - 2.0**104  # float32's range: the values are converted to it
_POSITIVE = _Range(_SMALLEST, _LARGEST, "positive (at least 1.2e-38, float32's smallest) and finite")
_POSITIVE_OR_OFF = _Range(_SMALLEST, math.inf, "positive (at least 1.2e-38; inf turns it off)")
_POSITIVE_OR_WHOLE = _Range(_SMALLEST, math.inf, "positive (inf stands for the whole run)")
_POSITIVE_OR_NONE = _Range(_SMALLEST, math.inf, "positive (None turns it off)", optional=True)
_NOT_NEGATIVE = _Range(0.0, _LARGEST, "0 or more and finite")
_FRACTION = _Range(0.0, 1.0, "between 0 and 1")

_RANGES = {
    "learning_rate": _POSITIVE,
    "final_learning_rate": _NOT_NEGATIVE,
    "gamma": _FRACTION,
    "gae_lambda": _FRACTION,
    "clip_epsilon": _POSITIVE_OR_OFF,
    "final_clip_epsilon": _NOT_NEGATIVE,
    "value_clip_epsilon": _POSITIVE_OR_OFF,
    "value_coefficient": _NOT_NEGATIVE,
    "entropy_coefficient": _NOT_NEGATIVE,
    "final_entropy_coefficient": _NOT_NEGATIVE,
    "kl_coefficient": _NOT_NEGATIVE,
    "desired_kl": _POSITIVE,
    "target_kl": _POSITIVE_OR_NONE,
    "max_grad_norm": _POSITIVE_OR_OFF,
    "adam_epsilon": _POSITIVE,
    "teacher_coefficient": _NOT_NEGATIVE,
    "teacher_steps": _POSITIVE_OR_WHOLE,
}


def validate(config: Config, hyper: Hyperparams | None = None, environment: object = None) -> None:
    """Validates a configuration.

    Args:
        config: The static part of the run.
        hyper: The traced part as far as it is known: floats, or arrays of floats.
        environment: The caller's own environment, if any; `config.env` is then only a label.

    Raises:
        UsageError: With every mistake: what was given, the rule, and the fix.
    """
    check_kind("config", config, Config, "ppo_jax.Config(...)")
    if hyper is not None:
        check_kind("hyper", hyper, Hyperparams, "ppo_jax.Hyperparams(...)")
    problems = [*_count_problems(config), *_choice_problems(config)]
    if not problems:
        problems += division_problems(config, remembers=config.memory_size > 0)
        problems += _size_problems(config)
        problems += _schedule_problems(config, hyper or Hyperparams())
        problems += _unused_problems(config, hyper or Hyperparams())
        problems += _start_problems(config)
    problems += [*_name_problems(config), *_argument_problems(config)]
    if environment is None and isinstance(config.env, str):
        problems += registry.problems(config.env)
    if environment is None and isinstance(config.network, str) and ":" not in config.network:
        problems += registered.network_problems(config.network)
    if hyper is not None:
        examples = Hyperparams(target_kl=0.02)
        problems += [
            f"{name} = {value!r} is not a number that is {_RANGES[name].words}; "
            f"give one such as {getattr(examples, name)}"
            for name, value in hyper._asdict().items()
            if not _RANGES[name].holds(value)
        ]
    if problems:
        raise UsageError(problems)


def seed_problems(seed: Any) -> list[str]:
    """Lists what is wrong with a seed; an empty list if nothing is."""
    if isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed <= MAX_SEED:
        return []
    return [f"seed = {seed!r} is not an int from 0 to {MAX_SEED}; give one such as 0"]


def check_seed(seed: Any) -> None:
    """Makes sure that something is a seed.

    Raises:
        UsageError: If it is not.
    """
    if problems := seed_problems(seed):
        raise UsageError(problems)


def division_problems(config: Config, remembers: bool) -> list[str]:
    """Returns the problem if a batch cannot be split into minibatches of equal size; else an empty list.

    Args:
        config: A configuration whose counts are valid.
        remembers: Whether the network has a memory: minibatches then hold the whole sequences of
            environments.
    """
    groups, num_envs = config.shuffle_groups, config.num_envs
    if num_envs % groups:
        nearest = _nearest(num_envs, groups)
        return [f"num_envs = {num_envs} is not divisible by shuffle_groups = {groups}; {nearest}"]
    units, what = config.batch_size // groups, f"num_envs * num_steps = {config.batch_size}"
    if remembers:
        units = num_envs // groups
        what = (
            f"with a memory, minibatches hold the whole sequences of environments, and num_envs = {num_envs}"
        )
    if groups > 1:
        what = f"{what} in shuffle_groups = {groups}, {units} each,"
    wanted = config.num_minibatches
    if units % wanted == 0:
        return []
    return [f"{what} is not divisible by num_minibatches = {wanted}; {_nearest(units, wanted)}"]


def _nearest(number: int, wanted: int) -> str:
    """Says which divisors of a number are nearest to one that was wanted."""
    divisors = {d for i in range(1, math.isqrt(number) + 1) if number % i == 0 for d in (i, number // i)}
    below = max(divisor for divisor in divisors if divisor <= wanted)
    above = min((divisor for divisor in divisors if divisor >= wanted), default=None)
    return f"{below} divides it" if above is None else f"{below} and {above} divide it"


def _count_problems(config: Config) -> list[str]:
    def is_count(value: object, least: int = 1) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= least

    problems = [
        f"{name} = {getattr(config, name)!r} is not an int of at least 1; "
        f"give one such as {getattr(Config, name)}"
        for name in _COUNTS
        if not is_count(getattr(config, name))
    ]
    for name, example in {"memory_size": 64, "critic_warmup_updates": 10}.items():
        if not is_count(getattr(config, name), least=0):
            problems.append(
                f"{name} = {getattr(config, name)!r} is not an int of at least 0; give 0 or one such as "
                f"{example}"
            )
    sizes = config.hidden_sizes
    if not isinstance(sizes, tuple) or not all(map(is_count, sizes)):
        problems.append(
            f"hidden_sizes = {sizes!r} is not a tuple of ints of at least 1; "
            "give one width per hidden layer, such as (64, 64)"
        )
    return problems


def _name_problems(config: Config) -> list[str]:
    problems = []
    if not isinstance(config.env, str):
        problems.append(f"env = {config.env!r} is not a name; give one such as {Config.env!r}")
    if not isinstance(config.network, str | None):
        problems.append(f"network = {config.network!r} is not a name; give FILE.py:FUNCTION, or None")
    problems += [
        f"{name} = {value!r} is not the path of a run; give one, or None"
        for name, value in {"initial_policy": config.initial_policy, "teacher": config.teacher}.items()
        if value is not None and not (isinstance(value, str) and value)
    ]
    return problems


def _argument_problems(config: Config) -> list[str]:
    if not isinstance(config.env_args, Arguments):
        return [f"env_args = {config.env_args!r} is not a dictionary; give one such as {{'length': 1.0}}"]
    names = [name for name, _ in config.env_args]
    problems = [
        f"env_args has {name!r} {names.count(name)} times; give it once"
        for name in sorted(set(names))
        if names.count(name) > 1
    ]
    for name, value in config.env_args:
        if not name.isidentifier():
            problems.append(f"env_args has {name!r}, which is not the name of a parameter")
        elif not isinstance(value, bool | int | float | str):
            problems.append(f"env_args has {name!r} = {value!r}, which is no number, bool or string")
        elif isinstance(value, float) and not math.isfinite(value):
            problems.append(f"env_args {name} = {value!r} is not finite; give a number that is")
        elif isinstance(value, str):
            problems += ramps.problems(name, value)
    return problems


def _choice_problems(config: Config) -> list[str]:
    problems = []
    for name, known in CHOICES.items():
        value = getattr(config, name)
        if value not in known:
            problems.append(f"{name} = {value!r} is unknown; {closest(str(value), known)}")
    for name in _SWITCHES:
        if not isinstance(getattr(config, name), bool):
            problems.append(f"{name} = {getattr(config, name)!r} is not a bool; give True or False")
    return problems


def _size_problems(config: Config) -> list[str]:
    problems = []
    batch = config.batch_size
    if config.total_timesteps < batch:
        problems.append(
            f"total_timesteps = {config.total_timesteps} is less than one update of "
            f"num_envs * num_steps = {batch} steps; give at least {batch}, or lower num_envs or num_steps"
        )
    if config.total_timesteps > MAX_TIMESTEPS:
        problems.append(
            f"total_timesteps = {config.total_timesteps} is more than {MAX_TIMESTEPS}, the most that "
            f"files of numbers hold exactly; give at most {MAX_TIMESTEPS}"
        )
    if batch > MAX_BATCH:
        problems.append(
            f"num_envs * num_steps = {batch} is more than {MAX_BATCH}, the most samples of one update; lower "
            "num_envs or num_steps"
        )
    return problems


def _schedule_problems(config: Config, hyper: Hyperparams) -> list[str]:
    """Finds schedules and adaptive coefficients that cannot change, or whose change would have no effect."""
    problems = []
    for kind, name in _SCHEDULES.items():
        moves = getattr(config, kind) in ("linear", "cosine")
        if moves and math.inf in _numbers(getattr(hyper, name)) and _RANGES[name].high == math.inf:
            problems.append(f"{name} = inf cannot be scheduled; give a number, or {kind} = 'constant'")
    if config.objective == "adaptive_kl" and 0 in _numbers(hyper.kl_coefficient):
        problems.append(
            "kl_coefficient = 0 cannot grow; give a positive number for objective = 'adaptive_kl'"
        )
    if config.clip_schedule != "constant" and config.objective != "clipped":
        problems.append(
            f"clip_schedule = {config.clip_schedule!r} has no effect with objective = {config.objective!r}; "
            "give clip_schedule = 'constant'"
        )
    return problems


def _unused_problems(config: Config, hyper: Hyperparams) -> list[str]:
    """Finds hyperparameters that were given but would not be used.

    An unused hyperparameter may keep its default, and the end of a schedule may equal its start: neither
    misleads the user.
    """
    unused = {
        f"final_{name}": f"{kind} = {getattr(config, kind)!r}; give {kind} = 'linear' or 'cosine'"
        for kind, name in _SCHEDULES.items()
        if getattr(config, kind) not in ("linear", "cosine")
    }
    objective = f"objective = {config.objective!r}; give objective ="
    if config.objective not in ("fixed_kl", "adaptive_kl"):
        unused["kl_coefficient"] = f"{objective} 'fixed_kl' or 'adaptive_kl'"
    if config.objective != "adaptive_kl" and not config.adapts_learning_rate:
        unused["desired_kl"] = f"{objective} 'adaptive_kl', or learning_rate_schedule = 'adaptive_kl'"
    if config.teacher is None:
        unused |= dict.fromkeys(
            ("teacher_coefficient", "teacher_steps"), "teacher = None; give teacher = RUN"
        )
    problems = []
    for name, why in unused.items():
        value, harmless = getattr(hyper, name), {Hyperparams._field_defaults[name]}
        if name.startswith("final_"):
            harmless.update(_numbers(getattr(hyper, name.removeprefix("final_"))))
        if _RANGES[name].holds(value) and not set(_numbers(value)) <= harmless:
            problems.append(f"{name} = {value} has no effect with {why}")
    return problems


def _start_problems(config: Config) -> list[str]:
    """Finds mistakes in what a run starts from, and in what teaches it."""
    problems = [
        f"{name} = {getattr(config, name)!r} has no effect with {owner} = None; give {owner} = RUN"
        for name, owner in {"initial_parts": "initial_policy", "teacher_sees": "teacher"}.items()
        if getattr(config, owner) is None and getattr(config, name) != getattr(Config, name)
    ]
    if config.shared_torso and config.critic_warmup_updates:
        problems.append(
            "critic_warmup_updates is not possible with shared_torso = True: the critic cannot learn without "
            "changing the layers that the actor shares with it; give one of the two only"
        )
    if config.shared_torso and config.initial_parts != "both":
        problems.append(
            f"initial_parts = {config.initial_parts!r} is not possible with shared_torso = True: the actor "
            "and the critic share their layers; give initial_parts = 'both'"
        )
    return problems


def _numbers(value: Any) -> list[Any]:
    """Returns the numbers in a field: a single one, or those of an array to map over."""
    listed = value.tolist() if hasattr(value, "tolist") else value
    return [number for part in listed for number in _numbers(part)] if isinstance(listed, list) else [listed]
