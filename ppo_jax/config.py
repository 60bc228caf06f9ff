"""The settings of a run: `Config` decides the program, `Hyperparams` are the numbers it computes with.

This module imports nothing heavy, so that a mistake on the command line is reported immediately.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Activation = Literal["tanh", "relu"]
Encoder = Literal["auto", "mlp", "cnn"]
Objective = Literal["clipped", "unclipped", "fixed_kl", "adaptive_kl"]
Precision = Literal["float32", "tensorfloat32", "bfloat16"]
Schedule = Literal["constant", "linear", "cosine"]
RateSchedule = Literal["constant", "linear", "cosine", "adaptive_kl"]
Parts = Literal["both", "actor", "critic"]
View = Literal["actor", "critic"]


class Arguments(tuple[tuple[str, bool | int | float | str], ...]):
    """The arguments of an environment: pairs of a name and a value, sorted by name.

    Unlike in other tuples, 1, 1.0 and True differ: a function may do something else with each of them, and a
    compiled program must not be used for another task.
    """

    def __eq__(self, other: object) -> bool:
        return isinstance(other, tuple) and repr(tuple(self)) == repr(tuple(other))

    def __hash__(self) -> int:
        return hash(repr(tuple(self)))


@dataclasses.dataclass(frozen=True)
class Config:
    """The static part of a run: whatever decides an array shape, a loop length or a branch.

    It is hashable, so it can be a static argument of `jax.jit`. The letters are those of the paper:
    Schulman et al. 2017, "Proximal Policy Optimization Algorithms", Algorithm 1 and Table 3.
    """

    env: str = "CartPole-v1"
    """Environment to train on: a name that `ppo-jax envs` lists, or your own as FILE.py:OBJECT or
    MODULE:OBJECT."""
    env_args: Arguments = dataclasses.field(default=Arguments(), kw_only=True)
    """Parameters of the environment, such as length=1.0 for the pole of CartPole-v1. length=0.5..1.0@100000
    moves from 0.5 to 1.0 over the first 100,000 steps. By default, the environment's own values are used."""
    network: str | None = dataclasses.field(default=None, kw_only=True)
    """Network of your own, as FILE.py:FUNCTION or MODULE:FUNCTION. By default, one is built from the other
    flags of this group."""
    num_envs: int = 8
    """Environments that are stepped in parallel (N, the number of actors in the paper)."""
    num_steps: int = 128
    """Steps per environment in each update (T, the horizon in the paper)."""
    total_timesteps: int = 500_000
    """Environment steps of the whole run, rounded down to whole updates of --num-envs x --num-steps steps."""
    num_epochs: int = 4
    """Passes over the data of each update (K in the paper)."""
    num_minibatches: int = 4
    """Minibatches per epoch. The number has to divide --num-envs x --num-steps; with --memory-size, it has to
    divide --num-envs, because sequences are kept whole."""
    shuffle_groups: int = dataclasses.field(default=1, kw_only=True)
    """Number of groups of environments that are shuffled separately. Each minibatch takes equally many
    samples from every group. The number of devices has to divide this number. With 1, a new run uses one
    group for each device that it starts on."""
    encoder: Encoder = "auto"
    """What comes before the hidden layers: nothing (mlp), or a 3 x 3 convolution (cnn). auto means cnn for
    images, and mlp otherwise."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers. The actor and the critic have separate layers unless --shared-torso is
    given."""
    activation: Activation = "tanh"
    """Nonlinearity between the layers."""
    shared_torso: bool = False
    """Let the actor and the critic share all layers but the last."""
    memory_size: int = 0
    """Units of a recurrent layer (GRU) between the hidden layers and the output. 0 means no memory."""
    precision: Precision = "float32"
    """Precision of the layers' matrix products: float32 (exact), tensorfloat32 (TF32 where the device has
    it), or bfloat16. Parameters, optimizer and loss are float32 in any case."""
    normalize_advantages: bool = True
    """Shift and scale the advantages of each minibatch to mean 0 and standard deviation 1."""
    normalize_observations: bool = False
    """Shift and scale observations by the mean and standard deviation of all observations so far, and clip
    them to +-10."""
    normalize_rewards: bool = False
    """Divide rewards by the standard deviation of the discounted returns seen so far, and clip them to
    +-10."""
    objective: Objective = "clipped"
    """What the policy maximizes: the clipped objective (Eq. 7 of the paper), the unclipped one (Eq. 6), or
    the one with a KL penalty (Eq. 8), whose coefficient is fixed or adaptive."""
    learning_rate_schedule: RateSchedule = "linear"
    """How the learning rate changes during the run: not at all (constant), towards --final-learning-rate
    (linear or cosine), or so that the KL of the updates stays near --desired-kl (adaptive_kl)."""
    clip_schedule: Schedule = "constant"
    """How the clip range changes during the run: not at all (constant), or towards --final-clip-epsilon."""
    entropy_schedule: Schedule = "constant"
    """How the entropy coefficient changes during the run: not at all (constant), or towards
    --final-entropy-coefficient."""
    initial_policy: str | None = dataclasses.field(default=None, kw_only=True)
    """Run whose trained policy this run starts from. By default, the weights are random."""
    initial_parts: Parts = dataclasses.field(default="both", kw_only=True)
    """Parts of --initial-policy to take: the actor, the critic, or both."""
    critic_warmup_updates: int = dataclasses.field(default=0, kw_only=True)
    """Number of updates at the start in which only the critic learns, so that an untrained critic does not
    spoil a trained actor."""
    teacher: str | None = dataclasses.field(default=None, kw_only=True)
    """Run whose trained policy teaches this one: the KL divergence between the two policies is added to the
    loss. By default, there is no teacher."""
    teacher_sees: View = dataclasses.field(default="actor", kw_only=True)
    """What the teacher sees: what this run's actor sees, or what its critic sees, which may be more."""

    def __post_init__(self):
        if isinstance(self.hidden_sizes, list):
            object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        # A dictionary is what people give; a tuple is hashable. What is neither is left to `validate`.
        given = tuple(self.env_args.items()) if isinstance(self.env_args, Mapping) else self.env_args
        if isinstance(given, tuple | list) and all(
            isinstance(pair, tuple | list) and len(pair) == 2 and isinstance(pair[0], str) for pair in given
        ):
            pairs = [(name, _plain(value)) for name, value in given]
            object.__setattr__(self, "env_args", Arguments(sorted(pairs, key=lambda pair: pair[0])))

    def __hash__(self) -> int:
        # As text, so that JAX takes any configuration, and `validate` says what is wrong with it.
        return hash(repr(self))

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
        """Whether the learning rate adapts to the KL of the updates."""
        return self.learning_rate_schedule == "adaptive_kl"

    @property
    def measures_kl(self) -> bool:
        """Whether anything depends on the exact KL between the policies before and after an update."""
        return self.objective in ("fixed_kl", "adaptive_kl") or self.adapts_learning_rate


