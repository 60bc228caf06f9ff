"""The packages that ppo_jax is compared with, and what has to be installed for each."""

from pathlib import Path
from typing import NamedTuple

OURS = "ours"
WORKERS = Path(__file__).parent / "workers"


class PeerError(Exception):
    """The reason why a peer has no result, in one line."""


class Peer(NamedTuple):
    """One way to train.

    Attributes:
        name: The name in the table.
        script: The program of the worker.
        requirements: What pip installs into an environment for it; without any it runs in the current one.
        source: The file with the training, for the worker that loads one.
    """

    name: str
    script: Path
    requirements: tuple[str, ...] = ()
    source: Path | None = None


_JAX = ("jax==0.11.2", "jaxlib==0.11.2", "flax==0.12.12", "optax==0.2.8", "numpy==2.5.5")
_GYMNAX = ("gymnax==0.0.9", "gymnasium==1.4.0", "distrax==0.1.9", "chex==0.1.92")
_STABLE_BASELINES = ("stable-baselines3==2.9.2", "torch==2.15.0", "gymnasium==1.4.0")

PEERS = {
    peer.name: peer
    for peer in (
        Peer(OURS, WORKERS / "ours_worker.py"),
        Peer("rejax", WORKERS / "rejax_worker.py", ("rejax==0.1.3", *_JAX, *_GYMNAX)),
        Peer("sb3", WORKERS / "sb3_worker.py", (*_STABLE_BASELINES, "numpy==2.5.5")),
        Peer("sbx", WORKERS / "sbx_worker.py", ("sbx-rl==0.28.0", *_STABLE_BASELINES, *_JAX)),
        Peer(
            "brax",
            WORKERS / "brax_worker.py",
            (
                "brax==0.14.2",
                "jax==0.9.2",  # 0.11 lacks `jax.device_put_replicated`, which this version calls
                "jaxlib==0.9.2",
                "flax==0.12.6",
                "optax==0.2.8",
                "mujoco==4.0.0",
                "mujoco-mjx==3.17.0",
                "numpy==2.5.5",
            ),
        ),
    )
}


def single_file(source: Path) -> Peer:
    """Makes a peer of a file in somebody's own checkout.

    Args:
        source: The file, which defines `make_train(config)`.
    """
    return Peer(source.name, WORKERS / "single_file_worker.py", (*_JAX, *_GYMNAX), source.resolve())
