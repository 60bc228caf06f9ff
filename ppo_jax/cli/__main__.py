"""Lets `python -m ppo_jax.cli` do what `ppo-jax` does."""

from ppo_jax.cli import main

if __name__ == "__main__":
    main()