def _plain(value: Any) -> Any:
    """Returns a number of NumPy or JAX as one of Python, and anything else as it is."""
    return value.item() if getattr(value, "shape", None) == () else value


class Hyperparams(NamedTuple):
    """The traced part of a run: its numbers. All values share one compilation, so a sweep is a `vmap`.

    "Off" is a value, never a branch: `inf` for a bound, 0 for a coefficient, equal ends for a schedule.
    The one exception is `target_kl`. Each field is a float, or an array of floats where `jax.vmap` maps
    over it.
    """

    learning_rate: float = 2.5e-4
    """Learning rate of Adam at the first update."""
    final_learning_rate: float = 0.0
    """Learning rate that a linear or cosine schedule reaches after the last update."""
    gamma: float = 0.99
    """Discount factor, between 0 and 1."""
    gae_lambda: float = 0.95
    """Lambda of the advantage estimates, between 0 (least variance) and 1 (least bias)."""
    clip_epsilon: float = 0.2
    """Half-width of the range to which the probability ratio is clipped (epsilon in the paper)."""
    final_clip_epsilon: float = 0.0
    """Clip range that a linear or cosine schedule reaches after the last update."""
    value_clip_epsilon: float = math.inf
    """How far a predicted value may move from its old value before its loss is clipped. inf turns this off,
    as in the paper."""
    value_coefficient: float = 0.5
    """Weight of the squared value error in the loss (c1 of Eq. 9)."""
    entropy_coefficient: float = 0.01
    """Weight of the entropy bonus in the loss (c2 of Eq. 9)."""
    final_entropy_coefficient: float = 0.0
    """Entropy coefficient that a linear or cosine schedule reaches after the last update."""
    kl_coefficient: float = 1.0
    """Weight of the KL penalty (beta of Eq. 8). An adaptive penalty starts with this weight."""
    desired_kl: float = 0.01
    """KL per update, in nats, that an adaptive KL penalty or an adaptive learning rate aims at (d_targ in
    Section 4 of the paper)."""
    target_kl: float | None = None
    """Stop an update early: skip its remaining epochs once the mean KL of an epoch exceeds this value, in
    nats. None turns this off."""
    max_grad_norm: float = 0.5
    """Largest global norm of a gradient. Larger gradients are scaled down to it. inf turns this off."""
    adam_epsilon: float = 1e-5
    """Epsilon of Adam, added to its denominator. For PPO, a larger value than the usual 1e-8 is customary."""
    teacher_coefficient: float = 1.0
    """Weight, at the first update, of the KL divergence from the teacher in the loss. It decreases linearly
    to 0 over --teacher-steps."""
    teacher_steps: float = math.inf
    """Environment steps after which the weight of the teacher is 0. inf means the whole run."""


def as_fields(config: Config) -> dict[str, Any]:
    """Returns a configuration as a TOML or JSON file holds it: the values by the names of their fields."""
    return {**dataclasses.asdict(config), "env_args": dict(config.env_args)}


def config_from(fields: Mapping[str, Any]) -> Config:
    """Makes a configuration from what a TOML or JSON file holds, where tuples are lists.

    Args:
        fields: The values by the names of their fields; they are not validated.

    Raises:
        TypeError: If a name is unknown.
    """
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
    }
    return Config(**values)
