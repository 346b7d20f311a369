"""How many random histories are played: few by default, 200 in ``make stress``."""

import os

import pytest

HISTORIES = int(os.environ.get("GV_HISTORIES", "4"))


def pytest_generate_tests(metafunc):
    if "history" in metafunc.fixturenames:
        metafunc.parametrize("history", range(HISTORIES), scope="module")


@pytest.fixture(scope="session")
def histories():
    return HISTORIES
