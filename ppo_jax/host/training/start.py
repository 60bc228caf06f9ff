"""The whole life of a run: claim its directory, lock it, compile, train, evaluate, draw, release it.

JAX is imported only after the request has been checked, so that a mistake is reported immediately.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ppo_jax.errors import UsageError
from ppo_jax.host.monitor import sinks
from ppo_jax.host.monitor.screen import Screen, make_screen
from ppo_jax.host.programs import readiness
from ppo_jax.host.runs import code, directory, known, loading, origins, request
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training.signals import Stop

if TYPE_CHECKING:
    from ppo_jax.host.programs.crew import Crew
    from ppo_jax.host.training.session import Session


def run(
    asked: Request,
    path: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
    trust_code: bool = False,
    crew: "Crew | None" = None,
) -> int:
    """Carries out a request: trains, from a checkpoint if there is one, and fills the run directory.

    Args:
        asked: The request.
        path: The run directory; by default a new one under `runs/`.
        resume: Whether to continue the run in `path`, if there is one.
        cache_dir: The directory that keeps compiled programs for later runs; by default none are kept.
        quiet: Whether to show nothing but errors.
        trust_code: Whether to use code of the user that has changed since the run was started.
        crew: The processes that train the run together, of which this one leads; by default it is alone.

    Returns:
        The exit status: 0 if the run is done, 1 if it failed, 128 + the number of the signal that stopped it.

    Raises:
        UsageError: With every mistake in the request, or if the directory cannot be used.
        DamageError: If the run was started before, but has no good checkpoint to continue from.
    """
    status = 1  # unless it is known better
    try:
        with opened(asked, path, resume, trust_code, quiet, Stop(), crew) as session:
            status = _carry_out(session, cache_dir)
        return status
    finally:
        if crew is not None:
            crew.tell("end", status)


def _carry_out(session: "Session | None", cache_dir: Path | None) -> int:
    if session is None:
        return 0
    if cache_dir is not None:
        from ppo_jax.host.programs import chunks

        chunks.keep_compiled(cache_dir)
    from ppo_jax.host.training.session import train

    return train(session)


@contextmanager
def opened(
    asked: Request,
    path: Path | None,
    resume: bool,
    trust_code: bool,
    quiet: bool,
    stop: Stop,
    crew: "Crew | None" = None,
) -> Iterator["Session | None"]:
    """Opens a run: claims and locks its directory, and loads JAX and the user's own code.

    Inside the `with` block, signals ask the run to stop. If the block raises an error before anything was
    saved, a new directory is removed again.

    Args:
        asked: The request.
        path: The run directory; by default a new one under `runs/`.
        resume: Whether to continue the run in `path`, if there is one.
        trust_code: Whether to use code of the user that has changed since the run was started.
        quiet: Whether to show nothing but errors.
        stop: The signals that ask the run to end early.
        crew: The processes that train the run together; by default this one is alone.

    Yields:
        Everything that the run works with; None if the run is complete already.

    Raises:
        UsageError: With every mistake in the request, or if the directory cannot be used.
        DamageError: If the run was started before, but has no good checkpoint to continue from.
    """
    claim = _claim(asked, path, resume, trust_code)
    screen = make_screen(quiet, asked.total_steps, asked.solved_return)
    with released_after_a_mistake(claim.run, claim.is_new), stop.listening(), directory.locked(claim.run):
        yield _prepare(claim, screen, stop, crew)


class _Claim(NamedTuple):
    """A run directory that belongs to a request.

    Attributes:
        asked: The request, which says where the user's code is.
        run: The directory.
        is_new: Whether it was made just now.
        trust_code: Whether functions of the user may be used that are not marked.
    """

    asked: Request
    run: RunDirectory
    is_new: bool
    trust_code: bool


def _claim(asked: Request, path: Path | None, resume: bool, trust_code: bool) -> _Claim:
    sinks.check(asked.options.log_to)
    if resume and path is None:
        raise UsageError("resume = True, but nothing says which run; give its --run-dir")
    if resume and path is not None and not directory.is_free(path):
        request.check(asked, environment=asked.config.env)
        run = directory.open_existing(path)
        before = request.read(run)
        asked = request.continued(before, asked)
        if not asked.policies:  # they were typed rather than read from the directory
            asked = origins.find_again(asked, before)
        request.check_continuation(before, asked)
        is_typed = not asked.sources  # rather than read from the directory
        sources = code.check(asked.config, before.sources, trust_code)
        return _Claim(asked._replace(sources=sources), run, is_new=False, trust_code=trust_code or is_typed)
    request.check(asked)
    asked, found = origins.find(asked._replace(sources=code.locate(asked.config)))
    run = directory.create(path, f"{asked.label}-seed{asked.seed}", request.to_json(asked))
    known.keep(run, found)
    return _Claim(asked, run, is_new=True, trust_code=True)


@contextmanager
def released_after_a_mistake(run: RunDirectory, is_new: bool) -> Iterator[None]:
    """Frees a new directory again if anything goes wrong before something is saved in it."""
    if not is_new:
        yield
        return
    try:
        yield
    except BaseException:
        with suppress(UsageError), directory.locked(run):  # unless another process is training there by now
            directory.release(run)
        raise


def _prepare(claim: _Claim, screen: Screen, stop: Stop, crew: "Crew | None") -> "Session | None":
    asked, run = claim.asked, claim.run
    if directory.is_complete(run, asked.config.num_updates):
        screen.say(f"{run.path} is complete; to continue training, give more --total-timesteps")
        return None
    directories.check_one_is_good(run, request.digest(asked))
    request.write(run, asked)
    screen.say(request.describe(asked))
    screen.say(f"run directory {run.path}")
    for remark in directory.limits(run):
        screen.say(f"note: {remark}")
    with screen.waiting("loading JAX"):
        readiness.check(asked.options.devices)
        from ppo_jax.host.programs import devices
        from ppo_jax.host.training import session

        unmarked = loading.load(asked.config, asked.sources, claim.trust_code)
        origins.restore(run, asked, screen.say)
        known.load(run, asked, screen.say)
    for remark in unmarked:
        screen.say(remark)
    is_begun = bool(directories.newest_first(run.checkpoints))
    config, num_devices = devices.choose(asked.config, asked.options.devices, is_begun)
    if config != asked.config:
        asked = asked._replace(config=config)
        request.write(run, asked)
    if num_devices > 1:
        screen.say(devices.describe(config, num_devices))
    opened = session.Session(asked, run, screen, stop, num_devices)
    if crew is None:
        return opened
    begin = {
        "request": request.to_json(asked),
        "run": str(run.path.absolute()),
        "num_devices": num_devices,
        "trust_code": claim.trust_code,
    }
    crew.tell("begin", begin)
    return opened._replace(crew=crew)
