"""Lets `python -m ppo_jax.cli` do what `ppo-jax` does."""

from ppo_jax.cli.program import main

if __name__ == "__main__":
    main()
