"""More equations in plain float64 NumPy: statistics, densities, memory; slow, and written from the papers.

Written from Schulman et al. 2017, Chan et al. 1983 and Cho et al. 2014, not from the code that is tested.
"""

from typing import NamedTuple

import numpy as np

from tests.support import oracles


def standardize(samples, x, clip=10.0) -> np.ndarray:
    """Shifts and scales x by the mean and the population deviation of samples [n, ...]."""
    samples, x = np.asarray(samples, np.float64), np.asarray(x, np.float64)
    return np.clip((x - samples.mean(axis=0)) / np.sqrt(samples.var(axis=0) + 1e-8), -clip, clip)


def discounted_sums(rewards, done, gamma) -> np.ndarray:
    """The discounted sum of the rewards of the episode so far, from the definition; all [T, N]."""
    rewards, sums = np.asarray(rewards, np.float64), np.zeros(np.shape(rewards))
    for t, n in np.ndindex(sums.shape):
        ends = [i for i in range(t) if done[i][n]]
        first = ends[-1] + 1 if ends else 0
        sums[t, n] = sum(gamma ** (t - i) * rewards[i, n] for i in range(first, t + 1))
    return sums


def gaussian_log_prob(mean, log_std, action) -> np.ndarray:
    """Log-density of independent normal components, [..., A] to [...]."""
    mean, log_std, action = (np.asarray(x, np.float64) for x in (mean, log_std, action))
    density = -((action - mean) ** 2) / (2 * np.exp(2 * log_std)) - log_std - np.log(2 * np.pi) / 2
    return density.sum(axis=-1)


def categorical_kl(log_probs, other_log_probs) -> np.ndarray:
    """KL of the first from the second, [..., A] to [...]."""
    return (np.exp(log_probs) * (log_probs - other_log_probs)).sum(axis=-1)


def gaussian_kl(mean, log_std, other_mean, other_log_std) -> np.ndarray:
    """KL of the first from the second, by cases of one component, [..., A] to [...]."""
    variance, other_variance = np.exp(2 * log_std), np.exp(2 * other_log_std)
    kl = other_log_std - log_std + (variance + (mean - other_mean) ** 2) / (2 * other_variance) - 0.5
    return kl.sum(axis=-1)


class Part(NamedTuple):
    """A number for each of M samples, and its derivative by what the policy puts out, [M, ...]."""

    value: np.ndarray
    slope: dict[str, np.ndarray]


def categorical_parts(logits, old_logits, action) -> tuple[Part, Part, Part]:
    """log pi(a), entropy and KL(old || pi) of each sample, with derivatives by the logits."""
    log_probs, old_log_probs = oracles.log_softmax(logits), oracles.log_softmax(old_logits)
    probs, entropy = np.exp(log_probs), oracles.entropy(log_probs)
    chosen = np.eye(logits.shape[-1])[action]
    return (
        Part((chosen * log_probs).sum(axis=-1), {"logits": chosen - probs}),
        Part(entropy, {"logits": -probs * (log_probs + entropy[:, None])}),
        Part(categorical_kl(old_log_probs, log_probs), {"logits": probs - np.exp(old_log_probs)}),
    )


def gaussian_parts(mean, log_std, old_mean, old_log_std, action) -> tuple[Part, Part, Part]:
    """log pi(a), entropy and KL(old || pi) of each sample, with derivatives by mean and log_std, [M, A]."""
    variance, distance = np.exp(2 * log_std), action - mean
    moved = np.exp(2 * old_log_std) + (old_mean - mean) ** 2
    zero = np.zeros_like(mean)
    return (
        Part(
            gaussian_log_prob(mean, log_std, action),
            {"mean": distance / variance, "log_std": distance**2 / variance - 1},
        ),
        Part(
            (log_std + np.log(2 * np.pi * np.e) / 2).sum(axis=-1),
            {"mean": zero, "log_std": zero + 1},
        ),
        Part(
            gaussian_kl(old_mean, old_log_std, mean, log_std),
            {"mean": (mean - old_mean) / variance, "log_std": 1 - moved / variance},
        ),
    )


class Objective(NamedTuple):
    """The kind of objective with its numbers."""

    kind: str
    clip_epsilon: float
    kl_coefficient: float
    entropy_coefficient: float


def policy_loss(objective: Objective, advantage, old_log_prob, parts) -> tuple[float, dict[str, np.ndarray]]:
    """-surrogate - c2 * entropy (Eqs. 6, 7, 8), and its derivative by what the policy puts out, [M, ...]."""
    log_prob, entropy, kl = parts
    ratio = np.exp(log_prob.value - old_log_prob)
    surrogate, by_log_prob, by_kl = ratio * advantage, ratio * advantage, 0.0
    if objective.kind == "clipped":
        bound = np.where(advantage > 0, 1 + objective.clip_epsilon, 1 - objective.clip_epsilon)
        is_flat = (ratio - bound) * advantage > 0
        surrogate = np.where(is_flat, bound * advantage, surrogate)
        by_log_prob = np.where(is_flat, 0.0, by_log_prob)
    elif objective.kind != "unclipped":
        surrogate = surrogate - objective.kl_coefficient * kl.value
        by_kl = -objective.kl_coefficient
    slope = {
        name: -(
            by_log_prob[:, None] * log_prob.slope[name]
            + by_kl * kl.slope[name]
            + objective.entropy_coefficient * entropy.slope[name]
        )
        / len(advantage)
        for name in log_prob.slope
    }
    return (-surrogate - objective.entropy_coefficient * entropy.value).mean(), slope


def gru(weights, memory, x) -> np.ndarray:
    """The next memory: r, z = sigmoid(...), n = tanh(W x + b + r (U h + c)), h' = (1 - z) n + z h.

    In the variant of Chung et al. 2014, where the reset gate multiplies U h rather than h.
    """
    take_in = {gate: x @ weights[f"i{gate}"]["kernel"] + weights[f"i{gate}"]["bias"] for gate in "rzn"}
    recall = {gate: memory @ weights[f"h{gate}"]["kernel"] for gate in "rzn"}
    reset, keep = (1 / (1 + np.exp(-(take_in[gate] + recall[gate]))) for gate in "rz")
    new = np.tanh(take_in["n"] + reset * (recall["n"] + weights["hn"]["bias"]))
    return (1 - keep) * new + keep * memory
