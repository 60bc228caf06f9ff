"""`UsageError`, the exception for mistakes that the user can fix."""

import difflib
from collections.abc import Iterable, Sequence


class UsageError(ValueError):
    """One or more mistakes in what the caller asked for, all of them found in one pass.

    The command line prints `problems` and exits with status 2; Python callers see a `ValueError`.

    Attributes:
        problems: One sentence per mistake: what was given, the rule, and the fix.
    """

    def __init__(self, problems: str | Iterable[str]):
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


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
