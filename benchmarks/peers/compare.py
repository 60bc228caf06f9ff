"""Compares the throughput of whole PPO training with that of other packages, all on the CPU, on Linux.

Each peer is installed from its published package into an environment of its own, and runs as a process of its
own. In each round every peer trains once, so that a slow minute of the machine falls on all of them; the
ratios are taken within a round.

All peers train on CartPole-v1 with a separate actor and critic of 64-64 tanh units, K epochs of minibatches,
and Adam with clipped gradients. The docstring of each worker says how it differs apart from that. Only speed
is measured, not learning.

A peer that XLA compiles as we tell it to takes part twice: with XLA's own options, and with those that the
command of ppo_jax compiles with. The matrix products of training take part as well, to show how much of the
machine each peer uses.
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import Literal

import jax
import report
import tyro
from contestant import Contestant, Outcome
from installation import install
from peer import CORES, PEERS, Peer, PeerError, single_file
from rich.console import Console
from worker import Worker
from workers.protocol import Job

ENV = "CartPole-v1"


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare throughput with other implementations."""

    peers: tuple[str, ...] = tuple(PEERS)
    """Packages to measure."""
    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32")
    """Batch shapes for a single agent: environments x steps of one update."""
    agents: tuple[int, ...] = (64, 256)
    """How many agents to train in one program at the first shape, in addition."""
    on_one_core: tuple[str, ...] = ("4x128", "64x128")
    """Batch shapes for a single agent that is pinned to one core, in addition."""
    xla: tuple[Literal["own", "ours"], ...] = ("own", "ours")
    """Options of XLA to compile with: XLA's own, and those of the command."""
    num_epochs: int = 4
    """K: passes over each batch."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    repeats: int = 5
    """How many rounds; in each one every package is measured once."""
    seconds: float = 2.0
    """About how many seconds one measurement should take."""
    timeout: float = 600.0
    """Seconds to wait for the answer of a worker before giving it up."""
    peer_path: Path | None = None
    """File to measure in addition; it defines `make_train(config)`, as the files of PureJaxRL do."""
    peer_name: str = ""
    """Name of that file in the table; by default its file name."""
    work_dir: Path = Path(".peers")
    """Directory for the environments of the packages, and for logs."""
    output: Path | None = None
    """JSON file to write; by default none is written."""


def main(options: Options) -> None:
    """Installs the peers, measures all jobs, prints the table and writes the JSON."""
    jax.config.update("jax_platforms", "cpu")
    peers = choose(options)
    entries = [(peer, *try_install(peer, options.work_dir)) for peer in peers]
    outcomes = [outcome for job in make_jobs(options) for outcome in measure(options, entries, job)]
    report.show(outcomes)
    if options.output:
        places = ("work_dir", "output", "peer_path")  # paths on this machine, not to be published
        asked = {name: value for name, value in dataclasses.asdict(options).items() if name not in places}
        report.write(options.output, asked, outcomes)


def choose(options: Options) -> list[Peer]:
    """Returns the peers to measure; ends the program if a name is unknown or a file is missing."""
    unknown = set(options.peers) - set(PEERS)
    if unknown:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if options.peer_path is not None and not options.peer_path.is_file():
        raise SystemExit(f"--peer-path {options.peer_path} is not a file; give one that defines make_train")
    peers = [PEERS[name] for name in options.peers]
    if options.peer_path is not None:
        peers.append(single_file(options.peer_path, options.peer_name or options.peer_path.name))
    return peers


def try_install(peer: Peer, work_dir: Path) -> tuple[Path, str | None]:
    """Installs a peer; returns its interpreter, and the reason for the failure if there was one."""
    tell(f"installing {peer.name}")
    try:
        return install(peer, work_dir.resolve()), None
    except PeerError as error:
        return Path(), str(error)


def make_jobs(options: Options) -> list[Job]:
    """Returns a job for each shape, one for each number of agents, and one for each shape on one core."""

    def job(shape: str, agents: int = 1, cores: int = CORES) -> Job:
        num_envs, num_steps = map(int, shape.split("x"))
        return Job(
            env=ENV,
            num_envs=num_envs,
            num_steps=num_steps,
            num_epochs=options.num_epochs,
            num_minibatches=options.num_minibatches,
            agents=agents,
            cores=cores,
            seconds=options.seconds,
        )

    return [
        *map(job, options.shapes),
        *(job(options.shapes[0], agents=agents) for agents in options.agents),
        *(job(shape, cores=1) for shape in options.on_one_core),
    ]


def measure(options: Options, entries: list[tuple[Peer, Path, str | None]], job: Job) -> list[Outcome]:
    """Measures all peers that take part in a job, in turns.

    Args:
        options: How often to measure, and where the logs go.
        entries: Each peer, with its interpreter or the reason why it has none.
        job: What to train.

    Returns:
        The outcome of each peer with each set of options of XLA.
    """
    places = [
        (Contestant(peer, job, xla, failure), peer, python)
        for xla in options.xla
        for peer, python, failure in entries
        if xla in peer.xla and peer.takes(job)
    ]
    contestants = [contestant for contestant, _, _ in places]
    try:
        for contestant, peer, python in places:
            xla = contestant.outcome.xla
            tell(f"{report.name(job)}: warming up {peer.name}, {xla} options")
            log = options.work_dir.resolve() / "logs" / f"{peer.script.stem}-{xla}.log"
            contestant.start(partial(Worker, python, peer.script, log, options.timeout, job.cores))
        tell(f"{options.repeats} rounds")
        for contestant in contestants * options.repeats:
            contestant.go()
    finally:
        for contestant in contestants:
            contestant.stop()
    return [contestant.outcome for contestant in contestants]


def tell(message: str) -> None:
    """Prints a message about the progress, on standard error."""
    Console(stderr=True).print(message, markup=False, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Options))
