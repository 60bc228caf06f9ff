"""The part of a run that needs JAX: compiles, trains from the start or a checkpoint, evaluates and draws."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import jax

from ppo_jax import registered
from ppo_jax.algorithm.train import make_ppo
from ppo_jax.envs import registry
from ppo_jax.errors import UsageError, explain
from ppo_jax.host.monitor import sinks
from ppo_jax.host.monitor.screen import Screen
from ppo_jax.host.programs import chunks, evaluation, footprint, system
from ppo_jax.host.programs.chunks import Program, Training
from ppo_jax.host.programs.crew import Crew
from ppo_jax.host.programs.spread import numbers_of
from ppo_jax.host.programs.watch import describe_loss
from ppo_jax.host.runs import agents, records, request
from ppo_jax.host.runs.checkpoints import store
from ppo_jax.host.runs.checkpoints.arrays import SaveError
from ppo_jax.host.runs.checkpoints.store import Store
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import write_json
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training import failure
from ppo_jax.host.training.journal import Journal
from ppo_jax.host.training.loop import Loop
from ppo_jax.host.training.signals import Stop

NEEDED = ("update", "env_steps", "seconds", "episodes", "return_window")  # fields that `Journal.recall` reads
DONE, FAILED = 0, 1  # exit statuses; after a signal, the status is 128 + its number


class Session(NamedTuple):
    """Everything that a run works with.

    Attributes:
        asked: The request of the run, already checked.
        run: The run directory.
        screen: The screen on which the run is shown.
        stop: The signals that ask the run to end early.
        num_devices: The number of devices that the environments are divided among.
        crew: The processes that train the run together.
        git: The commit of the user's project (see `system.git_commit`).
    """

    asked: Request
    run: RunDirectory
    screen: Screen
    stop: Stop
    num_devices: int = 1
    crew: Crew = Crew()
    git: dict[str, Any] | None = None

    @property
    def continuation(self) -> str:
        """The command that continues the run; in Python, if only this process knows its environment."""
        names = (self.asked.config.env, self.asked.config.network)
        if any(registered.is_own(name) and not registry.is_reference(name) for name in names):
            return f"ppo_jax.run(config, hyper, run_dir='{self.run.path}', resume=True)"
        return f"ppo-jax resume {self.run.path}"


def train(session: Session) -> int:
    """Trains, from the newest checkpoint if there is one, and fills the run directory.

    Returns:
        The exit status: 0 if the run is done, 1 if it failed or its files could not be written, 128 + the
        number of the signal that stopped it.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
        DamageError: If there are checkpoints, but none can be loaded.
    """
    asked, run, screen = session.asked, session.run, session.screen
    try:
        return _train(session)
    except (OSError, SaveError) as error:
        screen.fail(f"cannot write to '{run.path}': {error}; what was saved before is intact")
    except UsageError:
        raise
    except Exception as error:
        is_exhausted = footprint.is_exhausted(error)
        if not is_exhausted and session.crew.size == 1:
            raise
        if not is_exhausted:
            session.crew.is_complete = False
            screen.fail(describe_loss(explain(error)))
            return FAILED
        template = jax.eval_shape(make_ppo(asked.config).init, asked.hyper, jax.random.key(0))
        shares = footprint.estimate(asked.config, template)
        screen.fail(f"out of memory: {footprint.describe(shares)}")
    screen.say(f"to continue: {session.continuation}")
    return FAILED


def _train(session: Session) -> int:
    with looping(session) as loop:
        for _ in loop.chunks():
            pass
    is_sound = loop.journal.failure is None and loop.is_drawn
    return session.stop.status(otherwise=DONE) if is_sound else FAILED


@contextmanager
def looping(session: Session) -> Iterator[Loop]:
    """Compiles a run, and prepares its loop for the `with` block to advance.

    Afterwards the state and the policy are saved, the policy is evaluated if the run is done, the run is
    summed up, and its pictures are drawn.

    Raises:
        UsageError: If the environment cannot be made or does not fit the configuration.
        DamageError: If there are checkpoints, but none can be loaded.
    """
    session = session._replace(git=system.git_commit(Path.cwd()))
    asked, screen = session.asked, session.screen
    with screen.waiting("compiling"), _own_code_explained(asked):
        program = _compile(session)
    screen.say(f"compiled in {program.seconds:.1f} s")
    session.crew.meet("compiled")
    with session.run.metrics.open("a") as file:
        loop = prepare(session, program, file)
        with closing(loop.journal.sinks), loop.running():
            yield loop
    _finish(session, loop)


def _compile(session: Session) -> Program:
    config, hyper = session.asked.config, session.asked.hyper
    if not registry.is_on_host(config.env):
        return chunks.compile_program(config, hyper, session.num_devices)
    from ppo_jax.host.programs import simulators  # knows Gymnasium, which other runs do without

    return simulators.make_program(config, hyper)


@contextmanager
def _own_code_explained(asked: Request) -> Iterator[None]:
    """Turns errors in the user's own environment or network into a UsageError of one line."""
    try:
        yield
    except (UsageError, MemoryError, jax.errors.JaxRuntimeError):
        raise
    except Exception as error:
        own = [str(name) for name in (asked.config.env, asked.config.network) if registered.is_own(name)]
        if not own:
            raise
        raise UsageError(f"{' or '.join(own)} failed: {explain(error)}") from error


