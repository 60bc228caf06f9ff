"""What a run is: `Config` (static, decides shapes and loops) and `Hyperparams` (traced numbers).

This module imports nothing heavy, so a mistake on the command line is answered at once.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from ppo_jax.envs import registry
from ppo_jax.errors import UsageError, closest

Activation = Literal["tanh", "relu"]
Encoder = Literal["auto", "mlp", "cnn"]
Objective = Literal["clipped", "unclipped", "fixed_kl", "adaptive_kl"]
Precision = Literal["float32", "tensorfloat32", "bfloat16"]
Schedule = Literal["constant", "linear", "cosine"]
RateSchedule = Literal["constant", "linear", "cosine", "adaptive_kl"]
MAX_TIMESTEPS = 2**31 - 1  # steps are counted on the device in int32


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that decides an array shape, a loop length or a branch of the program.

    Hashable, so that it can be a static argument of `jax.jit`. Paper: Schulman et al. 2017,
    "Proximal Policy Optimization Algorithms", Algorithm 1 and Table 3.
    """

    env: str = "CartPole-v1"
    """Environment to train on; `ppo-jax envs` lists them."""
    num_envs: int = 8
    """N: environments stepped in parallel (the paper's number of actors)."""
    num_steps: int = 128
    """T: steps per environment and update (the paper's horizon T)."""
    total_timesteps: int = 500_000
    """Environment steps of the whole run, rounded down to whole updates of N * T steps."""
    num_epochs: int = 4
    """K: passes over each batch (the paper's K)."""
    num_minibatches: int = 4
    """Minibatches per epoch; the paper's minibatch size M is N * T / num_minibatches. They divide the
    N * T samples; with a memory the N environments, whose sequences stay whole."""
    encoder: Encoder = "auto"
    """What comes before the hidden layers: nothing, or a 3 x 3 convolution; auto: cnn for images."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers of the actor and, separately unless shared, of the critic."""
    activation: Activation = "tanh"
    """Nonlinearity between the layers."""
    shared_torso: bool = False
    """Let actor and critic share all layers but the last."""
    memory_size: int = 0
    """Units of a GRU between the hidden layers and the output; 0: no memory."""
    precision: Precision = "float32"
    """Of the layers' matrix products: exact; rounded to 10 bits on devices with TF32, exact on others;
    or all layers in bfloat16, 7 bits. Parameters, optimizer, distributions and loss stay float32."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of each minibatch to mean 0 and deviation 1."""
    normalize_observations: bool = False
    """Shift and scale observations by the mean and deviation of all seen so far, within +-10."""
    normalize_rewards: bool = False
    """Divide rewards by the deviation of the discounted sums of rewards seen so far, within +-10."""
    objective: Objective = "clipped"
    """What the policy maximizes: Eq. 7, Eq. 6, or Eq. 8 with a fixed or an adaptive KL penalty."""
    learning_rate_schedule: RateSchedule = "linear"
    """How the learning rate moves: to its final value, or with the KL of the updates (`desired_kl`)."""
    clip_schedule: Schedule = "constant"
    """How the clip range moves to its final value."""
    entropy_schedule: Schedule = "constant"
    """How the entropy coefficient moves to its final value."""

    @property
    def batch_size(self) -> int:
        """B = T * N, the samples of one update."""
        return self.num_envs * self.num_steps

    @property
    def minibatch_size(self) -> int:
        """M = B / num_minibatches, the samples of one gradient step."""
        return self.batch_size // self.num_minibatches

    @property
    def num_updates(self) -> int:
        """U, the whole updates that fit into `total_timesteps`."""
        return self.total_timesteps // self.batch_size

    @property
    def adapts_learning_rate(self) -> bool:
        """Whether the learning rate follows the KL of the updates."""
        return self.learning_rate_schedule == "adaptive_kl"

    @property
    def measures_kl(self) -> bool:
        """Whether something depends on the exact KL between the policies before and after."""
        return self.objective in ("fixed_kl", "adaptive_kl") or self.adapts_learning_rate


