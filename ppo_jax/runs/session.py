"""One training on the host, from compiling to the last picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from ppo_jax.runs import evaluation, plots, policy, request, system
from ppo_jax.runs.directory import RunDirectory, write_json
from ppo_jax.runs.evaluation import Agent
from ppo_jax.runs.journal import Journal
from ppo_jax.runs.program import Chunk, Program, begin, chunks, compile_program, keep_compiled
from ppo_jax.runs.request import Request
from ppo_jax.runs.screen import Screen

EVALUATION_EPISODES = 100
DONE, FAILED, INTERRUPTED = 0, 1, 130  # exit statuses
STATUS_NAMES = {DONE: "done", FAILED: "failed", INTERRUPTED: "interrupted"}


def train(asked: Request, run: RunDirectory, screen: Screen, cache_dir: Path | None = None) -> int:
    """Trains, and fills the run directory.

    Args:
        asked: What to do, already checked.
        run: A directory of its own.
        screen: Where to show it.
        cache_dir: Where to keep compiled programs for later runs; nowhere by default.

    Returns:
        The exit status: 0 done, 1 the training failed (see `Journal.failure`), 130 interrupted.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
    """
    if cache_dir is not None:
        keep_compiled(cache_dir)
    write_json(run.config, request.as_json(asked))
    with screen.waiting("compiling"):
        program = compile_program(asked.config, asked.hyper)
    screen.say(f"compiled in {program.seconds:.1f} s")
    with run.metrics.open("x") as file:
        journal = Journal(file, screen, asked.solved_return)
        status = _run_to_end(program, asked, journal)
    if journal.chunk is None:
        screen.fail("interrupted before the first update; nothing to save")
        return INTERRUPTED
    return _finish(asked, run, program, journal, status)


def _run_to_end(program: Program, asked: Request, journal: Journal) -> int:
    try:
        state = begin(program, asked.config, asked.hyper, asked.seed)
        with journal.screen.training():
            _take_all(journal, chunks(program, asked.config, asked.hyper, state))
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILED if journal.failure else DONE


def _take_all(journal: Journal, stream: Iterator[Chunk]) -> None:
    for chunk in stream:
        journal.take(chunk)
        if journal.failure:
            return


def _finish(asked: Request, run: RunDirectory, program: Program, journal: Journal, status: int) -> int:
    """Saves and evaluates the policy, unless there is a reason not to; sums up; draws."""
    assert journal.chunk is not None
    agent = evaluation.agent_of(journal.chunk.state)
    result = None
    if status != FAILED:
        policy.save(run, asked.config, jax.device_get(evaluation.tensors(agent)))
    if status == DONE:
        result, status = _evaluate(asked, agent, journal.screen)
    summary = _summary(asked, program, journal, result, status)
    write_json(run.summary, summary)
    plots.draw([run])
    _say_goodbye(run, journal, summary, status)
    return status


def _evaluate(asked: Request, agent: Agent, screen: Screen) -> tuple[evaluation.Result | None, int]:
    try:
        with screen.waiting(f"evaluating {EVALUATION_EPISODES} greedy episodes"):
            result = evaluation.run(asked.config, agent, EVALUATION_EPISODES, True, asked.seed)
    except KeyboardInterrupt:
        return None, INTERRUPTED
    screen.say(evaluation.describe(result))
    return result, DONE


def _summary(
    asked: Request, program: Program, journal: Journal, result: evaluation.Result | None, status: int
) -> dict[str, Any]:
    assert journal.chunk is not None
    last, solved = journal.chunk.records[-1], journal.solved
    return {
        "status": STATUS_NAMES[status],
        "preset": asked.preset,
        "changes": {name: request.plain(value) for name, value in request.changes(asked).items()},
        "env": asked.config.env,
        "seed": asked.seed,
        "updates": last["update"],
        "env_steps": last["env_steps"],
        "episodes": journal.episodes,
        "solved_return": asked.solved_return,
        "solved": solved and {name: solved[name] for name in ("env_steps", "seconds", "return_window")},
        "return_window": last["return_window"],
        "evaluation": result and result._asdict(),
        "compile_seconds": round(program.seconds, 3),
        "train_seconds": round(last["seconds"], 3),
        "steps_per_second": round(last["env_steps"] / last["seconds"]),
        "versions": system.versions(),
        "hardware": system.hardware(),
    }


def _say_goodbye(run: RunDirectory, journal: Journal, summary: dict[str, Any], status: int) -> None:
    screen = journal.screen
    if status == INTERRUPTED:
        screen.say(f"interrupted at update {summary['updates']}; the policy so far is saved")
    elif journal.failure:
        screen.fail(f"{journal.failure}; no policy was saved")
    elif summary["solved"] is None and screen.solved_return is not None:
        screen.say(f"not solved: no 100 consecutive episodes reached a mean of {screen.solved_return:g}")
    screen.say(
        f"trained {summary['env_steps']:,} steps in {summary['train_seconds']:.1f} s "
        f"({summary['steps_per_second']:,} steps/s), compiled in {summary['compile_seconds']:.1f} s"
    )
    screen.say(f"wrote {run.path}: {', '.join(sorted(file.name for file in run.path.iterdir()))}")
