"""One training on the host, from compiling to the last picture, from its start or from a checkpoint on."""

from contextlib import closing
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax
import numpy as np

from ppo_jax.errors import UsageError
from ppo_jax.runs import (
    directory,
    evaluation,
    memory,
    plots,
    policy,
    program,
    records,
    request,
    sinks,
    store,
    system,
)
from ppo_jax.runs.arrays import SaveError
from ppo_jax.runs.directory import RunDirectory
from ppo_jax.runs.failure import Failure
from ppo_jax.runs.journal import Journal
from ppo_jax.runs.program import Program, Training
from ppo_jax.runs.request import Request
from ppo_jax.runs.run_options import RunOptions
from ppo_jax.runs.screen import Screen
from ppo_jax.runs.stop import Stop
from ppo_jax.runs.store import Store
from ppo_jax.runs.trainer import Trainer
from ppo_jax.train import make_ppo

NEEDED = ("update", "env_steps", "seconds", "episodes", "return_window")  # of a record that is recalled
DONE, FAILED = 0, 1  # exit statuses; of a run that was to stop: 128 + the number of the signal


class Session(NamedTuple):
    """What a training is given from outside.

    Attributes:
        asked: What to do, already checked.
        options: How to keep it.
        run: A directory of its own.
        screen: Where to show it.
        stop: Whether to end early.
        cache_dir: Where to keep compiled programs for later runs; nowhere if None.
        git: Commit of the user's project (see `system.git_commit`).
    """

    asked: Request
    options: RunOptions
    run: RunDirectory
    screen: Screen
    stop: Stop
    cache_dir: Path | None = None
    git: dict[str, Any] | None = None


def train(session: Session) -> int:
    """Trains, from the newest checkpoint on if there is one, and fills the run directory.

    Args:
        session: What to do.

    Returns:
        The exit status: 0 done, 1 the training failed or could not be written down, 130 or 143 stopped
        by SIGINT or SIGTERM.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
        DamageError: If there are checkpoints, but none can be loaded.
    """
    if session.cache_dir is not None:
        program.keep_compiled(session.cache_dir)
    try:
        status = _train(session._replace(git=system.git_commit(Path.cwd())))
    except (OSError, SaveError) as error:
        session.screen.fail(f"cannot write to '{session.run.path}': {error}; what was saved before is intact")
        session.screen.say(f"to go on: ppo-jax resume {session.run.path}")
        status = FAILED
    except (jax.errors.JaxRuntimeError, MemoryError) as error:
        if not memory.is_exhausted(error):
            raise
        session.screen.fail(f"out of memory: {_describe_memory(session.asked)}")
        status = FAILED
        session.screen.say(f"to go on: ppo-jax resume {session.run.path}")
    return status if status == FAILED else session.stop.status(otherwise=status)


def _train(session: Session) -> int:
    with session.screen.waiting("compiling"):
        compiled = program.compile_program(session.asked.config, session.asked.hyper)
    session.screen.say(f"compiled in {compiled.seconds:.1f} s")
    with session.run.metrics.open("a") as file:
        trainer = make_trainer(session, compiled, file)
        with closing(trainer.journal.sinks):
            trainer.run()
    return _finish(session, trainer)


def _describe_memory(asked: Request) -> str:
    init = make_ppo(asked.config).init
    template = jax.eval_shape(init, asked.hyper, jax.random.key(asked.seed))
    return memory.describe(memory.estimate(asked.config, template))


def make_trainer(session: Session, compiled: Program, file: IO[str]) -> Trainer:
    """Prepares a training to start, or to go on from the newest good checkpoint.

    Args:
        session: What to do.
        compiled: The program for it.
        file: Of the metrics, open to append to; what it has of updates after that checkpoint is cut off.

    Raises:
        DamageError: If there are checkpoints, but none can be loaded.
    """
    asked, run, say = session.asked, session.run, session.screen.say
    checkpoints = Store(run.checkpoints, request.digest(asked), session.options.keep)
    found = store.load_newest(checkpoints, compiled.template, say)
    progress, state = found or (None, program.begin(compiled, asked.config, asked.hyper, asked.seed))
    update = progress.update if progress else 0
    past = records.mend(run.metrics, update, NEEDED)
    evaluations = records.mend(run.evaluations, update)
    if progress:
        say(f"resumed at update {update:,} of {asked.config.num_updates:,}")
    if len(past) < update:
        say(
            f"{run.metrics.name} lacks updates {len(past) + 1:,} to {update:,}; what it had is kept beside it"
        )
    opened = sinks.open_sinks(session.options.log_to, run, asked, progress and update, say)
    journal = Journal(run, file, session.screen, opened, asked.solved_return)
    journal.recall(past)
    state = state._replace(horizon=np.int32(asked.config.num_updates))
    return Trainer(
        asked,
        session.options,
        Training(compiled, asked.config, asked.hyper, state, journal.seconds),
        checkpoints,
        journal,
        session.stop,
        saved_update=progress and update,
        evaluated_update=evaluations[-1]["update"] if evaluations else None,
        rewinds=progress.rewinds if progress else 0,
    )


