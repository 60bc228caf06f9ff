"""The setup of all tests: several fake CPU devices, no silent broadcasting, a shared compilation cache."""

import atexit
import ctypes
import gc
import importlib
import os
import shutil
import sys
import tempfile
from importlib.metadata import version

from packaging.version import Version

# Most tests compile for longer than they compute: without optimization, and with the older of two ways to
# generate code, they compile in half of the time. jax 0.11 has only the newer one, and aborts at a flag that
# it does not know.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + (
    " --xla_force_host_platform_device_count=8"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
    " --xla_cpu_parallel_codegen_split_count=1"
)
if Version(version("jax")) < Version("0.10"):
    os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"  # programs do not note which lines they came from
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    # Workers and other processes inherit it, so that each program is compiled once in the whole run.
    folder = tempfile.mkdtemp(prefix="ppo-jax-tests-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"

import jax
import numpy as np
import pytest

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_numpy_rank_promotion", "raise")


# What takes minutes is begun first, so that no worker is still busy when the others have nothing left.
LONGEST_FIRST = (
    "tests/pages/test_notebook.py",
    "tests/pages/test_blocks.py",
    "tests/algorithm/test_modes.py",
    "tests/survival",
    "tests/learning",
    "tests/host/test_sweeps.py",
    "tests/host/test_population.py",
    "tests/test_conformance.py",
    "tests/pages",
    "tests/host",
    "tests/algorithm",
)


def pytest_addoption(parser):
    parser.addoption(
        "--library", help="the library of environments that tests/libraries tests; none by default"
    )


def pytest_collection_modifyitems(items):
    def place(item):
        begun = [i for i, path in enumerate(LONGEST_FIRST) if item.nodeid.startswith(path)]
        return min(begun, default=len(LONGEST_FIRST))

    items.sort(key=place)


@pytest.fixture(scope="module", autouse=True)
def clear_compiled_programs():
    """Frees the programs of a test module, so that workers stay small; the cache on disk keeps them."""
    yield
    jax.clear_caches()
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)  # the C library would keep what was freed


@pytest.fixture
def seen(monkeypatch):
    """Every minibatch that the loss is given, in order."""
    module, minibatches = importlib.import_module("ppo_jax.algorithm.update"), []
    original = module.ppo_loss

    def note(minibatch):
        minibatches.append(jax.tree.map(np.array, minibatch))

    def noting(config, network, hyper, params, minibatch):
        jax.debug.callback(note, minibatch, ordered=True)
        return original(config, network, hyper, params, minibatch)

    monkeypatch.setattr(module, "ppo_loss", noting)
    return minibatches


def pytest_terminal_summary(terminalreporter, config):
    """Says what the default run leaves out."""
    if config.option.markexpr == "not slow and not long" and "PYTEST_XDIST_WORKER" not in os.environ:
        terminalreporter.write_line(
            "left out: longer tests, which continuous integration runs too (python -m pytest -m long), "
            "slow ones (python -m pytest -n 0 -m slow), and libraries of environments other than gymnax "
            "(scripts/test_libraries.sh LIBRARY...)"
        )
