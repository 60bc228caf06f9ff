"""Trains with a file that follows the convention of PureJaxRL: `make_train(config)` returns `train(rng)`.

The file belongs to somebody's own checkout, and is loaded by its path: `--peer-path purejaxrl/ppo.py` in a
checkout of PureJaxRL, whose files need no change. What it returns is computed and thrown away. A time limit
counts as a failure there, and episodes are logged at every step.
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fixed_length
from protocol import Job, Ready, UnsupportedError, serve


def prepare(job: Job) -> Ready:
    """Compiles a training of about the length asked for."""
    make_train_from = load(Path(job.source))

    def make_train(total_timesteps: int) -> Any:
        return make_train_from(
            {
                "LR": 2.5e-4,
                "NUM_ENVS": job.num_envs,
                "NUM_STEPS": job.num_steps,
                "TOTAL_TIMESTEPS": total_timesteps,
                "UPDATE_EPOCHS": job.num_epochs,
                "NUM_MINIBATCHES": job.num_minibatches,
                "GAMMA": 0.99,
                "GAE_LAMBDA": 0.95,
                "CLIP_EPS": 0.2,
                "ENT_COEF": 0.01,
                "VF_COEF": 0.5,
                "MAX_GRAD_NORM": 0.5,
                "ACTIVATION": "tanh",
                "ENV_NAME": job.env,
                "ANNEAL_LR": True,
                "DEBUG": False,
            }
        )

    return fixed_length.prepare(job, "", make_train)


def load(path: Path) -> Callable[[dict[str, Any]], Any]:
    """Loads a file of Python, and returns its `make_train`."""
    # Files of a checkout import their neighbours, or the package they are in.
    sys.path += [str(path.parent), str(path.parent.parent)]
    spec = importlib.util.spec_from_file_location("single_file", path)
    if spec is None or spec.loader is None:
        raise UnsupportedError(f"{path} is not a file of Python")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "make_train"):
        raise UnsupportedError(f"{path.name} does not define make_train(config)")
    return module.make_train


if __name__ == "__main__":
    serve(prepare)
