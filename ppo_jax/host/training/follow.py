"""A process that follows the leader of a run: it computes what the leader tells it, and writes nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppo_jax.errors import UsageError, explain
from ppo_jax.host.programs import chunks
from ppo_jax.host.programs.chunks import Training
from ppo_jax.host.programs.crew import Crew
from ppo_jax.host.programs.watch import describe_loss
from ppo_jax.host.runs import known, loading, request
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.training.signals import Stop


def follow(crew: Crew) -> int:
    """Trains as the leader says, to the end.

    Returns:
        The exit status that the leader ends with.

    Raises:
        UsageError: If the user's own code cannot be loaded here.
    """
    stop = Stop()
    try:
        with stop.listening():
            orders = crew.orders(stop)
            name, value = next(orders)
            return _train(crew, orders, value) if name == "begin" else value
    except UsageError:
        raise
    except Exception as error:  # whatever JAX raises when it does not end the process
        crew.is_complete = False
        print(f"ppo-jax: error: {describe_loss(explain(error))}", file=sys.stderr, flush=True)
        return 1


def _train(crew: Crew, orders: Iterator[tuple[str, Any]], begin: dict[str, Any]) -> int:
    asked = request.from_json(begin["request"])
    loading.load(asked.config, asked.sources, begin["trust_code"])
    known.load(RunDirectory(Path(begin["run"])), asked, lambda text: None)  # the leader has said it
    program = chunks.compile_program(asked.config, asked.hyper, begin["num_devices"])
    assert program.spread is not None  # there are several processes, each with devices
    crew.meet("compiled")
    training = None
    for name, value in orders:
        if name == "start":
            state, _ = chunks.begin(program, asked.hyper, value)
            training = Training(program, asked.config, asked.hyper, state)
        elif name == "restore":
            state = program.spread.place(crew.share(program.spread.blank()))
            training = Training(program, asked.config, asked.hyper, state, value)
        elif name == "end" or training is None:
            return value
        else:
            training.orders[name](value)
    raise AssertionError("orders have an end")
