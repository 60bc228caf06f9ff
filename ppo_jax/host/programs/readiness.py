"""Makes sure that JAX can compute here, so that a wrong setting is one line and not a traceback."""

import os
import subprocess
import sys
from contextlib import suppress
from importlib.metadata import version

from ppo_jax.errors import UsageError

# Settings for debugging that no run works with, and why.
IMPOSSIBLE = {
    "jax_disable_jit": "a run would take hours without jax.jit (a few steps of ppo_jax.train would not)",
    "jax_debug_nans": "a metric without a value is NaN, and a run looks for any other NaN itself",
    "jax_debug_infs": "a hyperparameter that is off is infinite, and a run looks for others itself",
}
TRY_FLAGS = "from jaxlib import xla_client; xla_client.CompileOptions()"  # reads the flags; takes 0.15 s


def check(num_devices: int | None = None) -> None:
    """Imports JAX and looks for its devices.

    Args:
        num_devices: The number of devices to make of a CPU, unless JAX has started; by default one.

    Raises:
        UsageError: If an environment variable keeps JAX from starting, or makes every run fail.
    """
    if "jax" not in sys.modules:
        _check_flags()
        _silence_false_alarms()
    try:
        import jax
    except ValueError as error:  # a variable has a value that is none of its own
        raise UsageError(f"JAX cannot start: {error}; change the variable, or unset it") from error
    problems = [
        f"{name.upper()} is on, but {reason}; turn it off"
        for name, reason in IMPOSSIBLE.items()
        if getattr(jax.config, name)
    ]
    if problems:
        raise UsageError(problems)
    try:
        if num_devices is not None:
            divide_cpu(num_devices)
        jax.devices()
    except Exception as error:  # JAX raises errors of several kinds
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise UsageError(
            f"JAX_PLATFORMS = {os.environ.get('JAX_PLATFORMS', '')!r}: JAX finds nothing to compute on "
            f"({reason}); unset it, or install what it asks for"
        ) from error


def divide_cpu(number: int) -> None:
    """Makes a CPU count as several devices, unless JAX has started."""
    import jax

    with suppress(RuntimeError):  # JAX has started; there are as many as the user asked for
        jax.config.update("jax_num_cpu_devices", number)


def _silence_false_alarms() -> None:
    """Keeps XLA from calling its own cached programs foreign, in pages of warnings, as that of jax 0.9 does.

    Unless the user has chosen what XLA logs, it logs what ends the process; all else JAX raises.
    """
    if version("jax").startswith("0.9."):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _check_flags() -> None:
    """Lets another process read the flags of XLA, which ends a process at a flag that it does not know.

    Raises:
        UsageError: If that process was ended.
    """
    flags = os.environ.get("XLA_FLAGS")
    if not flags or not sys.executable:
        return
    tried = subprocess.run(
        [sys.executable, "-P", "-c", TRY_FLAGS], capture_output=True, text=True, errors="replace"
    )
    said = [
        line.partition("] ")[2] for line in tried.stderr.splitlines() if "flags" in line.partition("] ")[0]
    ]
    if tried.returncode != 0 and said:  # without a word, something else is the matter
        raise UsageError(
            f"XLA_FLAGS = {flags!r} ends the program ({said[0]}); leave out what XLA does not know"
        )
