"""Trains PPO on CartPole-v1 from Python: one compiled call trains, another one evaluates."""

import time

import jax
import numpy as np

import ppo_jax


def main() -> None:
    """Trains, prints ten lines of progress, and evaluates the policy greedily on 100 fresh episodes."""
    config, hyper = ppo_jax.preset("CartPole-v1")
    key = jax.random.key(0)

    start = time.perf_counter()
    train = jax.jit(ppo_jax.train, static_argnums=0).lower(config, hyper, key).compile()
    print(f"compiled in {time.perf_counter() - start:.1f} s")

    start = time.perf_counter()
    state, metrics = jax.device_get(train(hyper, key))
    print(f"trained for {metrics.env_steps[-1]:,} steps in {time.perf_counter() - start:.1f} s")
    for row in np.linspace(0, config.num_updates - 1, 11, dtype=int)[1:]:
        print(
            f"{metrics.env_steps[row]:>8,} steps  return(100) {metrics.return_window[row]:6.1f}  "
            f"entropy {metrics.entropy[row]:.3f}  clip fraction {metrics.clip_fraction[row]:.2f}"
        )

    evaluate = jax.jit(ppo_jax.evaluate, static_argnums=0)
    returns = evaluate(config, jax.random.key(1), state.learner.params).episode_return
    print(f"greedy evaluation: mean return {returns.mean():.1f} over {len(returns)} episodes")


if __name__ == "__main__":
    main()