def _finish(session: Session, trainer: Trainer) -> int:
    """Saves and evaluates the policy, unless there is a reason not to; sums up; draws."""
    asked, run, screen, journal = session.asked, session.run, session.screen, trainer.journal
    agent = evaluation.agent_of(trainer.training.state)
    result = None
    if journal.failure is None:
        policy.save(run, asked.config, jax.device_get(evaluation.tensors(agent)))
    if trainer.is_done:
        with screen.waiting(f"evaluating {evaluation.EPISODES} greedy episodes"):
            result = evaluation.run(asked.config, agent, evaluation.EPISODES, True, asked.seed)
        screen.say(evaluation.describe(result))
    summary = _summary(session, trainer, result)
    directory.write_json(run.summary, summary)
    is_drawn = _draw(session) if journal.last is not None else True
    _say_goodbye(session, trainer, summary)
    return DONE if is_drawn and journal.failure is None else FAILED


def _draw(session: Session) -> bool:
    """Draws the diagnostics; whether that was possible."""
    try:
        plots.draw([session.run])
    except UsageError as error:
        session.screen.fail(str(error))
        return False
    return True


def _summary(session: Session, trainer: Trainer, result: evaluation.Result | None) -> dict[str, Any]:
    asked, journal, training = session.asked, trainer.journal, trainer.training
    solved, env_steps = journal.solved, training.update * asked.config.batch_size
    return {
        "status": _status(trainer),
        "preset": asked.preset,
        "changes": {name: request.plain(value) for name, value in request.changes(asked).items()},
        "env": asked.config.env,
        "seed": asked.seed,
        "updates": training.update,
        "env_steps": env_steps,
        "episodes": journal.episodes,
        "solved_return": asked.solved_return,
        "solved": solved and {name: solved[name] for name in ("env_steps", "seconds", "return_window")},
        "return_window": journal.return_window,
        "failure": journal.failure and journal.failure.text,
        "rewinds": trainer.rewinds,
        "evaluation": result and evaluation.as_json(result),
        "compile_seconds": round(training.program.seconds, 3),
        "train_seconds": round(training.seconds, 3),
        "steps_per_second": round(env_steps / training.seconds) if training.seconds else 0,
        "versions": system.versions(),
        "hardware": system.hardware(),
        "memory": system.memory(),
        "git": session.git,
    }


def _status(trainer: Trainer) -> str:
    if trainer.journal.failure:
        return "failed"
    return "done" if trainer.is_done else "interrupted"


def _say_goodbye(session: Session, trainer: Trainer, summary: dict[str, Any]) -> None:
    screen, journal, run = session.screen, trainer.journal, session.run
    if journal.failure:
        _explain(screen, trainer, journal.failure, run)
    elif not trainer.is_done:
        screen.say(f"stopped at update {summary['updates']:,}, which is saved; so is its policy")
        screen.say(f"to go on: ppo-jax resume {run.path}")
    elif journal.solved is None and screen.solved_return is not None:
        screen.say(f"not solved: no 100 consecutive episodes reached a mean of {screen.solved_return:g}")
    screen.say(
        f"trained {summary['env_steps']:,} steps in {summary['train_seconds']:.1f} s "
        f"({summary['steps_per_second']:,} steps/s), compiled in {summary['compile_seconds']:.1f} s"
    )
    screen.say(f"wrote {run.path}: {', '.join(sorted(file.name for file in run.path.iterdir()))}")


def _explain(screen: Screen, trainer: Trainer, failure: Failure, run: RunDirectory) -> None:
    """Says what ended a training, and what can be done."""
    if trainer.saved_update is None:
        screen.fail(f"{failure.text}; there was no good state to save")
        return
    screen.fail(f"{failure.text}; its policy was not saved, but the state of update {trainer.saved_update:,}")
    if failure.is_nonfinite:
        screen.say(f"to go on with other random numbers: ppo-jax resume {run.path} --on-nonfinite rewind")
