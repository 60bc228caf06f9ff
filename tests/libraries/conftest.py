"""Tests of one library of environments, in an environment that has it: scripts/test_libraries.sh LIBRARY."""

import pytest

from tests.libraries.cases import CASES


def pytest_ignore_collect(config):
    """Leaves these tests out unless a library is named."""
    return config.getoption("--library") is None or None


@pytest.fixture(scope="session")
def library(pytestconfig):
    """The name of the library."""
    return pytestconfig.getoption("--library")


@pytest.fixture(scope="session")
def case(library):
    """What to test the library on."""
    return CASES[library]
