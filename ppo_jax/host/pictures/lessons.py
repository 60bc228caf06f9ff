"""Draws the two teaching figures with the functions that training itself uses."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from ppo_jax.algorithm.gae import gae
from ppo_jax.algorithm.loss import clipped_surrogate
from ppo_jax.host.pictures.style import COLORS, GUIDE, HEALTHY, save

CLIP_EPSILON = 0.2
NUM_STEPS = 20
BASELINE = 5.0
GAMMA = 0.7  # even an endless stream is worth only 1 / (1 - 0.7) = 3.3, so the baseline is too high
LAMBDAS = (0.0, 0.5, 0.95, 1.0)
_NOTES = (" (TD error: all bias)", "", "", " (return − V: no bias)")
_MARKERS = ("o", "s", "^", "D")
_LINES = (":", "-.", "--", "-")


def draw(directory: Path) -> list[Path]:
    """Draws both figures and writes them to a directory.

    Args:
        directory: The directory for the pictures; it is created if need be.

    Returns:
        The paths of the pictures.

    Raises:
        UsageError: If they cannot be written there.
    """
    pictures = {"clipped_surrogate.png": surrogate_figure(), "gae.png": gae_figure()}
    for name, figure in pictures.items():
        save(figure, directory / name)
    return [directory / name for name in pictures]


def surrogate_figure() -> Figure:
    """Draws Eq. 7 against the probability ratio, for a good and for a bad action (the paper's Figure 1)."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    axes = figure.subplots(1, 2)
    ratio = np.linspace(0, 2, 401, dtype=np.float32)
    for ax, advantage in zip(axes, (1.0, -1.0), strict=True):
        objective = clipped_surrogate(jnp.asarray(ratio), jnp.float32(advantage), CLIP_EPSILON)
        ax.axvspan(1 - CLIP_EPSILON, 1 + CLIP_EPSILON, color=HEALTHY, label="clip range 1 ± ε")
        ax.axhline(0, color=GUIDE, linewidth=0.6)
        ax.plot(ratio, ratio * advantage, "--", color=COLORS[1], label="r · A")
        ax.plot(ratio, objective, "-", color=COLORS[0], linewidth=2.2, label="min(r · A, clip(r) · A)")
        ax.plot([1], [advantage], "o", color="black", label="r = 1: where each update starts")
        ax.set_xticks([0, 1 - CLIP_EPSILON, 1, 1 + CLIP_EPSILON, 2], ["0", "1−ε", "1", "1+ε", "2"])
        ax.set_xlabel("probability ratio r")
        ax.set_yticks([0, advantage], ["0", "A"])
    axes[0].set_title("A > 0: no reward for moving beyond 1 + ε", fontsize="medium")
    axes[1].set_title("A < 0: no reward for moving below 1 − ε", fontsize="medium")
    axes[0].set_ylabel("objective of one sample")
    axes[0].legend(loc="upper left", fontsize="small")
    return figure


def gae_figure() -> Figure:
    """Draws the advantages for several values of lambda on a stream whose value is overestimated.

    The reward is 1 at each of 20 steps, after which the stream terminates. The baseline is 5 at every step,
    which is more than even an endless stream is worth at this discount.
    """
    figure = Figure(figsize=(8, 4.4), layout="constrained")
    ax = figure.subplots()
    ax.axhline(0, color=GUIDE, linewidth=0.6)
    steps = np.arange(NUM_STEPS)
    rewards, values = jnp.ones(NUM_STEPS), jnp.full(NUM_STEPS, BASELINE)
    is_last = jnp.asarray(steps == NUM_STEPS - 1)
    curves = zip(LAMBDAS, _NOTES, COLORS, _MARKERS, _LINES, strict=False)
    for gae_lambda, note, color, marker, line in curves:
        advantages = gae(rewards, values, values, is_last, is_last, GAMMA, gae_lambda)
        label = f"λ = {gae_lambda:g}{note}"
        ax.plot(steps, advantages, line, marker=marker, color=color, markersize=5, label=label)
    ax.set_xticks(steps[:: NUM_STEPS // 10])
    ax.set_xlabel("step t")
    ax.set_ylabel("advantage estimate")
    ax.set_title(
        f"GAE: reward 1 at each of {NUM_STEPS} steps, baseline V = {BASELINE:g} (too high), γ = {GAMMA:g}",
        fontsize="medium",
    )
    ax.legend(loc="lower left")
    return figure
