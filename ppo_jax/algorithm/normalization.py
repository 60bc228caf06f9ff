"""Normalizes observations, rewards and advantages, so that their scale does not matter.

Observations and rewards are scaled by statistics of everything seen so far, which belong to the train state.
They change while experience is collected; when training is done, they are frozen and saved with the policy
that was trained with them. Advantages are scaled by the statistics of their minibatch.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax import shards
from ppo_jax.count import add_up_to_limit

CLIP = 10.0  # normalized observations and scaled rewards are clipped to +-10, as is customary
EPSILON = 1e-8  # is customarily added to what is divided by
SHARE = 1e-4  # but never more than this share of it, because learning must not depend on the scale of a task
RESOLUTION = 4 * float(jnp.finfo(jnp.float32).eps)  # what varies less, in units of its mean, is constant


class Statistics(NamedTuple):
    """The mean and the variance of everything merged so far.

    Attributes:
        num_samples: The number of samples, [] uint32; 2^32 - 1 if there were more.
        mean: [...] float32.
        variance: The population variance, [...] float32.
    """

    num_samples: jax.Array
    mean: jax.Array
    variance: jax.Array


class RewardScaler(NamedTuple):
    """The state of reward scaling.

    Attributes:
        discounted: The discounted sum of the rewards of each running episode so far, [N] float32.
        statistics: The statistics of all those sums.
    """

    discounted: jax.Array
    statistics: Statistics


def init_statistics(shape: tuple[int, ...]) -> Statistics:
    """Returns statistics without any samples: a mean of 0 and a variance of 1, which change nothing."""
    return Statistics(
        num_samples=jnp.zeros((), jnp.uint32),
        mean=jnp.zeros(shape, jnp.float32),
        variance=jnp.ones(shape, jnp.float32),
    )


def merge(statistics: Statistics, samples: jax.Array) -> Statistics:
    """Adds samples to statistics.

    With n new samples among m in all, and w = n / m:

        delta    = mean(samples) - mean
        mean     = mean + w delta
        variance = variance + w (var(samples) - variance + (1 - w) delta^2)

    Source: Chan, Golub and LeVeque 1983, rearranged so that only differences and weights up to 1 are
    multiplied: sums of squares, which lose all digits of a small variance, are never formed. The moments
    of the samples are taken relative to the first of them, so that those of a constant are exact.

    From 2^32 samples on, m stays as it is, so that the statistics follow the last billions of samples. With
    smaller weights they would hardly move any more: such changes are lost beside a mean in float32.

    Args:
        statistics: The statistics before.
        samples: The samples, [n, ...]; those of all shards are added.
    """
    num_samples = samples.shape[0] * shards.count()
    count = add_up_to_limit(statistics.num_samples, num_samples)
    weight = num_samples / count.astype(jnp.float32)
    shifted = samples - samples[:1]
    delta = samples[0] - statistics.mean + shifted.mean(axis=0)
    delta, new_variance = shards.pool_moments(delta, shifted.var(axis=0))
    # The variance before the first sample is only a placeholder, next to which a small one would be lost.
    variance = jnp.where(statistics.num_samples > 0, statistics.variance, new_variance)
    spread = new_variance - variance
    return Statistics(
        num_samples=count,
        mean=statistics.mean + weight * delta,
        variance=variance + weight * (spread + (1 - weight) * delta**2),
    )


def divisor(spread: jax.Array, varies: jax.Array) -> jax.Array:
    """Returns what to divide by to get rid of a scale: slightly more than the spread; inf for a constant.

    So a constant becomes 0, and so does whatever comes after only constants: nothing is known of its scale.
    In float32, this holds for standard deviations from 1e-18 to 1e18.

    Args:
        spread: The standard deviation or the variance, [...].
        varies: Whether it is more than rounding, [...] bool.
    """
    return jnp.where(varies, spread + jnp.minimum(EPSILON, SHARE * spread), jnp.inf)


def inverse_deviation(statistics: Statistics) -> jax.Array:
    """Returns 1 / standard deviation, [...]; 0 for what has never varied."""
    varies = statistics.variance > (RESOLUTION * statistics.mean) ** 2
    return jax.lax.rsqrt(divisor(statistics.variance, varies))


def standardize(advantage: jax.Array) -> jax.Array:
    """Shifts and scales a minibatch of advantages to mean 0 and standard deviation 1.

    This is not in the paper, but customary. A single sample is returned unchanged.

    Args:
        advantage: The advantages, [M]; or those of this shard, which has its share of the minibatch.
    """
    if advantage.size * shards.count() == 1:
        return advantage
    mean, variance = shards.pool_moments(advantage.mean(), advantage.var())
    least, most = shards.extremes(advantage)
    varies = most - least > RESOLUTION * jnp.abs(mean)  # the rounding of a mean of many is larger
    return (advantage - mean) / divisor(jnp.sqrt(variance), varies)


def normalize(statistics: Statistics, x: jax.Array) -> jax.Array:
    """Shifts and scales to mean 0 and standard deviation 1, and clips the result to +-CLIP.

    Infinities become NaN, so that they are found rather than taken for CLIP. What never varied becomes 0.

    Args:
        statistics: The statistics of arrays [*D].
        x: A batch of such arrays, [..., *D].
    """
    # [*D] to [1, ..., *D]: as many axes as x, so that nothing is broadcast by accident.
    batch_axes = tuple(range(x.ndim - statistics.mean.ndim))
    mean = jnp.expand_dims(statistics.mean, batch_axes)
    scaled = (x - mean) * jnp.expand_dims(inverse_deviation(statistics), batch_axes)
    # Clipping alone would hide an infinity.
    return jnp.where(jnp.isfinite(x), jnp.clip(scaled, -CLIP, CLIP), jnp.nan)


def init_observation_statistics(observation: Any) -> Any:
    """Returns statistics for each array of floats in observations [N, ...]; masks have none."""
    return jax.tree.map(lambda x: None if x.dtype == bool else init_statistics(x.shape[1:]), observation)


def merge_observation(statistics: Any, observation: Any) -> Any:
    """Adds observations [N, ...] to their statistics; returns None if there are no statistics."""
    if statistics is None:
        return None
    return jax.tree.map(lambda x, of_x: None if x.dtype == bool else merge(of_x, x), observation, statistics)


def normalize_observation(statistics: Any, observation: Any) -> Any:
    """Normalizes observations except for their masks; returns them unchanged if there are no statistics."""
    if statistics is None:
        return observation
    return jax.tree.map(lambda x, of_x: x if x.dtype == bool else normalize(of_x, x), observation, statistics)


def init_reward_scaler(num_envs: int) -> RewardScaler:
    """Returns the scaler before the first reward of N environments."""
    return RewardScaler(discounted=jnp.zeros(num_envs, jnp.float32), statistics=init_statistics(()))


def scale_rewards(
    scaler: RewardScaler | None, reward: jax.Array, done: jax.Array, gamma: jax.Array | float
) -> tuple[RewardScaler | None, jax.Array]:
    """Divides rewards by the standard deviation of the discounted sums of rewards, and clips them to +-CLIP.

    The sum runs forward through an episode, G_t = gamma G_{t-1} + r_t. The mean is not subtracted, because
    that would change which behaviour is best. The statistics include the rewards that they scale. While all
    sums are equal, no behaviour is known to be better than another, and the rewards become 0.

    Args:
        scaler: The scaler before these rewards; if it is None, they are returned unchanged.
        reward: The rewards, [T, N].
        done: [T, N] bool, the episode ended.
        gamma: The discount.
    """
    if scaler is None:
        return None, reward

    def discount(discounted: jax.Array, step: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        reward, done = step  # [N]
        total = gamma * discounted + reward
        # The sum of the next episode starts at zero.
        discounted = jnp.where(done, 0.0, total)
        return discounted, total

    discounted, sums = jax.lax.scan(discount, scaler.discounted, (reward, done))
    statistics = merge(scaler.statistics, sums.reshape(-1))
    scaled = jnp.clip(reward * inverse_deviation(statistics), -CLIP, CLIP)
    return RewardScaler(discounted=discounted, statistics=statistics), scaled
