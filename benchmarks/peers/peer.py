"""The packages that ppo_jax is compared with: what has to be installed for each, and where it takes part."""

import os
from pathlib import Path
from typing import NamedTuple

from workers.protocol import Job

COMMAND, LIBRARY, PRODUCTS = "ours-command", "ours-library", "products"
WORKERS = Path(__file__).parent / "workers"
CORES = len(os.sched_getaffinity(0))  # that this process may use
OWN, OURS = "own", "ours"  # XLA's own options, and those that the command of ppo_jax compiles with


class PeerError(Exception):
    """The reason why a peer has no result, in one line."""


class Peer(NamedTuple):
    """One way to train.

    Attributes:
        name: The name in the table.
        script: The program of the worker.
        requirements: What pip installs into an environment for it; without any it runs in the current one.
        xla: The options of XLA it is measured with, one after the other.
        everywhere: Whether it is measured with several agents, and pinned to fewer cores, as well.
        most_envs: The most environments that it is measured with.
        source: The file with the training, for the worker that loads one.
    """

    name: str
    script: Path
    requirements: tuple[str, ...] = ()
    xla: tuple[str, ...] = (OWN, OURS)
    everywhere: bool = False
    most_envs: int | None = None
    source: Path | None = None

    def takes(self, job: Job) -> bool:
        """Returns whether the peer is measured at a job."""
        usual = job.agents == 1 and job.cores == CORES
        small = self.most_envs is None or job.num_envs <= self.most_envs
        return small and (usual or self.everywhere)


_JAX = ("jax==0.11.2", "jaxlib==0.11.2", "flax==0.12.12", "optax==0.2.8", "numpy==2.5.5")
_DISTRAX = ("distrax==0.1.9", "chex==0.1.92")
_GYMNAX = ("gymnax==0.0.9", "gymnasium==1.4.0", *_DISTRAX)
_STABLE_BASELINES = ("stable-baselines3==2.9.2", "torch==2.15.0", "gymnasium==1.4.0")
_BRAX = ("brax==0.14.2", "mujoco==4.0.0", "mujoco-mjx==3.17.0")
FEW_ENVS = 4  # Stable-Baselines3 steps more of them one after the other, so their speed would say nothing new

PEERS = {
    peer.name: peer
    for peer in (
        Peer(PRODUCTS, WORKERS / "products_worker.py", xla=(OURS,), everywhere=True),
        Peer(LIBRARY, WORKERS / "library_worker.py", everywhere=True),
        Peer(COMMAND, WORKERS / "command_worker.py", xla=(OURS,), everywhere=True),
        Peer("rejax", WORKERS / "rejax_worker.py", ("rejax==0.1.3", *_JAX, *_GYMNAX), everywhere=True),
        Peer(
            "ajax-rl",
            WORKERS / "ajax_worker.py",
            ("ajax-rl==0.4.0", "gymnax==1.0.1", "six==1.17.0", *_JAX, *_DISTRAX),
        ),
        Peer("jaxnasium", WORKERS / "jaxnasium_worker.py", ("jaxnasium[algs]==0.1.1", *_JAX, *_DISTRAX)),
        Peer(
            "brax",
            WORKERS / "brax_worker.py",
            (
                *_BRAX,
                "jax==0.9.2",  # 0.11 lacks `jax.device_put_replicated`, which this version calls
                "jaxlib==0.9.2",
                "flax==0.12.6",
                "optax==0.2.8",
                "numpy==2.5.5",
            ),
            xla=(OWN,),  # it compiles by itself, and takes no options
        ),
        Peer(
            "sb3",
            WORKERS / "sb3_worker.py",
            (*_STABLE_BASELINES, "numpy==2.5.5"),
            xla=(OWN,),  # nothing is compiled
            most_envs=FEW_ENVS,
        ),
        Peer(
            "sbx",
            WORKERS / "sbx_worker.py",
            ("sbx-rl==0.28.0", *_STABLE_BASELINES, *_JAX),
            xla=(OWN,),  # it compiles by itself, and takes no options
            most_envs=FEW_ENVS,
        ),
    )
}


def single_file(source: Path, name: str) -> Peer:
    """Makes a peer of a file in somebody's own checkout.

    Args:
        source: The file, which defines `make_train(config)`.
        name: The name in the table.
    """
    requirements = (*_JAX, *_GYMNAX, *_BRAX)  # the files of PureJaxRL import their wrapper for Brax
    script = WORKERS / "single_file_worker.py"
    return Peer(name, script, requirements, everywhere=True, source=source.resolve())
