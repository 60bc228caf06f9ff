"""The exceptions of this package, and how errors in the user's own code are told."""

import difflib
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager


class UsageError(ValueError):
    """One or more mistakes in what the caller asked for, all of them found in one pass.

    The command line prints `problems` and exits with status 2; Python callers see a `ValueError`.

    Attributes:
        problems: One sentence per mistake: what was given, the rule, and the fix.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class RunError(RuntimeError):
    """A run in Python failed; the message says why, and its run directory holds what was saved."""


def check_kind(name: str, value: object, kind: type, example: str) -> None:
    """Makes sure that an argument is of a class.

    Args:
        name: The name of the argument.
        value: Its value.
        kind: The class.
        example: An expression to give instead, such as `ppo_jax.Config(...)`.

    Raises:
        UsageError: If it is of another class.
    """
    if not isinstance(value, kind):
        given = value.__name__ if isinstance(value, type) else f"a {type(value).__name__}"
        raise UsageError(f"{name} is {given}, not a {kind.__name__}; give {example}")


def closest(name: str, known: Sequence[str]) -> str:
    """Suggests the known names that resemble a mistyped one, or all known names if none does.

    Args:
        name: The name that was given.
        known: The names that would have been accepted.

    Returns:
        A phrase such as `did you mean 'CartPole-v1'?` or `choose one of: a, b`.
    """
    lowered = {candidate.lower(): candidate for candidate in known}
    matches = difflib.get_close_matches(name.lower(), list(lowered), n=3, cutoff=0.5)
    if matches:
        names = [repr(lowered[match]) for match in matches]
        return f"did you mean {' or '.join(names)}?"
    return f"choose one of: {', '.join(known)}"


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Turns errors that the user's code raises inside the `with` block into a UsageError of one line.

    Args:
        what: The name of the code, which begins the line.
    """
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(f"{what} failed: {explain(error)}") from error


def explain(error: BaseException) -> str:
    """Returns an error in one line, with the place in the user's code where it was raised."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg} ({error.filename}, line {error.lineno})"
    package = __file__.rpartition("/")[0]
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((package, "<")) and "site-packages" not in frame.filename
    ]
    text = str(error).strip().split("\n")[0]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}{f': {text}' if text else ''}{where}"
