"""The environment of processes that train for longer than they compile."""

import os


def variables() -> dict[str, str]:
    """The variables of this process, but with XLA's optimizer, which `tests/conftest.py` switches off."""
    level = "xla_backend_optimization_level="
    return {**os.environ, "XLA_FLAGS": os.environ["XLA_FLAGS"].replace(f"{level}0", f"{level}1")}
