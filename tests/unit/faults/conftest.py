"""A clock that stands until a test moves it, and a script on it."""

import pytest
from geminivideo.runtime.clock import Clock

from emulators.faults import Faults


class StandingClock(Clock):
    """Product time that a test moves."""

    def __init__(self) -> None:
        super().__init__()
        self.times = [1_800_000_000.0]

    def now(self) -> float:
        return self.times[-1]

    def advance(self, seconds: float) -> None:
        self.times.append(self.now() + seconds)


@pytest.fixture(scope="session")
def clock_type() -> type[StandingClock]:
    return StandingClock


@pytest.fixture
def clock() -> StandingClock:
    return StandingClock()


@pytest.fixture
def faults(clock) -> Faults:
    return Faults(clock)
