"""The PPO loss (Eq. 9): probability ratio, surrogate objectives, value error, entropy, diagnostics."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from ppo_jax.algorithm.given import check_arrays, check_leading_axes, check_number, check_shapes
from ppo_jax.algorithm.normalization import standardize
from ppo_jax.config import Config, Hyperparams
from ppo_jax.errors import check_kind
from ppo_jax.networks.network import Memory, Network, Params

# exp overflows float32 at 88.7, and the gradient of the clipped loss is NaN from there on, so the
# log-ratio is clamped to +-20 (a ratio of 4.9e8); how often that happens is reported.
MAX_LOG_RATIO = 20.0
# Magnitude at which advantages and targets saturate: their squares, and their products with the
# largest ratio, then stay finite in float32, even when 1e8 of them are summed.
SATURATION = 1e15


class Samples(NamedTuple):
    """Samples to learn from; the leading axes are [T, N] for a batch and [M] for a minibatch.

    A minibatch of a network with memory holds whole sequences instead, [M / T, T].

    Attributes:
        observation: s, [M, ...].
        action: a, as it was sampled, before it was clipped to any bounds, [M, ...].
        log_prob: log pi_old(a | s), [M].
        value: V_old(s), [M].
        advantage: A, [M].
        target: V_targ, [M].
        policy: pi_old, distributions [M]; None if nothing needs the exact KL.
        memory: The memory of the old network before s, [M, H]; without leaves if the network has none.
        start: An episode begins at s, [M] bool; None if the network has no memory.
        teacher: The policy of the teacher, distributions [M]; None without a teacher.
    """

    observation: Any
    action: jax.Array
    log_prob: jax.Array
    value: jax.Array
    advantage: jax.Array
    target: jax.Array
    policy: Any = None
    memory: Memory = ()
    start: jax.Array | None = None
    teacher: Any = None


class LossInfo(NamedTuple):
    """The parts of the loss and the diagnostics of a gradient step, scalars.

    Attributes:
        policy_loss: Negative surrogate objective, -L^CLIP unless the configuration says otherwise.
        value_loss: Mean squared value error, L^VF.
        entropy: Mean entropy of the policy in nats, S.
        approx_kl: KL(pi_old || pi) in nats, estimated from the samples.
        clip_fraction: Share of samples whose ratio is outside the clip range, in [0, 1].
        clamp_fraction: Share of samples whose log-ratio was clamped to +-20, in [0, 1].
        teacher_kl: KL(teacher || pi) in nats, exact in each state; None without a teacher.
    """

    policy_loss: jax.Array
    value_loss: jax.Array
    entropy: jax.Array
    approx_kl: jax.Array
    clip_fraction: jax.Array
    clamp_fraction: jax.Array
    teacher_kl: jax.Array | None = None


def ppo_loss(
    config: Config, network: Network, hyper: Hyperparams, params: Params, minibatch: Samples
) -> tuple[jax.Array, LossInfo]:
    """Computes the loss to minimize, the negative of the paper's objective.

        L = -L^CLIP + c1 * L^VF - c2 * S        (Eq. 9)

    `config.objective` can replace L^CLIP by one of the paper's other objectives, a row of OBJECTIVES. With a
    teacher, c KL(teacher || pi) is added (see `algorithm.teacher`).

    Args:
        config: The static part of the run; it names the objective and says whether advantages are
            standardized.
        network: The policy and the value function.
        hyper: The hyperparameters; clip range or beta, c1 and c2 are used here.
        params: theta, the parameters to differentiate with respect to.
        minibatch: M samples of the old policy.

    Returns:
        The scalar loss, and its parts.
    """
    check_kind("network", network, Network, "what ppo_jax.networks.make.make_network returns")
    check_kind("minibatch", minibatch, Samples, "what ppo_jax.algorithm.estimate.estimate returns")
    numbers = {name: getattr(minibatch, name) for name in ("log_prob", "value", "advantage", "target")}
    check_arrays(**numbers)
    check_shapes(1, **numbers)
    check_leading_axes(minibatch.log_prob, action=minibatch.action)
    policy, value, _ = network.unroll(params, minibatch.memory, minibatch.observation, minibatch.start)
    log_prob = policy.log_prob(minibatch.action)

    advantage = jnp.clip(minibatch.advantage, -SATURATION, SATURATION)
    target = jnp.clip(minibatch.target, -SATURATION, SATURATION)
    if config.normalize_advantages:
        advantage = standardize(advantage)
    ratio = probability_ratio(log_prob, minibatch.log_prob)
    surrogate = OBJECTIVES[config.objective](hyper, ratio, advantage, minibatch.policy, policy)
    error = value_error(value, minibatch.value, target, hyper.value_clip_epsilon)
    info = LossInfo(
        policy_loss=-surrogate.mean(),
        value_loss=error.mean(),
        entropy=policy.entropy().mean(),
        approx_kl=approximate_kl(log_prob, minibatch.log_prob).mean(),
        clip_fraction=jnp.mean(jnp.abs(ratio - 1) > hyper.clip_epsilon, dtype=jnp.float32),
        clamp_fraction=jnp.mean(jnp.abs(log_prob - minibatch.log_prob) > MAX_LOG_RATIO, dtype=jnp.float32),
    )
    loss = (
        info.policy_loss
        + hyper.value_coefficient * info.value_loss
        - hyper.entropy_coefficient * info.entropy
    )
    if minibatch.teacher is not None:
        teacher_kl = minibatch.teacher.kl(policy).mean()
        info = info._replace(teacher_kl=teacher_kl)
        loss = loss + hyper.teacher_coefficient * teacher_kl
    return loss, info


def probability_ratio(log_prob: jax.Array, old_log_prob: jax.Array) -> jax.Array:
    """Computes how much more probable an action has become: r = pi(a | s) / pi_old(a | s).

    This is r_t(theta) in Section 3 of the paper, computed in log space, where nothing under- or overflows.
    Departure: the log-ratio is clamped to +-20, because far beyond that float32 gradients become NaN.

    Args:
        log_prob: log pi(a | s), a logarithm of a probability or of a density, [...].
        old_log_prob: log pi_old(a | s), likewise, [...].

    Returns:
        r, [...], between exp(-20) and exp(20).

    Raises:
        UsageError: If the shapes do not agree.
    """
    check_arrays(log_prob=log_prob, old_log_prob=old_log_prob)
    return jnp.exp(_log_ratio(log_prob, old_log_prob))


def clipped_surrogate(ratio: jax.Array, advantage: jax.Array, clip_epsilon: jax.Array | float) -> jax.Array:
    """Computes the clipped surrogate objective of each sample, to be maximized (Eq. 7).

        min(r * A, clip(r, 1 - epsilon, 1 + epsilon) * A)

    Args:
        ratio: r, [...], positive.
        advantage: A, [...].
        clip_epsilon: epsilon, positive; inf leaves the surrogate unclipped (Eq. 6).

    Returns:
        The objective, [...], a lower bound of r * A.

    Raises:
        UsageError: If the shapes do not agree, or epsilon is negative.
    """
    check_arrays(ratio=ratio, advantage=advantage)
    check_number("clip_epsilon", clip_epsilon, 0, jnp.inf)
    clipped = jnp.clip(ratio, 1 - clip_epsilon, 1 + clip_epsilon)
    return jnp.minimum(ratio * advantage, clipped * advantage)


def unclipped_surrogate(ratio: jax.Array, advantage: jax.Array) -> jax.Array:
    """Computes the surrogate objective of conservative policy iteration, to be maximized (Eq. 6): r * A.

    It is the paper's first baseline: without clipping or penalty, nothing keeps the policy near the old one.

    Args:
        ratio: r, [...], positive.
        advantage: A, [...].
    """
    return ratio * advantage


def kl_penalized_surrogate(
    ratio: jax.Array, advantage: jax.Array, kl: jax.Array, kl_coefficient: jax.Array | float
) -> jax.Array:
    """Computes the KL-penalized surrogate objective of each sample, to be maximized (Eq. 8).

        r * A - beta * KL(pi_old(. | s) || pi(. | s))

    Args:
        ratio: r, [...], positive.
        advantage: A, [...].
        kl: The exact KL between the policies in each state, in nats, [...].
        kl_coefficient: beta, 0 or more; fixed, or adapted after each update (Section 4).
    """
    return ratio * advantage - kl_coefficient * kl


def value_error(
    value: jax.Array, old_value: jax.Array, target: jax.Array, value_clip_epsilon: jax.Array | float
) -> jax.Array:
    """Computes the squared error of the value function for each sample, (V - V_targ)^2.

    Departure from the paper, off by default (inf): the larger of this error and the error of the value
    clipped to within `value_clip_epsilon` of the old value, as in the original code of PPO.

    Args:
        value: V(s), [...].
        old_value: V_old(s), [...].
        target: V_targ, [...].
        value_clip_epsilon: The largest change of a value before it is clipped, positive; inf is off.
    """
    clipped = jnp.clip(value, old_value - value_clip_epsilon, old_value + value_clip_epsilon)
    return jnp.maximum((value - target) ** 2, (clipped - target) ** 2)


def approximate_kl(log_prob: jax.Array, old_log_prob: jax.Array) -> jax.Array:
    """Estimates KL(pi_old || pi) from actions of the old policy: (r - 1) - log r, in nats.

    Source: Schulman, "Approximating KL Divergence" (2020), estimator k3. It is unbiased, never negative,
    and varies far less than -log r, which is unbiased too.

    Args:
        log_prob: log pi(a | s), [...].
        old_log_prob: log pi_old(a | s), [...].
    """
    log_ratio = _log_ratio(log_prob, old_log_prob)
    return jnp.expm1(log_ratio) - log_ratio


# The objectives by their names in the configuration, each `(hyper, ratio, advantage, pi_old, pi) -> [M]`.
OBJECTIVES: dict[str, Callable[..., jax.Array]] = {
    "clipped": lambda hyper, ratio, advantage, *_: clipped_surrogate(ratio, advantage, hyper.clip_epsilon),
    "unclipped": lambda hyper, ratio, advantage, *_: unclipped_surrogate(ratio, advantage),
    "fixed_kl": lambda hyper, ratio, advantage, old_policy, policy: kl_penalized_surrogate(
        ratio, advantage, old_policy.kl(policy), hyper.kl_coefficient
    ),
}
OBJECTIVES["adaptive_kl"] = OBJECTIVES["fixed_kl"]  # beta changes between updates, see `schedules.steer`


def _log_ratio(log_prob: jax.Array, old_log_prob: jax.Array) -> jax.Array:
    return jnp.clip(log_prob - old_log_prob, -MAX_LOG_RATIO, MAX_LOG_RATIO)
