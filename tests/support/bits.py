"""Are two results the same to the last bit, in this process and in another one?"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np


def digest(tree):
    """Of all leaves, of keys as their words."""
    return hashlib.sha256(b"".join(leaf.tobytes() for leaf in _numbers(tree))).hexdigest()


def _numbers(tree):
    is_key = [jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(tree)]
    leaves = zip(jax.tree.leaves(tree), is_key, strict=True)
    return [np.asarray(jax.random.key_data(leaf) if key else leaf) for leaf, key in leaves]


def python(program, timeout):
    """What a fresh Python process prints; it is stopped after so many seconds."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", "import tests.conftest\n" + program]
    done = subprocess.run(
        command, cwd=root, env={**os.environ, "PYTHONHASHSEED": "1"}, capture_output=True, timeout=timeout
    )
    assert done.returncode == 0, f"exit status {done.returncode}: {done.stderr.decode()}"
    return done.stdout.decode().strip()
