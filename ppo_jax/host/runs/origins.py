"""Finds the policies that a run starts from or is taught by: in runs, in sweeps, or by a registered name."""

from collections.abc import Callable
from pathlib import Path

from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import family, known, policy
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.known import Found
from ppo_jax.host.runs.request import Request


def find(asked: Request) -> tuple[Request, list[Found]]:
    """Finds the policies that the user has just named; returns the request with their digests, and them.

    Raises:
        UsageError: With every one that cannot be found or used.
    """
    found, problems = [], []
    for field, reference in known.references(asked.config).items():
        try:
            found.append(_find(field, reference, asked.config))
        except UsageError as error:
            problems += [f"{field} = {reference!r}: {problem}" for problem in error.problems]
    if problems:
        raise UsageError(problems)
    return asked._replace(policies=tuple((one.field, one.sha256) for one in found)), found


def find_again(asked: Request, before: Request) -> Request:
    """Returns a request to continue a run with the digests of its policies as they are now.

    A policy that is named as before but is gone has the digest that it had: the run has a copy.

    Raises:
        UsageError: If one cannot be used.
    """
    was, recorded, digests = known.references(before.config), dict(before.policies), {}
    for field, reference in known.references(asked.config).items():
        is_gone = known.registered_as(field, reference) is None and not Path(reference).expanduser().exists()
        if is_gone and was.get(field) == reference and field in recorded:
            digests[field] = recorded[field]
        else:
            digests[field] = _find(field, reference, asked.config).sha256
    return asked._replace(policies=tuple(digests.items()))


def restore(run: RunDirectory, asked: Request, say: Callable[[str], None]) -> None:
    """Makes copies again that are missing or damaged, from policies that have not changed since.

    Args:
        run: The directory of the run, or of a sweep.
        asked: Its request.
        say: A function that is called with a sentence about each.

    Raises:
        UsageError: With what is wrong with a copy that cannot be made again.
    """
    recorded = dict(asked.policies)
    for field, problem in known.problems_of(run, asked).items():
        reference = known.references(asked.config)[field]
        if not problem:
            continue
        try:
            found = _find(field, reference, asked.config)
        except (UsageError, OSError) as error:
            raise UsageError(f"{problem}; and '{reference}' is of no help: {error}") from error
        if found.sha256 != recorded.get(field):
            raise UsageError(
                f"{problem}; and '{reference}' has changed as well: put the files back, or start another run"
            )
        known.keep(run, [found])
        say(f"{problem}; it was made again from '{reference}', which has not changed")


def _find(field: str, reference: str, config: Config) -> Found:
    """Finds one policy: one that the user registered, or that of a run or of a member of a sweep."""
    own = known.registered_as(field, reference)
    if own is not None:
        return own
    path = Path(reference).expanduser()
    if family.member_number(path) is None:
        run = family.open_plain(path)
    else:
        from ppo_jax.host.runs import members  # which needs JAX

        run = members.open_run(path)
    theirs, _ = policy.load(run)
    if not policy.is_newest(run):
        raise UsageError(
            "the run has trained on since its policy was saved; wait until it ends, or stop it, which saves "
            "one"
        )
    if theirs.network not in (None, config.network):
        raise UsageError(f"its network is {theirs.network!r}; only a run with the same network can use it")
    return known.found_in(run, field)
