"""Compares two checkouts of the package: do they train to the same bits?

    python tests/support/compare_bits.py OLD_CHECKOUT NEW_CHECKOUT

Each configuration below is trained for 20 updates from each checkout, in a process of its own. The parameters
and every metric are then compared bit by bit. Only public names are used, so the layouts may differ.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

UPDATES = 20
SMALL = {"num_envs": 8, "num_steps": 32, "num_minibatches": 4, "num_epochs": 3, "hidden_sizes": (16, 16)}
NORMALIZING = {"normalize_observations": True, "normalize_rewards": True}
# By name: fields of Config, fields of Hyperparams, and the number of seeds trained at once.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int | None]] = {
    "Discrete": ({"env": "CartPole-v1"}, {}, None),
    "Box, normalized": ({"env": "Pendulum-v1", **NORMALIZING}, {"gamma": 0.9}, None),
    "MultiDiscrete": ({"env": "Levers-v0"}, {"value_clip_epsilon": 0.2}, None),
    "GRU": ({"env": "MemoryChain-bsuite", "memory_size": 8}, {}, None),
    "CNN": ({"env": "Breakout-MinAtar", "shared_torso": True, "activation": "relu"}, {}, None),
    "adaptive KL": (
        {"env": "CartPole-v1", "objective": "adaptive_kl", "learning_rate_schedule": "adaptive_kl"},
        {"desired_kl": 0.003},
        None,
    ),
    "target KL": (
        {"env": "Acrobot-v1", "learning_rate_schedule": "cosine", "entropy_schedule": "linear"},
        {"target_kl": 0.003, "learning_rate": 3e-3},
        None,
    ),
    "64 seeds": ({"env": "CartPole-v1"}, {"learning_rate": 1e-3}, 64),
}


def main(old: str, new: str) -> int:
    """Trains every case from both checkouts, prints a table; 0 if all bits are the same."""
    results = [measure(checkout) for checkout in (old, new)]
    differing = 0
    for case in CASES:
        one, other = (result[case] for result in results)
        unequal = [name for name in one if one[name] != other.get(name)]
        differing += bool(unequal)
        print(f"{case:<20} {'differs in ' + ', '.join(unequal) if unequal else 'the same bits'}")
    return int(differing > 0)


def measure(checkout: str) -> dict[str, dict[str, str]]:
    """Trains all cases from one checkout in a new process, and returns their digests."""
    environment = os.environ | {"PYTHONPATH": str(Path(checkout).resolve()), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(Path(__file__).resolve()), "--train"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True, cwd="/")
    result = json.loads(done.stdout)
    if Path(result.pop("checkout")) != Path(checkout).resolve():
        raise RuntimeError(f"the package was not imported from {checkout}")
    return result


def train_all() -> dict[str, Any]:
    """Trains all cases with the package that this process imports."""
    import jax
    import numpy as np

    import ppo_jax

    register_levers()
    digests: dict[str, Any] = {"checkout": str(Path(ppo_jax.__file__).parents[1])}
    for case, (fields, hyper, num_seeds) in CASES.items():
        config = ppo_jax.Config(**{**SMALL, "total_timesteps": 8 * 32 * UPDATES, **fields})
        train, key = ppo_jax.train, jax.random.key(3)
        if num_seeds is not None:
            train, key = jax.vmap(train, (None, None, 0)), jax.random.split(key, num_seeds)
        run = jax.jit(train, static_argnums=0)
        state, metrics = jax.device_get(run(config, ppo_jax.Hyperparams(**hyper), key))
        leaves = {
            **metrics._asdict(),
            **{
                f"params{jax.tree_util.keystr(path)}": leaf
                for path, leaf in jax.tree.leaves_with_path(state.learner.params)
            },
        }
        digests[case] = {
            name: hashlib.sha256(widened(np.asarray(leaf)).tobytes()).hexdigest()
            for name, leaf in leaves.items()
        }
    return digests


def widened(array: Any) -> Any:
    """Returns whole numbers as int64, because env_steps had 32 bits once; anything else as it is."""
    return array.astype("int64") if array.dtype.kind in "iu" else array


def register_levers() -> None:
    """Registers a gymnax class with a tuple of discrete actions: pull the levers that the state names."""
    import gymnax
    import jax
    import jax.numpy as jnp
    from flax import struct
    from gymnax.environments import environment, spaces

    @struct.dataclass
    class State(environment.EnvState):
        wanted: jax.Array

    class Levers(environment.Environment):
        default_params = gymnax.EnvParams(max_steps_in_episode=10)

        def reset_env(self, key, params):
            state = State(time=0, wanted=jax.random.randint(key, (2,), 0, 3))
            return self.get_obs(state), state

        def step_env(self, key, state, action, params):
            reward = (jnp.stack(action) == state.wanted).mean()
            state = State(time=state.time + 1, wanted=jax.random.randint(key, (2,), 0, 3))
            return self.get_obs(state), state, reward, jnp.array(False), {}

        def get_obs(self, state, params=None, key=None):
            return state.wanted.astype(jnp.float32)

        def observation_space(self, params):
            return spaces.Box(0.0, 2.0, (2,))

        def action_space(self, params):
            return spaces.Tuple([spaces.Discrete(3), spaces.Discrete(3)])

    gymnax.register("Levers-v0", Levers)


if __name__ == "__main__":
    if sys.argv[1:] == ["--train"]:
        print(json.dumps(train_all()))
    else:
        sys.exit(main(*sys.argv[1:]))
