"""The table of implementation details is true: its lines exist, and a bug takes each of them away."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.mutants.bugs import BUGS

ROOT = Path(__file__).parents[2]
ROW = re.compile(
    r"\| (\d+) \| (.+?) \| `(\S+\.py)`: `(.+?)` \| (.+?) \| (.+?) \| \[`(\w+)`\]\(\.\./(\S+)\) \|"
)


class Detail(NamedTuple):
    """A row of the table."""

    number: str
    title: str
    module: str
    line: str
    reason: str
    bug: str
    test: str
    test_file: str


DETAILS = [
    Detail(*match.groups()) for match in ROW.finditer((ROOT / "docs" / "details.md").read_text("utf-8"))
]
EVERY_DETAIL = pytest.mark.parametrize("detail", DETAILS, ids=[detail.number for detail in DETAILS])


def test_every_detail_outside_of_atari_wrappers_has_its_row():
    assert [int(detail.number) for detail in DETAILS] == list(range(1, 13 + 9 + 5 + 1 + 1))


@EVERY_DETAIL
def test_the_line_stands_in_its_module(detail):
    code = " ".join((ROOT / "ppo_jax" / detail.module).read_text("utf-8").split())
    assert detail.line in code


@EVERY_DETAIL
def test_a_bug_takes_the_detail_away(detail):
    (bug,) = [bug for bug in BUGS if bug.name == detail.bug]
    assert bug.file == f"ppo_jax/{detail.module}"
    assert bug.old in detail.line or detail.line in bug.old
    assert f"{detail.test_file}::{detail.test}" in bug.caught_by
