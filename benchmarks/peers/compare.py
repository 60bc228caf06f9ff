"""Compares the throughput of whole PPO training with what else one could use, all on the CPU.

Each peer runs in an environment of its own, installed from its published package, as a process of its
own. The rounds are interleaved: in each one every peer trains once, so that a slow minute of the machine
falls on all of them, and the ratios are taken round by round.

All train on CartPole-v1 with separate actors and critics of 64-64 tanh units, K epochs of minibatches, and
Adam with clipped gradients; the docstring of each worker tells in what else it differs. This measures
steps, not learning.
"""

import dataclasses
from functools import partial
from pathlib import Path

import jax
import report
import tyro
from contestant import Contestant, Outcome
from installation import install
from peer import PEERS, Peer, PeerError, single_file
from rich.console import Console
from worker import Worker
from workers.protocol import Job

ENV = "CartPole-v1"


@dataclasses.dataclass(frozen=True)
class Options:
    """Compare throughput with other implementations."""

    peers: tuple[str, ...] = tuple(PEERS)
    """Who takes part."""
    shapes: tuple[str, ...] = ("4x128", "64x128", "2048x32")
    """Environments x steps of one update, each trained by a single agent."""
    agents: int = 64
    """At the first shape also: so many agents in one program; 1 to leave that out."""
    num_epochs: int = 4
    """K."""
    num_minibatches: int = 4
    """Minibatches per epoch."""
    repeats: int = 5
    """Rounds."""
    seconds: float = 2.0
    """About how long one measurement should take."""
    timeout: float = 600.0
    """Seconds after which a worker that does not answer is given up."""
    peer_path: Path | None = None
    """One more peer: a file that defines `make_train(config)`, as those of PureJaxRL do."""
    work_dir: Path = Path(".peers")
    """Where the environments of the peers are, and logs."""
    output: Path | None = None
    """File of JSON to write."""


def main(options: Options) -> None:
    """Installs the peers, measures all jobs, prints the table and writes the JSON."""
    jax.config.update("jax_platforms", "cpu")
    peers = choose(options)
    entries = [(peer, *try_install(peer, options.work_dir)) for peer in peers]
    outcomes = [outcome for job in make_jobs(options) for outcome in measure(options, entries, job)]
    report.show(outcomes)
    if options.output:
        places = ("work_dir", "output", "peer_path")  # of this machine, nothing to publish
        asked = {name: value for name, value in dataclasses.asdict(options).items() if name not in places}
        report.write(options.output, asked, outcomes)


def choose(options: Options) -> list[Peer]:
    """Returns who takes part, or ends the program if a name is unknown."""
    unknown = set(options.peers) - set(PEERS)
    if unknown:
        raise SystemExit(f"unknown peers: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    if options.peer_path is not None and not options.peer_path.is_file():
        raise SystemExit(f"--peer-path {options.peer_path} is not a file; give one that defines make_train")
    peers = [PEERS[name] for name in options.peers]
    return peers if options.peer_path is None else [*peers, single_file(options.peer_path)]


def try_install(peer: Peer, work_dir: Path) -> tuple[Path, str | None]:
    """Installs a peer; returns its interpreter, and why it has none."""
    tell(f"installing {peer.name}")
    try:
        return install(peer, work_dir.resolve()), None
    except PeerError as error:
        return Path(), str(error)


def make_jobs(options: Options) -> list[Job]:
    """Returns a job per shape, and the one of several agents."""
    sizes = [tuple(map(int, shape.split("x"))) for shape in options.shapes]
    make = partial(
        Job,
        ENV,
        num_epochs=options.num_epochs,
        num_minibatches=options.num_minibatches,
        seconds=options.seconds,
    )
    jobs = [make(num_envs=num_envs, num_steps=num_steps, agents=1) for num_envs, num_steps in sizes]
    return jobs if options.agents == 1 else [*jobs, jobs[0]._replace(agents=options.agents)]


def measure(options: Options, entries: list[tuple[Peer, Path, str | None]], job: Job) -> list[Outcome]:
    """Measures all peers at one job.

    Args:
        options: How often.
        entries: Who, with the interpreter or why there is none.
        job: What to train.

    Returns:
        One outcome per peer.
    """
    contestants = [Contestant(peer, job, failure) for peer, _, failure in entries]
    try:
        for contestant, (peer, python, _) in zip(contestants, entries, strict=True):
            tell(f"{job.agents} x {job.num_envs}x{job.num_steps}: warming up {peer.name}")
            contestant.start(partial(start, options, peer, python))
        tell(f"{options.repeats} rounds")
        run_rounds(options, contestants)
    finally:
        for contestant in contestants:
            contestant.stop()
    return [contestant.outcome for contestant in contestants]


def start(options: Options, peer: Peer, python: Path) -> Worker:
    """Starts the worker of a peer."""
    log = options.work_dir.resolve() / "logs" / f"{peer.script.stem}.log"
    return Worker(python, peer.script, log, options.timeout)


def run_rounds(options: Options, contestants: list[Contestant]) -> None:
    """Lets everyone train once per round, in turn."""
    for _ in range(options.repeats):
        for contestant in contestants:
            contestant.go()


def tell(message: str) -> None:
    """Prints what is going on."""
    Console(stderr=True).print(message, markup=False, highlight=False)


if __name__ == "__main__":
    main(tyro.cli(Options))
