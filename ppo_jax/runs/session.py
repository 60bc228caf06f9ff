"""One training on the host: compile, run in chunks, show, write down, evaluate, draw."""

import dataclasses
import time
from collections.abc import Iterator
from functools import partial
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from ppo_jax.config import Config, Hyperparams
from ppo_jax.networks import flatten
from ppo_jax.runs import evaluation, plots, policy, records, request, system
from ppo_jax.runs.directory import RunDirectory, write_json
from ppo_jax.runs.records import Clock, Record
from ppo_jax.runs.request import Request
from ppo_jax.runs.screen import Screen
from ppo_jax.train import TrainState, advance, make_ppo

CAPACITY = 1024  # most updates of one chunk; a longer one would not save the host any more time
CHUNK_SECONDS = 0.25  # how long a chunk should take, so that the screen keeps moving
EVALUATION_EPISODES = 100
# NaN says "none" in other metrics; in these it says that the training has diverged.
ALWAYS_FINITE = ("policy_loss", "value_loss", "entropy", "approx_kl", "grad_norm")


class Program(NamedTuple):
    """A compiled training.

    Attributes:
        init: `init(hyper, key) -> TrainState`.
        advance: `advance(hyper, state, num_updates) -> (TrainState, Metrics [CAPACITY])`.
        seconds: What tracing and compiling took.
    """

    init: Any
    advance: Any
    seconds: float


class Chunk(NamedTuple):
    """Some updates in a row.

    Attributes:
        state: After them.
        records: One per update.
        steps_per_second: Environment steps per second over the chunk.
    """

    state: TrainState
    records: list[Record]
    steps_per_second: float


@dataclasses.dataclass
class Journal:
    """What has come out of a training so far.

    Attributes:
        file: Where records are written.
        screen: Where they are shown.
        solved_return: Mean return of 100 episodes at which the task is solved, if there is a mark.
        chunk: The newest chunk.
        solved: The first record that reached the mark.
        diverged: The first record with a loss that is not finite.
        episodes: How many episodes have ended.
    """

    file: IO[str]
    screen: Screen
    solved_return: float | None
    chunk: Chunk | None = None
    solved: Record | None = None
    diverged: Record | None = None
    episodes: int = 0

    def take(self, chunk: Chunk) -> None:
        """Writes a chunk down, shows it, and looks for what is worth saying."""
        records.append(self.file, chunk.records)
        self.chunk = chunk
        self.episodes += sum(record["episodes"] for record in chunk.records)
        self.diverged = next(filter(_is_diverged, chunk.records), None)
        self.screen.update(chunk.records[-1], chunk.steps_per_second)
        if self.solved is None and self.solved_return is not None:
            self._look_for_solution(self.solved_return, chunk.records)

    def _look_for_solution(self, mark: float, new_records: list[Record]) -> None:
        reached = (record for record in new_records if (record["return_window"] or -np.inf) >= mark)
        self.solved = next(reached, None)
        if self.solved is not None:
            self.screen.say(
                f"solved after {self.solved['env_steps']:,} steps and {self.solved['seconds']:.1f} s of "
                f"training: mean return of the last 100 episodes {self.solved['return_window']:.1f}"
            )


def train(asked: Request, run: RunDirectory, screen: Screen) -> int:
    """Trains, and fills the run directory.

    Args:
        asked: What to do, already checked.
        run: An empty directory.
        screen: Where to show it.

    Returns:
        The exit status: 0 done, 1 the training diverged, 130 interrupted.
    """
    write_json(run.config, request.as_json(asked))
    with screen.waiting("compiling"):
        program = compile_program(asked.config, asked.hyper)
    screen.say(f"compiled in {program.seconds:.1f} s")
    with run.metrics.open("x") as file:
        journal = Journal(file, screen, asked.solved_return)
        status = _run_to_end(program, asked, journal)
    if journal.diverged:
        return _report_divergence(journal.diverged, run, screen)
    return _finish(asked, run, program, journal, status)


def compile_program(config: Config, hyper: Hyperparams) -> Program:
    """Traces and compiles a training ahead of its start.

    Args:
        config: The static part.
        hyper: The traced part; its values do not matter here.
    """
    start = time.perf_counter()
    ppo = make_ppo(config)
    key = jax.random.key(0)
    state = jax.eval_shape(ppo.init, hyper, key)
    init = jax.jit(ppo.init).lower(hyper, key).compile()
    chunk = jax.jit(partial(advance, ppo, CAPACITY)).lower(hyper, state, np.int32(0)).compile()
    return Program(init, chunk, time.perf_counter() - start)