def prepare(session: Session, program: Program, file: IO[str]) -> Loop:
    """Prepares a run to start, or to continue from the newest good checkpoint.

    Args:
        session: Everything that the run works with.
        program: The program compiled for the run.
        file: The file of the metrics, open to append to; lines about updates after the checkpoint are
            removed from it.

    Raises:
        DamageError: If there are checkpoints, but none can be loaded.
    """
    asked, run, say = session.asked, session.run, session.screen.say
    checkpoints = Store(run.checkpoints, request.digest(asked), asked.options.keep)
    found = store.load_newest(checkpoints, program.template, say)
    progress, state = found if found else (None, None)
    update, nonfinite = progress.update if progress else 0, []
    if state is None:
        session.crew.tell("start", asked.seed)
        state, nonfinite = chunks.begin(program, asked.hyper, asked.seed)
    elif program.spread is not None:
        session.crew.tell("restore", update)
        state = program.spread.place(session.crew.share(numbers_of(state)))
    past = records.mend(run.metrics, update, NEEDED)
    evaluations = records.mend(run.evaluations, update)
    if progress:
        say(f"resumed at update {update:,} of {asked.config.num_updates:,}")
        if registry.is_on_host(asked.config.env):
            say(
                "note: the state of a simulator cannot be saved, so the episodes that were running are given "
                "up, and the result is not the one of a run that never stopped"
            )
    if len(past) < update:
        say(
            f"{run.metrics.name} lacks updates {len(past) + 1:,} to {update:,}; "
            "if it was damaged, a copy is kept beside it"
        )
    resumed_step = update * asked.config.batch_size if progress else None
    opened = sinks.open_sinks(asked, run, resumed_step, say)
    journal = Journal(run, file, session.screen, opened, asked.solved_return)
    journal.recall(past)
    journal.failure = failure.in_state(nonfinite, update)
    return Loop(
        asked=asked,
        training=Training(program, asked.config, asked.hyper, state, update, journal.seconds, session.crew),
        store=checkpoints,
        journal=journal,
        stop=session.stop,
        saved_update=update if progress else None,
        evaluated_update=evaluations[-1]["update"] if evaluations else None,
        rewinds=progress.rewinds if progress else 0,
    )


def _finish(session: Session, loop: Loop) -> None:
    """Saves the policy unless the run failed, evaluates it if the run is done, sums up, and draws."""
    asked, run, screen, journal = session.asked, session.run, session.screen, loop.journal
    agent = loop.training.agent()
    result = None
    if journal.failure is None:
        agents.save(run, asked.config, agent, loop.training.state.collector.reward_scaler)
    if loop.is_done:
        with screen.waiting(f"evaluating {evaluation.EPISODES} greedy episodes"):
            result = evaluation.run(asked.config, agent, evaluation.EPISODES, True, asked.seed)
        screen.say(evaluation.describe(result))
    summary = _sum_up(session, loop, result)
    write_json(run.summary, summary)
    # Imported only now: matplotlib takes a second, which the first record would have to wait for.
    from ppo_jax.host.pictures import plots

    try:
        if journal.last is not None:
            plots.draw([run])
    except UsageError as error:
        screen.fail(str(error))
        loop.is_drawn = False
    _say_goodbye(session, loop, summary)


def _sum_up(session: Session, loop: Loop, result: evaluation.Result | None) -> dict[str, Any]:
    asked, journal, training = session.asked, loop.journal, loop.training
    solved, env_steps = journal.solved, training.update * asked.config.batch_size
    status = "done" if loop.is_done else "interrupted"
    return {
        "status": "failed" if journal.failure else status,
        "preset": asked.preset,
        "changes": {name: request.plain(value) for name, value in asked.changes.items()},
        "env": asked.config.env,
        "seed": asked.seed,
        "updates": training.update,
        "env_steps": env_steps,
        "episodes": journal.episodes,
        "solved_return": asked.solved_return,
        "solved": solved and {name: solved[name] for name in ("env_steps", "seconds", "return_window")},
        "return_window": journal.return_window,
        "failure": journal.failure and journal.failure.text,
        "rewinds": loop.rewinds,
        "evaluation": result and evaluation.as_json(result),
        "compile_seconds": round(training.program.seconds, 3),
        "train_seconds": round(training.seconds, 3),
        "steps_per_second": round(env_steps / training.seconds) if training.seconds else 0,
        "versions": system.versions(),
        "hardware": system.hardware(),
        "memory": system.memory(),
        "git": session.git,
    }


def _say_goodbye(session: Session, loop: Loop, summary: dict[str, Any]) -> None:
    """Says how the run ended, and what can be done next."""
    screen, failed, run = session.screen, loop.journal.failure, session.run
    if failed and loop.saved_update is None:
        screen.fail(f"{failed.text}; there was no good state to save")
    elif failed:
        screen.fail(f"{failed.text}; the state of update {loop.saved_update:,} was saved, but no policy")
        if failed.is_nonfinite:
            screen.say(
                f"to continue with other random numbers: ppo-jax resume {run.path} --on-nonfinite rewind"
            )
    elif not loop.is_done:
        screen.say(f"stopped at update {summary['updates']:,}; its state and its policy were saved")
        screen.say(f"to continue: {session.continuation}")
    elif loop.journal.solved is None and screen.solved_return is not None:
        screen.say(f"not solved: no 100 consecutive episodes reached a mean of {screen.solved_return:g}")
    screen.say(
        f"trained {summary['env_steps']:,} steps in {summary['train_seconds']:.1f} s "
        f"({summary['steps_per_second']:,} steps/s), compiled in {summary['compile_seconds']:.1f} s"
    )
    screen.say(f"wrote {run.path}: {', '.join(sorted(file.name for file in run.path.iterdir()))}")
