"""The copies that a run keeps of the policies that it starts from or is taught by.

With their digests in `config.json`, a run is resumed to the same bits when the other run has been trained on
or is gone, and a copy that has changed is noticed. `origins` finds the policies; no code of theirs is
executed.
"""

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from ppo_jax import registered
from ppo_jax.config import Config
from ppo_jax.errors import UsageError
from ppo_jax.host.runs import policy
from ppo_jax.host.runs.directory import RunDirectory
from ppo_jax.host.runs.files import read_json, whole
from ppo_jax.host.runs.request import Request
from ppo_jax.registered import KnownPolicy


class Found(NamedTuple):
    """The files of a policy.

    Attributes:
        field: The field of the `Config` that names it.
        files: Their content, by their names.
    """

    field: str
    files: dict[str, bytes]

    @property
    def sha256(self) -> str:
        """The digest of the files."""
        content = b"".join(name.encode() + b"\n" + self.files[name] for name in sorted(self.files))
        return hashlib.sha256(content).hexdigest()


def found_in(run: RunDirectory, field: str) -> Found:
    """Returns the files of the policy of a run, or of a copy.

    Raises:
        OSError: If one of them cannot be read.
    """
    return Found(field, {path.name: path.read_bytes() for path in (run.policy, run.tensors)})


def references(config: Config) -> dict[str, str]:
    """Returns the policies that a configuration names, by the name of their field."""
    fields = {"initial_policy": config.initial_policy, "teacher": config.teacher}
    return {field: reference for field, reference in fields.items() if reference is not None}


def registered_as(field: str, reference: str) -> Found | None:
    """Returns the files of a policy that the user registered under a name; None if there is none."""
    known = registered.POLICIES.get(reference)
    if known is None or not known.is_own:
        return None
    return Found(field, policy.encode(known.config, dict(known.tensors), known.rewards))


def keep(run: RunDirectory, found: list[Found]) -> None:
    """Writes copies of policies into the directory of a run."""
    for one in found:
        _copy_of(run, one.field).path.mkdir(parents=True, exist_ok=True)
    contents = {
        _copy_of(run, one.field).path / name: content for one in found for name, content in one.files.items()
    }
    for path, content in contents.items():
        with whole(path) as draft:
            draft.write_bytes(content)


def problems_of(run: RunDirectory, asked: Request) -> dict[str, str]:
    """Returns what is wrong with the copies of a run, by the field of each; "" if nothing is."""
    recorded = dict(asked.policies)
    return {field: _problem_of(run, field, recorded.get(field)) for field in references(asked.config)}


def _problem_of(run: RunDirectory, field: str, sha256: str | None) -> str:
    copy = _copy_of(run, field)
    try:
        found = found_in(copy, field)
    except OSError as error:
        return f"'{copy.path}', the copy of its {field}, cannot be read: {error.strerror}"
    if found.sha256 == sha256:
        return ""
    return f"'{copy.path}', the copy of its {field}, is not as it was when the run was started"


def load(run: RunDirectory, asked: Request, say: Callable[[str], None]) -> None:
    """Loads the policies of a run from its copies, and enters them under the names that its request gives.

    Args:
        run: The directory of the run, or of a sweep.
        asked: Its request.
        say: A function that is called with a sentence about what is not as usual.

    Raises:
        UsageError: If a copy is not what it was, or this process knows another policy of that name.
    """
    if problems := [problem for problem in problems_of(run, asked).values() if problem]:
        raise UsageError(problems)
    recorded = dict(asked.policies)  # which the copies have, too, as there are no problems
    for field, reference in references(asked.config).items():
        own = registered_as(field, reference)
        if own is not None and own.sha256 != recorded[field]:
            raise UsageError(
                f"{field} = {reference!r} is registered in this process, but is not the policy of the run; "
                "register it under another name"
            )
        known = _read(_copy_of(run, field), recorded[field], is_own=own is not None)
        registered.enter_policy(reference, known)
        takes_critic = field == "initial_policy" and asked.config.initial_parts != "actor"
        if takes_critic and asked.config.normalize_rewards and known.rewards is None:
            say(
                f"note: '{reference}' does not tell how its rewards were scaled, so scaling begins anew, "
                "and the values of its critic are in other units at first: --critic-warmup-updates gives it "
                "time"
            )


def _copy_of(run: RunDirectory, field: str) -> RunDirectory:
    return RunDirectory(run.policies / field)


def _read(copy: RunDirectory, sha256: str, is_own: bool) -> KnownPolicy:
    config, tensors = policy.load(copy)
    return KnownPolicy(
        config=config,
        sha256=sha256,
        tensors=tensors,
        rewards=policy.rewards_in(copy.policy, read_json(copy.policy)),
        is_own=is_own,
    )