class Hyperparams(NamedTuple):
    """The numbers of a run that are traced: any values share one compilation, and a sweep is a vmap.

    "Off" is a value, never a branch: `inf` for a bound, 0 for a coefficient, equal ends for a
    schedule; with one exception, `target_kl`. Each field is a float, or an array of floats where
    `jax.vmap` maps over it.
    """

    learning_rate: float = 2.5e-4
    """Adam step size at the first update (the paper's stepsize)."""
    final_learning_rate: float = 0.0
    """Step size that the schedule, which moves once per update, would reach after the last."""
    gamma: float = 0.99
    """Discount (the paper's gamma), in [0, 1]."""
    gae_lambda: float = 0.95
    """Bias against variance of the advantages (the paper's lambda), in [0, 1]."""
    clip_epsilon: float = 0.2
    """Half-width of the range the probability ratio is clipped to (the paper's epsilon)."""
    final_clip_epsilon: float = 0.0
    """Clip range that its schedule would reach after the last update."""
    value_clip_epsilon: float = math.inf
    """How far a value may move from its old one before its loss is clipped; inf is off, as in the paper."""
    value_coefficient: float = 0.5
    """Weight of the squared value error (c1 of Eq. 9; the error itself carries no further 1/2)."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus (c2 of Eq. 9)."""
    final_entropy_coefficient: float = 0.0
    """Entropy weight that its schedule would reach after the last update."""
    kl_coefficient: float = 1.0
    """Weight of the KL penalty (beta of Eq. 8), or where an adaptive one starts."""
    desired_kl: float = 0.01
    """KL per update that an adaptive penalty or learning rate steers to, in nats (d_targ of Section 4)."""
    target_kl: float | None = None
    """The epochs that remain are left out once the mean KL of one exceeds this, in nats. None is off, and
    leaves the check out of the program. Each gradient step measures the KL before it moves."""
    max_grad_norm: float = 0.5
    """Gradients are scaled down to this global norm; inf is off."""
    adam_epsilon: float = 1e-5
    """Added to Adam's denominator; larger than Adam's usual 1e-8, as is customary for PPO."""


