"""Describes what the program runs on: code, versions, hardware and RAM, so that results can be compared."""

import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import psutil

GIT_SECONDS = 3.0  # if git takes longer, no commit is named
_PACKAGES = ("ppo-jax", "jax", "jaxlib", "flax", "optax", "chex", "gymnax", "numpy")


def versions() -> dict[str, str]:
    """Returns the versions of Python and of every package that influences the result."""
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in _PACKAGES}}


def hardware() -> dict[str, Any]:
    """Describes the devices that JAX computes on, and the host's processor."""
    devices, info = jax.devices(), Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "backend": jax.default_backend(),
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "cpu": names[0] if names else platform.processor(),
        "cpu_count": os.cpu_count(),
        "system": platform.platform(),
    }


def memory() -> dict[str, int | None]:
    """Returns bytes of RAM: of this process, of the host, and of the first device; None if unknown."""
    host = psutil.virtual_memory()
    device = jax.local_devices()[0].memory_stats() or {}  # a CPU has none of its own
    return {
        "process_peak": _peak_resident(),
        "host_total": host.total,
        "host_available": host.available,
        "device_limit": device.get("bytes_limit"),
        "device_peak": device.get("peak_bytes_in_use"),
    }


def git_commit(directory: Path) -> dict[str, Any] | None:
    """Returns the commit that a directory is at, and whether its files differ from that commit.

    Args:
        directory: Any directory of the user's project.

    Returns:
        `commit`, and `changed`: whether files that git tracks have changes that are not committed. None
        outside of a repository, before its first commit, without git, or if git does not answer in time.
    """
    # git must not ask for anything, write to the repository, or start a program that the repository names.
    command = ("git", "-c", "core.fsmonitor=false", "status", "--porcelain=v2", "--branch")
    quiet = {"GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            (*command, "--untracked-files=no"),
            cwd=directory,
            env=os.environ | quiet,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    lines = answer.stdout.decode(errors="replace").splitlines()
    headers = dict(line[2:].split(" ", 1) for line in lines if line.startswith("# "))
    if headers["branch.oid"] == "(initial)":
        return None
    return {"commit": headers["branch.oid"], "changed": any(not line.startswith("# ") for line in lines)}


def _peak_resident() -> int | None:
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the others count KiB
