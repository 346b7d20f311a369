"""How much of it: one kill in ``make test``, 20 and 1,000 changes in ``make stress``."""

import pytest

from .mortal import Mortal
from .traffic import Traffic

FIRST_SEED = 20


def pytest_addoption(parser):
    parser.addoption("--kills", type=int, default=1, help="kill -9 at so many moments, by seed")
    parser.addoption("--changes", type=int, default=48, help="changes for 32 executors")


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        kills = metafunc.config.getoption("kills", default=1)
        metafunc.parametrize("seed", range(FIRST_SEED, FIRST_SEED + kills))


@pytest.fixture
def cloud(tmp_path):
    cloud = Mortal(tmp_path)
    try:
        cloud.start()
        yield cloud
    finally:
        cloud.end()


@pytest.fixture
def traffic(cloud):
    traffic = Traffic(cloud)
    traffic.provision()
    yield traffic
    traffic.stop()
