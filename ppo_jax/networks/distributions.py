"""Probability distributions over actions: sample, log_prob, entropy, mode, kl."""

import math
import warnings
from functools import reduce
from itertools import accumulate
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.spaces import Box, Discrete, MultiDiscrete, Space, bounds, known_bounds

# Logit of an illegal action: so low that its probability is exactly 0, yet finite, so that
# 0 * log 0 is 0 rather than NaN in entropies and gradients.
ILLEGAL = -1e30
# Range of the logarithm of a Gaussian's standard deviation, in units of the action's scale: from 0.7 % of
# half the width between the bounds (less would let single steps change ratios by e^20) to 7 times that half.
MIN_LOG_STD, MAX_LOG_STD = -5.0, 2.0
WIDEST = 1e6  # bounds of a Box that are farther apart count as missing: nobody means to explore all of that
FEW_ACTIONS = 16  # up to this many, treating them one by one is cheaper than a reduction over their axis


class Categorical(NamedTuple):
    """A distribution over A actions, for each element of a batch.

    Attributes:
        logits: [..., A] float32, unnormalized log-probabilities.
    """

    logits: jax.Array

    @property
    def log_probs(self) -> jax.Array:
        """[..., A], normalized log-probabilities."""
        num_actions = self.logits.shape[-1]
        if num_actions > FEW_ACTIONS:
            return jax.nn.log_softmax(self.logits)
        # One action at a time: on a CPU, XLA's reductions over an axis of two or three elements take
        # several times as long.
        each = [self.logits[..., i] for i in range(num_actions)]
        largest = jax.lax.stop_gradient(reduce(jnp.maximum, each))
        log_sum = largest + jnp.log(reduce(jnp.add, [jnp.exp(logit - largest) for logit in each]))
        return self.logits - log_sum[..., None]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws actions, [...] int32."""
        return self.from_noise(jax.random.uniform(key, self.logits.shape[:-1], jnp.float32))

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """Turns noise into actions, [...] int32, by the inverse of the cumulative distribution.

        The action is the first whose cumulative probability exceeds the noise; never an illegal one.

        Args:
            noise: The noise, uniform in [0, 1), [...].
        """
        weights = jnp.exp(self.logits - self.logits.max(axis=-1, keepdims=True))  # [..., A]
        possible = weights > 0
        cumulative = jnp.where(possible, jnp.cumsum(weights, axis=-1), 0.0)
        # Below the largest cumulative weight, so that at least one action exceeds the threshold.
        threshold = noise[..., None] * cumulative.max(axis=-1, keepdims=True)
        return jnp.argmax(possible & (cumulative > threshold), axis=-1).astype(jnp.int32)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Returns log pi(action), [...], of actions [...] int32."""
        return jnp.take_along_axis(self.log_probs, action[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """Returns -sum pi log pi in nats, [...], between 0 and log A."""
        return -jnp.sum(jnp.exp(self.log_probs) * self.log_probs, axis=-1)

    def mode(self) -> jax.Array:
        """Returns the most probable action, [...] int32; the first of several."""
        return jnp.argmax(self.logits, axis=-1).astype(jnp.int32)

    def kl(self, other: "Categorical") -> jax.Array:
        """Returns KL(self || other) in nats, [...]."""
        difference = self.log_probs - other.log_probs
        return jnp.sum(jnp.exp(self.log_probs) * difference, axis=-1)


class MultiCategorical(NamedTuple):
    """Independent categorical distributions, one for each component of an action.

    Attributes:
        parts: One distribution for each of the C components.
    """

    parts: tuple[Categorical, ...]

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws actions, [..., C] int32."""
        keys = jax.random.split(key, len(self.parts))
        return jnp.stack([part.sample(key) for part, key in zip(self.parts, keys, strict=True)], axis=-1)

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """Turns noise, uniform in [0, 1), [..., C], into actions, [..., C] int32."""
        return jnp.stack([part.from_noise(noise[..., i]) for i, part in enumerate(self.parts)], axis=-1)

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Returns log pi(action), the sum over components, [...], of actions [..., C] int32."""
        return sum((part.log_prob(action[..., i]) for i, part in enumerate(self.parts)), jnp.float32(0))

    def entropy(self) -> jax.Array:
        """Returns the entropy in nats, the sum over components, [...]."""
        return sum((part.entropy() for part in self.parts), jnp.float32(0))

    def mode(self) -> jax.Array:
        """Returns the most probable action, [..., C] int32."""
        return jnp.stack([part.mode() for part in self.parts], axis=-1)

    def kl(self, other: "MultiCategorical") -> jax.Array:
        """Returns KL(self || other) in nats, the sum over components, [...]."""
        pairs = zip(self.parts, other.parts, strict=True)
        return sum((mine.kl(theirs) for mine, theirs in pairs), jnp.float32(0))


class DiagonalGaussian(NamedTuple):
    """Independent normal distributions, one for each of the A components of an action.

    Attributes:
        mean: [..., A] float32.
        log_std: Logarithm of the standard deviation, [..., A] float32.
    """

    mean: jax.Array
    log_std: jax.Array

    def sample(self, key: jax.Array) -> jax.Array:
        """Draws actions, [..., A] float32, unbounded."""
        return self.from_noise(jax.random.normal(key, self.mean.shape, jnp.float32))

    def from_noise(self, noise: jax.Array) -> jax.Array:
        """Turns noise, standard normal [..., A], into actions, [..., A] float32, unbounded."""
        return self.mean + jnp.exp(self.log_std) * noise

    def log_prob(self, action: jax.Array) -> jax.Array:
        """Returns the log-density, the sum over components, [...], of unbounded actions [..., A]."""
        standardized = (action - self.mean) * jnp.exp(-self.log_std)
        log_density = -0.5 * standardized**2 - self.log_std - 0.5 * math.log(2 * math.pi)
        return log_density.sum(axis=-1)

    def entropy(self) -> jax.Array:
        """Returns the differential entropy in nats, [...]; negative if the density is narrow."""
        return (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(axis=-1)

    def mode(self) -> jax.Array:
        """Returns the mean, [..., A] float32."""
        return self.mean

    def kl(self, other: "DiagonalGaussian") -> jax.Array:
        """Returns KL(self || other) in nats, [...]."""
        distance = (self.mean - other.mean) * jnp.exp(-other.log_std)
        log_ratio = self.log_std - other.log_std
        # With expm1, the divergence of nearly equal distributions keeps its digits.
        excess = jnp.expm1(2 * log_ratio) - 2 * log_ratio
        divergence = 0.5 * (excess + distance**2)  # of each component, [..., A]
        return divergence.sum(axis=-1)


Distribution = Categorical | MultiCategorical | DiagonalGaussian


def num_outputs(action_space: Space) -> int:
    """Returns the number of network outputs that a distribution over an action space needs.

    Raises:
        UsageError: If it is a Box whose rank is not 1 or whose bounds leave no room, or is not a space.
    """
    match action_space:
        case Discrete(n):
            return n
        case MultiDiscrete(nums):
            return sum(nums)
        case Box((size,)) if _leaves_room(action_space):
            return size
        case Box():
            raise UsageError(
                f"actions {action_space} are not of rank 1 with low < high; flatten them to one axis, and "
                "reshape them in `step`; leave out components that have only one value"
            )
    raise UsageError(
        f"actions {action_space} are neither Discrete, MultiDiscrete nor Box of ppo_jax.spaces; give one"
    )


def draw_noise(action_space: Space, key: jax.Array, num_actions: int) -> jax.Array:
    """Draws the noise that `from_noise` of a distribution turns into actions, for many steps at once.

    Args:
        action_space: The space of the actions, which decides the kind of noise.
        key: The source of the noise.
        num_actions: The number of actions, N; static.

    Returns:
        Noise, uniform in [0, 1) for Discrete, [N], and MultiDiscrete, [N, C]; standard normal for a Box,
        [N, A].
    """
    match action_space:
        case Discrete():
            return jax.random.uniform(key, (num_actions,), jnp.float32)
        case MultiDiscrete(nums):
            return jax.random.uniform(key, (num_actions, len(nums)), jnp.float32)
    return jax.random.normal(key, (num_actions, num_outputs(action_space)), jnp.float32)


def _leaves_room(space: Box) -> bool:
    """Whether the lower bounds are below the upper ones; warns of bounds that count as missing."""
    known = known_bounds(space)
    if known is None:
        return True
    low, high = known
    if not np.all(low < high):
        return False
    if _are_wide(low, high).any():
        warnings.warn(
            f"bounds of actions {space} are more than {WIDEST:g} apart and count as missing: "
            "the policy begins around 0 with a standard deviation of 1; give the bounds that matter",
            stacklevel=3,
        )
    return True


def _are_wide(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Returns which bounds are so far apart that they count as missing; those that are missing are not."""
    width = high - low
    return (width > WIDEST) & np.isfinite(width)


def _without_wide_bounds(space: Box) -> Box:
    """Returns a Box in which bounds that are more than WIDEST apart are missing."""
    known = known_bounds(space)
    if known is None:
        return space
    low, high = known
    is_wide = _are_wide(low, high)
    if not is_wide.any():
        return space
    low = np.where(is_wide & (low < -WIDEST / 2), -np.inf, low)
    high = np.where(is_wide & (high > WIDEST / 2), np.inf, high)
    return Box(space.shape, tuple(low.tolist()), tuple(high.tolist()))


def make_distribution(
    action_space: Space, outputs: jax.Array, log_std: jax.Array | None, legal: jax.Array | None
) -> Distribution:
    """Makes a distribution over actions from the outputs of a network.

    Args:
        action_space: The space of the actions. Outputs are logits for Discrete and MultiDiscrete, and a
            mean for a Box. The Gaussian of a bounded Box is scaled to it: output 0 is its middle, and
            outputs of +-1 are its bounds. Where a bound is missing, or bounds are more than WIDEST apart
            (which is unknown of bounds that are being traced), output 0 is the possible action nearest to 0,
            and outputs are in units of the action.
        outputs: The outputs of the network, [..., num_outputs(action_space)].
        log_std: The logarithm of the standard deviation for a Box, [A], the same in all states; clipped
            to MIN_LOG_STD and MAX_LOG_STD.
        legal: The mask of the allowed actions, bool like `outputs`; None if all are allowed. Where none is,
            which is a bug in the environment, all are treated as allowed (see `Metrics.dead_ends`).

    Raises:
        UsageError: If legal actions are given for a Box.
    """
    if isinstance(action_space, Box):
        return _gaussian(action_space, outputs, log_std, legal)
    if isinstance(action_space, Discrete):
        return _categorical(outputs, legal)
    logits = _split(action_space.nums, outputs)
    masks = [None] * len(logits) if legal is None else _split(action_space.nums, legal)
    return MultiCategorical(tuple(map(_categorical, logits, masks)))


def dead_ends(action_space: Space, legal: jax.Array) -> jax.Array:
    """Returns where a component of the action has no legal value, from masks [..., num_outputs] to [...]."""
    components = [legal]
    if isinstance(action_space, MultiDiscrete):
        components = _split(action_space.nums, legal)
    # At least one value of each component has to be legal, [C, ...].
    possible = jnp.stack([component.any(axis=-1) for component in components])
    return ~possible.all(axis=0)


def _split(nums: tuple[int, ...], x: jax.Array) -> list[jax.Array]:
    """Splits an array [..., sum(nums)] into its components [..., nums[i]]."""
    return jnp.split(x, list(accumulate(nums))[:-1], axis=-1)


def _categorical(logits: jax.Array, legal: jax.Array | None) -> Categorical:
    if legal is None:
        return Categorical(logits)

    # Where nothing is legal, everything is allowed: otherwise there would be no distribution.
    allowed = legal | ~legal.any(axis=-1, keepdims=True)
    return Categorical(jnp.where(allowed, logits, ILLEGAL))


def _gaussian(
    action_space: Box, outputs: jax.Array, log_std: jax.Array | None, legal: jax.Array | None
) -> DiagonalGaussian:
    if legal is not None or log_std is None:
        raise UsageError(f"actions {action_space} need a log_std and cannot be masked; clip them instead")
    middle, scale = middle_and_scale(action_space, outputs.ndim)
    # Clipped, but gradients pass: a standard deviation that has left the range can learn to come back.
    clipped = log_std + jax.lax.stop_gradient(jnp.clip(log_std, MIN_LOG_STD, MAX_LOG_STD) - log_std)
    log_std = clipped.reshape(scale.shape) + jnp.log(scale)
    return DiagonalGaussian(mean=middle + scale * outputs, log_std=jnp.broadcast_to(log_std, outputs.shape))


def middle_and_scale(action_space: Box, ndim: int) -> tuple[jax.Array, jax.Array]:
    """Returns the mean that outputs of 0 stand for, and by how much an output of 1 moves it.

    Args:
        action_space: The space of the actions.
        ndim: The number of axes of both results, [1, ..., A].
    """
    low, high = bounds(_without_wide_bounds(action_space), ndim)
    bounded = jnp.isfinite(low) & jnp.isfinite(high)
    middle = jnp.where(bounded, low / 2 + high / 2, jnp.clip(0.0, low, high))
    return middle, jnp.where(bounded, high / 2 - low / 2, 1.0)
