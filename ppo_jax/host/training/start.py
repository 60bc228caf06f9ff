"""The whole life of a run: claim its directory, lock it, compile, train, evaluate, draw, release it.

JAX is imported only after the request has been checked, so that a mistake is reported immediately.
"""

from contextlib import suppress
from pathlib import Path

from ppo_jax.errors import UsageError
from ppo_jax.host.monitor import sinks
from ppo_jax.host.monitor.screen import Screen, make_screen
from ppo_jax.host.runs import directory, request
from ppo_jax.host.runs.checkpoints import directories
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.request import Request
from ppo_jax.host.training.signals import Stop


def run(
    asked: Request,
    path: Path | None = None,
    resume: bool = False,
    cache_dir: Path | None = None,
    quiet: bool = False,
) -> int:
    """Carries out a request: trains, from a checkpoint if there is one, and fills the run directory.

    Args:
        asked: The request.
        path: The run directory; by default a new one under `runs/`.
        resume: Whether to continue the run in `path`, if there is one.
        cache_dir: The directory that keeps compiled programs for later runs; by default none are kept.
        quiet: Whether to show nothing but errors.

    Returns:
        The exit status: 0 if the run is done, 1 if it failed, 130 or 143 if it was stopped by SIGINT or
        SIGTERM.

    Raises:
        UsageError: With every mistake in the request, or if the directory cannot be used.
        DamageError: If the run was started before, but has no good checkpoint to continue from.
    """
    request.check(asked)
    sinks.check(asked.options.log_to)
    if resume and path is None:
        raise UsageError("resume = True, but nothing says which run; give its --run-dir")
    screen = make_screen(quiet, asked.total_steps, asked.solved_return)
    if resume and path is not None and not directory.is_free(path):
        opened = directory.open_existing(path)
        request.check_continuation(request.read(opened), asked)
        return _train(asked, opened, screen, cache_dir)
    opened = directory.create(path, f"{asked.label}-seed{asked.seed}", request.to_json(asked))
    try:
        return _train(asked, opened, screen, cache_dir)
    except UsageError:  # the environment itself found a mistake
        with suppress(UsageError), directory.locked(opened):  # unless another process is training there
            directory.release(opened)
        raise


def _train(asked: Request, opened: RunDirectory, screen: Screen, cache_dir: Path | None) -> int:
    stop = Stop()
    with stop.listening(), directory.locked(opened):
        if directory.is_complete(opened, asked.config.num_updates):
            screen.say(f"{opened.path} is complete; to continue training, give more --total-timesteps")
            return 0
        directories.check_one_is_good(opened, request.digest(asked))
        request.write(opened, asked)
        screen.say(request.describe(asked))
        screen.say(f"run directory {opened.path}")
        with screen.waiting("loading JAX"):
            from ppo_jax.host.programs import chunks
            from ppo_jax.host.training import session
        if cache_dir is not None:
            chunks.keep_compiled(cache_dir)
        return session.train(session.Session(asked, opened, screen, stop))
