"""What the program runs on: versions and hardware, for results that can be compared."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("ppo-jax", "jax", "jaxlib", "flax", "optax", "chex", "gymnax", "numpy")


def versions() -> dict[str, str]:
    """Returns the version of Python and of every package that decides the result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def hardware() -> dict[str, Any]:
    """Returns the devices JAX computes on, and the host's processor."""
    devices = jax.devices()
    return {
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "cpu": _cpu_name(),
        "cpu_count": os.cpu_count(),
        "system": platform.platform(),
    }


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
