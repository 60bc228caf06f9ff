"""Proximal Policy Optimization (Schulman et al. 2017) in JAX, compiled end to end.

The public names are loaded when they are first used, so that `import ppo_jax` and the command line
answer at once; JAX is imported with the first name that needs it.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppo_jax.config import Config as Config
    from ppo_jax.config import Hyperparams as Hyperparams
    from ppo_jax.config import validate as validate
    from ppo_jax.errors import UsageError as UsageError
    from ppo_jax.evaluate import evaluate as evaluate
    from ppo_jax.gae import gae as gae
    from ppo_jax.loss import clipped_surrogate as clipped_surrogate
    from ppo_jax.loss import ppo_loss as ppo_loss
    from ppo_jax.loss import probability_ratio as probability_ratio
    from ppo_jax.presets import preset as preset
    from ppo_jax.sweep import sweep as sweep
    from ppo_jax.train import Metrics as Metrics
    from ppo_jax.train import TrainState as TrainState
    from ppo_jax.train import make_ppo as make_ppo
    from ppo_jax.train import train as train

_HOMES = {
    "Config": "config",
    "Hyperparams": "config",
    "Metrics": "train",
    "TrainState": "train",
    "UsageError": "errors",
    "clipped_surrogate": "loss",
    "evaluate": "evaluate",
    "gae": "gae",
    "make_ppo": "train",
    "ppo_loss": "loss",
    "preset": "presets",
    "probability_ratio": "loss",
    "sweep": "sweep",
    "train": "train",
    "validate": "config",
}

__all__ = sorted(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'ppo_jax' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ppo_jax.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *_HOMES]


class _Package(ModuleType):
    """Keeps `ppo_jax.train` a function after something has imported the module `ppo_jax.train`.

    Importing a submodule binds it to its name in the package; where a public name is the same
    (`evaluate`, `gae`, `sweep`, `train`), the public name wins.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