def config_from(fields: Mapping[str, Any]) -> Config:
    """Makes a configuration from what a file of TOML or JSON holds, where tuples are lists.

    Args:
        fields: Values by the names of fields; not validated.

    Raises:
        TypeError: If a name is unknown.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return Config(**values)


def division_problems(config: Config, remembers: bool) -> list[str]:
    """Finds out whether a batch can be split into minibatches of one size.

    Args:
        config: With valid counts.
        remembers: Whether the network has a memory: minibatches then hold the whole sequences of
            environments.
    """
    units, what = config.batch_size, f"num_envs * num_steps = {config.batch_size}"
    if remembers:
        units = config.num_envs
        what = f"with a memory, minibatches hold the whole sequences of environments, and num_envs = {units}"
    if units % config.num_minibatches == 0:
        return []
    return [
        f"{what} is not divisible by num_minibatches = {config.num_minibatches}; "
        f"{_nearest_divisors(units, config.num_minibatches)}"
    ]


def validate(config: Config, hyper: Hyperparams | None = None, environment: object = None) -> None:
    """Checks a configuration on the host, before anything is traced.

    Args:
        config: The static part.
        hyper: The traced part, as far as it is known: floats, or arrays of floats.
        environment: The caller's own environment, if any; `config.env` is then a mere label.

    Raises:
        UsageError: With every mistake: what was given, the rule, and the fix.
    """
    problems = [*_count_problems(config), *_choice_problems(config)]
    if not problems:
        problems.extend(division_problems(config, remembers=config.memory_size > 0))
        problems.extend(_size_problems(config))
        problems.extend(_schedule_problems(config, hyper or Hyperparams()))
    if environment is None:
        problems.extend(registry.problems(config.env))
    if hyper is not None:
        problems.extend(_hyper_problems(hyper))
    if problems:
        raise UsageError(problems)


_CHOICES = {
    "encoder": Encoder,
    "activation": Activation,
    "precision": Precision,
    "objective": Objective,
    "learning_rate_schedule": RateSchedule,
    "clip_schedule": Schedule,
    "entropy_schedule": Schedule,
}
_SCHEDULES = {
    "learning_rate_schedule": "learning_rate",
    "clip_schedule": "clip_epsilon",
    "entropy_schedule": "entropy_coefficient",
}
_SWITCHES = ("shared_torso", "normalize_advantages", "normalize_observations", "normalize_rewards")


def _is_count(value: object, least: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _count_problems(config: Config) -> list[str]:
    names = ("num_envs", "num_steps", "total_timesteps", "num_epochs", "num_minibatches")
    problems = [
        f"{name} = {getattr(config, name)!r} is not an int of at least 1; "
        f"give one such as {getattr(Config, name)}"
        for name in names
        if not _is_count(getattr(config, name))
    ]
    if not _is_count(config.memory_size, least=0):
        problems.append(
            f"memory_size = {config.memory_size!r} is not an int of at least 0; give 0 or one such as 64"
        )
    sizes = config.hidden_sizes
    if not isinstance(sizes, tuple) or not all(map(_is_count, sizes)):
        problems.append(
            f"hidden_sizes = {sizes!r} is not a tuple of ints of at least 1; "
            "give one width per hidden layer, such as (64, 64)"
        )
    return problems


def _choice_problems(config: Config) -> list[str]:
    problems = []
    for name, kind in _CHOICES.items():
        value, known = getattr(config, name), get_args(kind)
        if value not in known:
            problems.append(f"{name} = {value!r} is unknown; {closest(str(value), known)}")
    problems.extend(
        f"{name} = {getattr(config, name)!r} is not a bool; give True or False"
        for name in _SWITCHES
        if not isinstance(getattr(config, name), bool)
    )
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
            f"the int32 step counter holds; give at most {MAX_TIMESTEPS}"
        )
    return problems


def _schedule_problems(config: Config, hyper: Hyperparams) -> list[str]:
    """Finds what nothing would ever read, and what is to move but cannot."""
    problems = []
    for kind, name in _SCHEDULES.items():
        start, moves = getattr(hyper, name), getattr(config, kind) in ("linear", "cosine")
        if moves and _is_number(start) and start == math.inf and _RANGES[name].holds(start):
            problems.append(f"{name} = inf cannot move; give a number, or {kind} = 'constant'")
    if config.objective == "adaptive_kl" and 0 in _elements(hyper.kl_coefficient):
        problems.append(
            "kl_coefficient = 0 cannot grow; give a positive number for objective = 'adaptive_kl'"
        )
    if config.clip_schedule != "constant" and config.objective != "clipped":
        problems.append(
            f"clip_schedule = {config.clip_schedule!r} has no effect with objective = {config.objective!r}; "
            "give clip_schedule = 'constant'"
        )
    for name, why in _unread(config).items():
        value = getattr(hyper, name)
        if _RANGES[name].holds(value) and not set(_elements(value)) <= _harmless(hyper, name):
            problems.append(f"{name} = {value} has no effect with {why}")
    return problems


def _harmless(hyper: Hyperparams, name: str) -> set[float]:
    """Values of a hyperparameter that nothing reads which promise nothing: the default, and equal ends."""
    is_end = name.startswith("final_")
    start = _elements(getattr(hyper, name.removeprefix("final_"))) if is_end else []
    return {Hyperparams._field_defaults[name], *start}


def _unread(config: Config) -> dict[str, str]:
    """Names the hyperparameters that nothing reads, with the reason and the remedy."""
    unread = {
        f"final_{name}": f"{kind} = {getattr(config, kind)!r}; give {kind} = 'linear' or 'cosine'"
        for kind, name in _SCHEDULES.items()
        if getattr(config, kind) not in ("linear", "cosine")
    }
    objective = f"objective = {config.objective!r}; give objective ="
    if config.objective not in ("fixed_kl", "adaptive_kl"):
        unread["kl_coefficient"] = f"{objective} 'fixed_kl' or 'adaptive_kl'"
    if config.objective != "adaptive_kl" and not config.adapts_learning_rate:
        unread["desired_kl"] = f"{objective} 'adaptive_kl', or learning_rate_schedule = 'adaptive_kl'"
    return unread


def _nearest_divisors(number: int, near: int) -> str:
    """The divisors of a number on both sides of another one, as a phrase."""
    divisors = {d for i in range(1, math.isqrt(number) + 1) if number % i == 0 for d in (i, number // i)}
    below = max(divisor for divisor in divisors if divisor <= near)
    above = min((divisor for divisor in divisors if divisor >= near), default=None)
    return f"{below} divides it" if above is None else f"{below} and {above} divide it"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _elements(value: Any) -> list[Any]:
    """The numbers of a field: one, or those of an array to map over."""
    return value.ravel().tolist() if hasattr(value, "ravel") else [value]


class _Range(NamedTuple):
    """The values one hyperparameter may take, and the same in words."""

    low: float
    high: float
    words: str
    optional: bool = False

    def holds(self, value: Any) -> bool:
        if self.optional and value is None:
            return True
        elements = _elements(value)
        return bool(elements) and all(map(self._holds_one, elements))

    def _holds_one(self, value: Any) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # NaN compares false


_TINY, _HUGE = 2.0**-126, 2.0**128 - 2.0**104  # of float32, which the value becomes
_POSITIVE = _Range(_TINY, _HUGE, "positive and finite")
_POSITIVE_OR_OFF = _Range(_TINY, math.inf, "positive (inf turns it off)")
_POSITIVE_OR_NONE = _Range(_TINY, math.inf, "positive (None turns it off)", optional=True)
_NOT_NEGATIVE = _Range(0.0, _HUGE, "0 or more and finite")
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
}


def _hyper_problems(hyper: Hyperparams) -> list[str]:
    examples = Hyperparams(target_kl=0.02)
    return [
        f"{name} = {value!r} is not a number that is {_RANGES[name].words}; "
        f"give one such as {getattr(examples, name)}"
        for name, value in hyper._asdict().items()
        if not _RANGES[name].holds(value)
    ]
