"""The equations of the papers in plain float64 NumPy: slow, without JAX, and with gradients by hand.

Written from the papers (Schulman et al. 2016 and 2017, Kingma & Ba 2015), not from the code that is
tested, and where possible in another form: sums from the definition, cases instead of minima.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Params = dict[str, np.ndarray]


def gae(rewards, values, next_values, terminated, truncated, gamma, gae_lambda) -> np.ndarray:
    """A_t = sum over l of (gamma lambda)^l delta_{t+l}, up to the end of the episode; all [T, ...]."""
    rewards, values, next_values = (np.asarray(x, np.float64) for x in (rewards, values, next_values))
    advantages = np.zeros_like(rewards)
    for start in range(len(rewards)):
        weight = np.ones_like(rewards[start])
        for t in range(start, len(rewards)):
            successor = np.where(terminated[t], 0.0, next_values[t])
            advantages[start] += weight * (rewards[t] + gamma * successor - values[t])
            weight = weight * gamma * gae_lambda * ~(terminated[t] | truncated[t])
    return advantages


def log_softmax(logits) -> np.ndarray:
    """[..., A]"""
    logits = np.asarray(logits, np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def entropy(log_probs: np.ndarray) -> np.ndarray:
    """[..., A] to [...]"""
    return -(np.exp(log_probs) * log_probs).sum(axis=-1)


def normalize(advantage: np.ndarray) -> np.ndarray:
    """Mean 0, population deviation 1; a single sample is left alone."""
    if len(advantage) == 1:
        return advantage
    mean = advantage.sum() / len(advantage)
    deviation = np.sqrt(((advantage - mean) ** 2).sum() / len(advantage))
    return (advantage - mean) / (deviation + 1e-8)


class Samples(NamedTuple):
    """M samples: observation [M, D], the rest [M]."""

    observation: np.ndarray
    action: np.ndarray
    log_prob: np.ndarray
    value: np.ndarray
    advantage: np.ndarray
    target: np.ndarray


class Knobs(NamedTuple):
    """The numbers in the loss."""

    clip_epsilon: float
    value_clip_epsilon: float
    value_coefficient: float
    entropy_coefficient: float


class Loss(NamedTuple):
    """The loss, its parts, and its gradient with respect to the parameters.

    `kink` is the distance to the nearest point at which the loss has no derivative.
    """

    loss: float
    policy_loss: float
    value_loss: float
    entropy: float
    approx_kl: float
    clip_fraction: float
    clamp_fraction: float
    gradient: Params
    kink: float


def ppo_loss(params: Params, samples: Samples, knobs: Knobs, normalized: bool) -> Loss:
    """The loss for logits = s W and V = s w, where W = params["actor"] and w = params["critic"]."""
    samples = Samples(*(np.asarray(x, np.int64 if x is samples.action else np.float64) for x in samples))
    surrogate, d_log_prob, policy = _policy_part(params, samples, knobs, normalized)
    error, d_value, value_kink = _value_part(params, samples, knobs)
    log_probs = log_softmax(samples.observation @ params["actor"])
    probs, entropies = np.exp(log_probs), entropy(log_probs)

    count = len(samples.action)
    chosen = np.eye(probs.shape[1])[samples.action]
    d_surrogate = d_log_prob[:, None] * (chosen - probs)  # d log softmax_a / d logits = 1_a - p
    d_entropy = -probs * (log_probs + entropies[:, None])
    d_logits = (-d_surrogate - knobs.entropy_coefficient * d_entropy) / count
    d_values = knobs.value_coefficient * d_value / count
    return Loss(
        loss=-surrogate.mean()
        + knobs.value_coefficient * error.mean()
        - knobs.entropy_coefficient * entropies.mean(),
        policy_loss=-surrogate.mean(),
        value_loss=error.mean(),
        entropy=entropies.mean(),
        approx_kl=(policy.ratio - 1 - np.log(policy.ratio)).mean(),
        clip_fraction=policy.is_clipped.mean(),
        clamp_fraction=policy.is_clamped.mean(),
        gradient={"actor": samples.observation.T @ d_logits, "critic": samples.observation.T @ d_values},
        kink=min(policy.kink, value_kink),
    )


class _Policy(NamedTuple):
    ratio: np.ndarray
    is_clipped: np.ndarray
    is_clamped: np.ndarray
    kink: float


def _policy_part(params: Params, samples: Samples, knobs: Knobs, normalized: bool):
    """The surrogate of each sample and its derivative with respect to log pi(a | s), by cases (Fig. 1)."""
    advantage = normalize(samples.advantage) if normalized else samples.advantage
    log_probs = log_softmax(samples.observation @ params["actor"])
    log_ratio = log_probs[np.arange(len(samples.action)), samples.action] - samples.log_prob
    is_clamped = (log_ratio > 20) | (log_ratio < -20)
    ratio = np.exp(np.clip(log_ratio, -20, 20))

    high, low = 1 + knobs.clip_epsilon, 1 - knobs.clip_epsilon
    is_flat = np.where(advantage > 0, ratio > high, ratio < low)
    bound = np.where(advantage > 0, high, low)
    surrogate = np.where(is_flat, np.where(is_flat, bound, 0) * advantage, ratio * advantage)
    derivative = np.where(is_flat | is_clamped, 0.0, ratio * advantage)
    kinks = np.abs(np.stack([ratio - high, ratio - low, log_ratio - 20, log_ratio + 20]))
    return surrogate, derivative, _Policy(ratio, (ratio > high) | (ratio < low), is_clamped, kinks.min())


def _value_part(params: Params, samples: Samples, knobs: Knobs):
    """The squared error of each sample, the larger of two if clipped, and its derivative."""
    value = samples.observation @ params["critic"]
    change = value - samples.value
    is_held = np.abs(change) > knobs.value_clip_epsilon
    bound = samples.value + np.where(is_held, np.sign(change) * knobs.value_clip_epsilon, 0.0)
    free, held = (value - samples.target) ** 2, (bound - samples.target) ** 2
    is_flat = is_held & (held > free)
    ties = np.where(is_held, np.abs(held - free), np.inf)
    kink = min(np.abs(np.abs(change) - knobs.value_clip_epsilon).min(), ties.min())
    return np.where(is_flat, held, free), np.where(is_flat, 0.0, 2 * (value - samples.target)), kink


class AdamSettings(NamedTuple):
    """What an Adam step takes."""

    rate: float
    epsilon: float
    max_grad_norm: float


def global_norm(gradient: Params) -> float:
    """Length of all gradients as one vector."""
    return np.sqrt(sum((part**2).sum() for part in gradient.values()))


def adam(
    gradient_of: Callable[[Params], Params], params: Params, num_steps: int, settings: AdamSettings
) -> tuple[Params, list[float]]:
    """Adam (Algorithm 1 of its paper) on gradients scaled down to a global norm; also those norms."""
    first = {name: np.zeros_like(part) for name, part in params.items()}
    second, norms = dict(first), []
    for step in range(1, num_steps + 1):
        gradient = gradient_of(params)
        norms.append(global_norm(gradient))
        scale = min(1.0, settings.max_grad_norm / norms[-1])
        first = {name: 0.9 * first[name] + 0.1 * scale * gradient[name] for name in params}
        second = {name: 0.999 * second[name] + 0.001 * (scale * gradient[name]) ** 2 for name in params}
        params = {
            name: params[name]
            - settings.rate
            * (first[name] / (1 - 0.9**step))
            / (np.sqrt(second[name] / (1 - 0.999**step)) + settings.epsilon)
            for name in params
        }
    return params, norms


def finished_episodes(rewards, done) -> list[tuple[float, int]]:
    """(return, length) of every episode that ended in [T, N], by step and then by copy."""
    num_steps, num_envs = np.shape(rewards)
    finished, started = [], [0] * num_envs
    for t in range(num_steps):
        for n in range(num_envs):
            if done[t][n]:
                steps = [float(rewards[i][n]) for i in range(started[n], t + 1)]
                finished.append((sum(steps), len(steps)))
                started[n] = t + 1
    return finished


def window_return(returns: list[float], width: int = 100) -> float:
    """Mean of the last `width` returns; NaN before there are as many."""
    return sum(returns[-width:]) / width if len(returns) >= width else float("nan")