def chunks(program: Program, config: Config, hyper: Hyperparams, state: TrainState) -> Iterator[Chunk]:
    """Runs a training to its end, a chunk at a time; their lengths do not change the result.

    Args:
        program: Compiled for the configuration.
        config: The static part.
        hyper: The traced part.
        state: Where to go on from.

    Yields:
        Chunks of about CHUNK_SECONDS each.
    """
    done, size = int(state.num_updates), 1
    began = time.perf_counter()
    start = 0.0
    while done < config.num_updates:
        size = min(size, config.num_updates - done)
        state, metrics = program.advance(hyper, state, np.int32(size))
        metrics = jax.device_get(metrics)  # waits for the device
        end = time.perf_counter() - began
        speed = size * config.batch_size / (end - start)
        yield Chunk(state, records.from_metrics(metrics, size, Clock(done + 1, start, end)), speed)
        done, size, start = done + size, _next_size(size, end - start), end


def _next_size(size: int, seconds: float) -> int:
    """How many updates fit into CHUNK_SECONDS, growing gently because first chunks mislead."""
    return max(1, min(int(size * CHUNK_SECONDS / seconds), 4 * size, CAPACITY))


def _run_to_end(program: Program, asked: Request, journal: Journal) -> int:
    state = program.init(asked.hyper, jax.random.key(asked.seed))
    try:
        with journal.screen.training():
            _take_all(journal, chunks(program, asked.config, asked.hyper, state))
    except KeyboardInterrupt:
        return 130
    return 0


def _take_all(journal: Journal, stream: Iterator[Chunk]) -> None:
    for chunk in stream:
        journal.take(chunk)
        if journal.diverged:
            return


def _is_diverged(record: Record) -> bool:
    return any(record[name] is None for name in ALWAYS_FINITE)


def _report_divergence(record: Record, run: RunDirectory, screen: Screen) -> int:
    names = ", ".join(name for name in ALWAYS_FINITE if record[name] is None)
    screen.fail(
        f"diverged: {names} is not finite at update {record['update']}; lower --learning-rate or "
        f"--max-grad-norm. The metrics so far are in {run.metrics}; no policy was saved"
    )
    return 1


def _finish(asked: Request, run: RunDirectory, program: Program, journal: Journal, status: int) -> int:
    """Saves the policy, evaluates it unless the training was interrupted, sums up, draws."""
    screen, chunk = journal.screen, journal.chunk
    if chunk is None:
        screen.fail("interrupted before the first update; nothing to save")
        return status
    params = chunk.state.learner.params
    policy.save(run, asked.config, jax.device_get(flatten(params)))
    result = None
    if status == 0:
        with screen.waiting(f"evaluating {EVALUATION_EPISODES} greedy episodes"):
            result = evaluation.run(asked.config, params, EVALUATION_EPISODES, True, asked.seed)
        screen.say(evaluation.describe(result))
    summary = _summary(asked, program, journal, result)
    write_json(run.summary, summary)
    plots.draw([run])
    _say_goodbye(run, screen, summary, status)
    return status


def _summary(
    asked: Request, program: Program, journal: Journal, result: evaluation.Result | None
) -> dict[str, Any]:
    assert journal.chunk is not None
    last, solved = journal.chunk.records[-1], journal.solved
    return {
        "preset": asked.preset,
        "changes": request.changes(asked),
        "env": asked.config.env,
        "seed": asked.seed,
        "updates": last["update"],
        "env_steps": last["env_steps"],
        "episodes": journal.episodes,
        "solved": solved
        and {
            "mean_return": asked.solved_return,
            "env_steps": solved["env_steps"],
            "seconds": solved["seconds"],
        },
        "return_window": last["return_window"],
        "evaluation": result and result._asdict(),
        "compile_seconds": round(program.seconds, 3),
        "train_seconds": round(last["seconds"], 3),
        "steps_per_second": round(last["env_steps"] / last["seconds"]),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def _say_goodbye(run: RunDirectory, screen: Screen, summary: dict[str, Any], status: int) -> None:
    if status:
        screen.say(f"interrupted at update {summary['updates']}; the policy so far is saved")
    elif summary["solved"] is None and screen.solved_return is not None:
        screen.say(f"not solved: no 100 consecutive episodes reached a mean of {screen.solved_return:g}")
    screen.say(
        f"{summary['env_steps']:,} steps in {summary['train_seconds']:.1f} s of training "
        f"({summary['steps_per_second']:,} steps/s) after {summary['compile_seconds']:.1f} s of compilation"
    )
    screen.say(f"wrote {run.path}: {', '.join(sorted(file.name for file in run.path.iterdir()))}")
