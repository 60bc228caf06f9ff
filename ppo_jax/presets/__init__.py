"""Tuned configurations, one TOML file each, with the results that were recorded for them.

`benchmarks/quotes.py` writes the table `recorded` of each file from the record that it names.
"""

import tomllib
from pathlib import Path
from typing import Any

from ppo_jax.config import Config, Hyperparams, config_from
from ppo_jax.errors import UsageError, closest

_FOLDER = Path(__file__).parent


def preset(name: str) -> tuple[Config, Hyperparams]:
    """Loads a preset.

    Args:
        name: The name of a preset, such as "CartPole-v1".

    Returns:
        The static and the traced part of the run.

    Raises:
        UsageError: If there is no such preset; the message names the closest ones.
    """
    content = read(name)
    hyper = Hyperparams(**{field: float(value) for field, value in content["hyper"].items()})
    return config_from(content["config"]), hyper


def names() -> list[str]:
    """Returns the names of all presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def named_after(env: str) -> str | None:
    """Returns the preset that is named after an environment; None if there is none.

    Args:
        env: The name of the environment, whose colon, as in "navix:Navix-Empty-8x8-v0", becomes a dash.
    """
    name = env.replace(":", "-")
    return name if name in names() else None


def read(name: str) -> dict[str, Any]:
    """Reads the whole file of a preset: the tables `config`, `hyper` and `recorded`.

    Args:
        name: The name of a preset.

    Raises:
        UsageError: If there is no such preset.
    """
    if not isinstance(name, str) or name not in names():
        raise UsageError(f"preset = {name!r} does not exist; {closest(str(name), names())}")
    return tomllib.loads((_FOLDER / f"{name}.toml").read_text())
