"""Lets `python -m ppo_jax` do what `ppo-jax` does."""

from ppo_jax.cli import main

if __name__ == "__main__":
    main()
