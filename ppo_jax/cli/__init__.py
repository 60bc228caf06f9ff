"""The program `ppo-jax`: one class for each command, and one row in a table for each class."""

from ppo_jax.cli.program import main as main
