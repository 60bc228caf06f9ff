"""Runs the tests of a copy of the repository, with a bug put into it."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from tests.mutants.bugs import BUGS, Bug

ROOT = Path(__file__).parents[2]


class Verdict(Enum):
    """What pytest said; anything but its exit status 0 and 1 means that it could not run the tests."""

    SURVIVED = 0
    CAUGHT = 1
    BROKEN = 2


def occurrences(bug: Bug, root: Path = ROOT) -> int:
    """Counts the text that the bug replaces; 1 is right."""
    return (root / bug.file).read_text(encoding="utf-8").count(bug.old)


def main(names: Sequence[str] = (), say: Callable[[str], None] = print) -> int:
    """Puts in the named bugs, or all, and prints a table; 0 if every one of them was caught."""
    unknown = set(names) - {bug.name for bug in BUGS}
    bugs = [bug for bug in BUGS if not names or bug.name in names]
    rotten = [bug.name for bug in bugs if occurrences(bug) != 1]
    if unknown or rotten:
        say(f"no such bug: {sorted(unknown)}; text not found exactly once: {rotten}")
        return 1
    result = _run_tests(None, sorted({node for bug in bugs for node in bug.caught_by}))
    if result.returncode != 0:
        say(f"{result.stdout}{result.stderr}the tests fail without any bug")
        return 1
    verdicts = [_judge(bug, say) for bug in bugs]
    caught = verdicts.count(Verdict.CAUGHT)
    say(f"{caught} of {len(bugs)} bugs caught")
    return int(caught < len(bugs))


def _judge(bug: Bug, say: Callable[[str], None]) -> Verdict:
    result = _run_tests(bug, bug.caught_by)
    verdict = Verdict(result.returncode) if result.returncode in (0, 1) else Verdict.BROKEN
    say(f"{verdict.name:<9} {bug.file:<28} {bug.name}")
    if verdict is Verdict.BROKEN:
        say(result.stdout + result.stderr)
    return verdict


def _run_tests(bug: Bug | None, nodes: Sequence[str]) -> subprocess.CompletedProcess:
    with _copy_of_repository() as root:
        if bug:
            path = root / bug.file
            path.write_text(path.read_text(encoding="utf-8").replace(bug.old, bug.new), encoding="utf-8")
        _check_what_is_imported(root)
        return _python(
            root, "-m", "pytest", "-n", "0", "-m", "not slow", "-x", "-q", "-p", "no:cacheprovider", *nodes
        )


@contextmanager
def _copy_of_repository() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for name in ("ppo_jax", "tests"):
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", root)
        yield root


def _check_what_is_imported(root: Path) -> None:
    imported = _python(root, "-c", "import ppo_jax; print(ppo_jax.__file__)").stdout.strip()
    if Path(imported) != root / "ppo_jax" / "__init__.py":
        raise RuntimeError(f"the copy in {root} imports ppo_jax from {imported}")


def _python(root: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = os.environ | {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
