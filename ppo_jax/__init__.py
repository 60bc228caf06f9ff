"""Proximal Policy Optimization (Schulman et al. 2017) in JAX, compiled end to end.

Public names are loaded when they are first used, so `import ppo_jax` and the command line start at once. JAX
is imported with the first name that needs it.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_jax.algorithm.agent import Agent as Agent
    from ppo_jax.algorithm.agent import act as act
    from ppo_jax.algorithm.evaluate import evaluate as evaluate
    from ppo_jax.algorithm.gae import gae as gae
    from ppo_jax.algorithm.known import register_policy as register_policy
    from ppo_jax.algorithm.loss import clipped_surrogate as clipped_surrogate
    from ppo_jax.algorithm.loss import ppo_loss as ppo_loss
    from ppo_jax.algorithm.loss import probability_ratio as probability_ratio
    from ppo_jax.algorithm.metrics import Metrics as Metrics
    from ppo_jax.algorithm.teacher import Teacher as Teacher
    from ppo_jax.algorithm.teacher import make_teacher as make_teacher
    from ppo_jax.algorithm.train import TrainState as TrainState
    from ppo_jax.algorithm.train import agent_of as agent_of
    from ppo_jax.algorithm.train import make_ppo as make_ppo
    from ppo_jax.algorithm.train import train as train
    from ppo_jax.config import Config as Config
    from ppo_jax.config import Hyperparams as Hyperparams
    from ppo_jax.envs.registry import register as register
    from ppo_jax.errors import RunError as RunError
    from ppo_jax.errors import UsageError as UsageError
    from ppo_jax.host.export.loading import load_policy as load_policy
    from ppo_jax.host.programs.chunks import compiler_options as compiler_options
    from ppo_jax.host.python import Run as Run
    from ppo_jax.host.python import Training as Training
    from ppo_jax.host.python import open_run as open_run
    from ppo_jax.host.python import run as run
    from ppo_jax.host.python import start_run as start_run
    from ppo_jax.host.runs.halving import Halving as Halving
    from ppo_jax.host.runs.points import Range as Range
    from ppo_jax.host.runs.population import Population as Population
    from ppo_jax.host.sweeps import Sweep as Sweep
    from ppo_jax.host.sweeps import SweepOptions as SweepOptions
    from ppo_jax.host.sweeps import grid as grid
    from ppo_jax.host.sweeps import open_sweep as open_sweep
    from ppo_jax.host.sweeps import run_sweep as run_sweep
    from ppo_jax.host.sweeps import sample as sample
    from ppo_jax.presets import preset as preset
    from ppo_jax.registered import environment as environment
    from ppo_jax.registered import network as network
    from ppo_jax.registered import register_network as register_network
    from ppo_jax.scale.sharding import shard as shard
    from ppo_jax.scale.sweep import sweep as sweep
    from ppo_jax.scale.warm_start import warm_start as warm_start
    from ppo_jax.validation import validate as validate

_HOMES = {
    "Agent": "algorithm.agent",
    "Config": "config",
    "Halving": "host.runs.halving",
    "Hyperparams": "config",
    "Metrics": "algorithm.metrics",
    "Population": "host.runs.population",
    "Range": "host.runs.points",
    "Run": "host.python",
    "RunError": "errors",
    "Sweep": "host.sweeps",
    "SweepOptions": "host.sweeps",
    "Teacher": "algorithm.teacher",
    "TrainState": "algorithm.train",
    "Training": "host.python",
    "UsageError": "errors",
    "act": "algorithm.agent",
    "agent_of": "algorithm.train",
    "clipped_surrogate": "algorithm.loss",
    "compiler_options": "host.programs.chunks",
    "environment": "registered",
    "evaluate": "algorithm.evaluate",
    "gae": "algorithm.gae",
    "grid": "host.sweeps",
    "load_policy": "host.export.loading",
    "make_ppo": "algorithm.train",
    "make_teacher": "algorithm.teacher",
    "network": "registered",
    "open_run": "host.python",
    "open_sweep": "host.sweeps",
    "ppo_loss": "algorithm.loss",
    "preset": "presets",
    "probability_ratio": "algorithm.loss",
    "register": "envs.registry",
    "register_network": "registered",
    "register_policy": "algorithm.known",
    "run": "host.python",
    "run_sweep": "host.sweeps",
    "sample": "host.sweeps",
    "start_run": "host.python",
    "shard": "scale.sharding",
    "sweep": "scale.sweep",
    "train": "algorithm.train",
    "validate": "validation",
    "warm_start": "scale.warm_start",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppo_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ppo_jax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]
