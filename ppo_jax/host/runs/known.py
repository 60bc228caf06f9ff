"""The trained policies that a run starts from or is taught by: found in other runs, and kept as copies.

A run keeps a copy of each in its own directory, with its digest in `config.json`. So it is resumed to the same
bits when the other run has been trained on, or is gone, and a copy that has changed is noticed. No code of the
other run is executed.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import family, policy
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json, whole
from ppo_jax.host.runs.request import Request
from ppo_jax.registered import KnownPolicy


class Found(NamedTuple):
    """A policy that was found.

    Attributes:
        field: The field of the `Config` that names it.
        files: The content of its files, by their names.
    """

    field: str
    files: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """The digest of the files."""
        content = b"".join(name.encode() + b"\n" + self.files[name] for name in sorted(self.files))
        return hashlib.sha256(content).hexdigest()


def find(config: Config) -> list[Found]:
    """Finds the policies that the user has just named.

    Raises:
        UsageError: With every one that cannot be found or used.
    """
    found, problems = [], []
    for field, reference in _references(config).items():
        try:
            found.append(_find(field, reference, config))
        except UsageError as error:
            problems += [f"{field} = {reference!r}: {problem}" for problem in error.problems]
    if problems:
        raise UsageError(problems)
    return found


def with_digests(asked: Request, found: list[Found]) -> Request:
    """Returns a request with the digests of the policies that were found."""
    return asked._replace(policies=tuple((one.field, one.sha256) for one in found))


def find_again(asked: Request, before: Request) -> Request:
    """Returns a request to continue a run with the digests of its policies as they are now.

    A policy that is named as before but is gone has the digest that it had: the run has a copy.

    Raises:
        UsageError: If one cannot be used.
    """
    references, was = _references(asked.config), _references(before.config)
    recorded, digests = dict(before.policies), []
    for field, reference in references.items():
        is_gone = reference not in registered.POLICIES and not Path(reference).exists()
        if is_gone and was.get(field) == reference and field in recorded:
            digests.append((field, recorded[field]))
            continue
        digests.append((field, _find(field, reference, asked.config).sha256))
    return asked._replace(policies=tuple(digests))


def keep(run: RunDirectory, found: list[Found]) -> None:
    """Writes copies of policies into the directory of a run."""
    for one in found:
        copy = _copy_of(run, one.field)
        copy.path.mkdir(parents=True, exist_ok=True)
        for name, content in one.files.items():
            with whole(copy.path / name) as draft:
                draft.write_bytes(content)


def load(run: RunDirectory, asked: Request, say: Callable[[str], None]) -> None:
    """Loads the policies of a run from its copies, and enters them under the names that its request gives.

    A copy that is missing or damaged is made again if the policy that it was made from has not changed.

    Args:
        run: The directory of the run, or of a sweep.
        asked: Its request.
        say: A function that is called with a sentence about what is not as usual.

    Raises:
        UsageError: If a copy is not what it was, and cannot be made again.
    """
    recorded = dict(asked.policies)
    for field, reference in _references(asked.config).items():
        copy = _copy_of(run, field)
        if problem := _problem_of(copy, field, recorded.get(field)):
            _restore(run, asked.config, field, recorded.get(field), problem)
            say(f"{problem}; it was made again from '{reference}', which is as it was")
        known = _read(copy)
        registered.enter_policy(reference, known)
        takes_critic = field == "initial_policy" and asked.config.initial_parts != "actor"
        if takes_critic and asked.config.normalize_rewards and known.rewards is None:
            say(
                f"note: '{reference}' does not tell how its rewards were scaled, so scaling begins anew, and the "
                "values of its critic are in other units at first: --critic-warmup-updates gives it time"
            )


def problems_of(run: RunDirectory, asked: Request) -> dict[Path, str]:
    """Returns what is wrong with each copy of a policy of a run, by the directory of the copy; "" if nothing."""
    recorded = dict(asked.policies)
    copies = {field: _copy_of(run, field) for field in _references(asked.config)}
    return {copy.path: _problem_of(copy, field, recorded.get(field)) for field, copy in copies.items()}


def _references(config: Config) -> dict[str, str]:
    fields = {"initial_policy": config.initial_policy, "teacher": config.teacher}
    return {field: reference for field, reference in fields.items() if reference is not None}


def _copy_of(run: RunDirectory, field: str) -> RunDirectory:
    return RunDirectory(run.policies / field)


def _find(field: str, reference: str, config: Config) -> Found:
    """Finds one policy: one that the user registered, or that of a run or a member of a sweep."""
    known = registered.POLICIES.get(reference)
    if known is not None and known.is_own:
        return Found(field, policy.encode(known.config, dict(known.tensors), known.rewards))
    path = Path(reference).expanduser()
    if family.member_number(path) is None:
        run = family.open_plain(path)
    else:
        from ppo_jax.host.runs import members  # needs JAX

        run = members.open_run(path)
    theirs, _ = policy.load(run)
    if not policy.is_newest(run):
        raise UsageError(
            "the run has trained on since its policy was saved; wait until it ends, or stop it (Ctrl-C saves)"
        )
    if theirs.network not in (None, config.network):
        raise UsageError(
            f"its network is code of its own, {theirs.network!r}; only a run with the same network can use it"
        )
    return Found(field, {path.name: path.read_bytes() for path in (run.policy, run.tensors)})


def _problem_of(copy: RunDirectory, field: str, sha256: str | None) -> str:
    """Says what is wrong with a copy; "" if nothing is."""
    try:
        files = {path.name: path.read_bytes() for path in (copy.policy, copy.tensors)}
    except OSError as error:
        return f"'{copy.path}', the copy of the policy, cannot be read ({error.strerror})"
    is_same = Found(field, files).sha256 == sha256
    return "" if is_same else f"'{copy.path}', the copy of the policy, is not as it was when the run was started"


def _restore(run: RunDirectory, config: Config, field: str, sha256: str | None, problem: str) -> None:
    reference = _references(config)[field]
    try:
        found = _find(field, reference, config)
    except (UsageError, OSError) as error:
        raise UsageError(f"{problem}, and '{reference}' is of no help: {error}") from error
    if found.sha256 != sha256:
        raise UsageError(
            f"{problem}, and '{reference}' has changed as well; put the files back, or start another run"
        )
    keep(run, [found])


def _read(copy: RunDirectory) -> KnownPolicy:
    config, tensors = policy.load(copy)
    files: dict[str, Any] = {path.name: path.read_bytes() for path in (copy.policy, copy.tensors)}
    return KnownPolicy(
        config=config,
        sha256=Found("", files).sha256,
        tensors=tensors,
        rewards=policy.rewards_in(copy.policy, read_json(copy.policy)),
    )
