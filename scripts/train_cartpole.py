"""Trains PPO on CartPole-v1 from Python: one call trains, shows, saves and evaluates."""

import ppo_jax


def main() -> None:
    """Trains, and prints when the task was solved and how good the policy is in the end."""
    config, hyper = ppo_jax.preset("CartPole-v1")
    run = ppo_jax.run(config, hyper, seed=0)
    solved, final = run.summary["solved"], run.summary["evaluation"]
    print(f"solved after {solved['env_steps']:,} steps" if solved else "not solved")
    print(
        f"greedy evaluation: mean return {final['mean']:.1f} over {final['episodes']} episodes in {run.path}"
    )


if __name__ == "__main__":
    main()
