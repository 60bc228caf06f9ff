"""One training on the host, from compiling to the last picture."""

from collections.abc import Iterator
from typing import Any

import jax

from ppo_jax.networks import flatten
from ppo_jax.runs import evaluation, plots, policy, request, system
from ppo_jax.runs.directory import RunDirectory, write_json
from ppo_jax.runs.journal import Journal, nonfinite
from ppo_jax.runs.program import Chunk, Program, chunks, compile_program
from ppo_jax.runs.records import Record
from ppo_jax.runs.request import Request
from ppo_jax.runs.screen import Screen

EVALUATION_EPISODES = 100


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


def _report_divergence(record: Record, run: RunDirectory, screen: Screen) -> int:
    screen.fail(
        f"diverged: {', '.join(nonfinite(record))} is not finite at update {record['update']}; "
        f"lower --learning-rate or --max-grad-norm. No policy was saved; the metrics are in {run.metrics}"
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
        "changes": {name: request.plain(value) for name, value in request.changes(asked).items()},
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
