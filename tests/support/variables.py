"""The environment variables of processes that tests start."""

import os

DEVICES = 2  # more of them than there are cores take longer


def of_this_process() -> dict[str, str]:
    """Those of this process, but for the one that the package sets to keep XLA quiet: each has to set it."""
    return {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}


def compiling_soon(devices: int | None = DEVICES) -> dict[str, str]:
    """Those of this process, with its flags for XLA, which compiles soon and computes slowly.

    Args:
        devices: The number of devices; if None, the program that is started decides.
    """
    flags = [flag for flag in os.environ["XLA_FLAGS"].split() if "device_count" not in flag]
    making = [] if devices is None else [_making(devices)]
    return {**of_this_process(), "XLA_FLAGS": " ".join([*flags, *making])}


def computing_fast() -> dict[str, str]:
    """Those of this process, but with XLA's optimizer: for what trains for longer than it compiles."""
    return {**of_this_process(), "XLA_FLAGS": f"--xla_backend_optimization_level=1 {_making(DEVICES)}"}


def _making(devices: int) -> str:
    return f"--xla_force_host_platform_device_count={devices}"
