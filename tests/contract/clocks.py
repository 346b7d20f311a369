"""Clocks that a test moves by hand."""

from geminivideo.runtime.clock import Clock


class ManualClock(Clock):
    """Stands still until a test advances it; waits end only when the server is told of it."""

    def __init__(self, start: float = 1_800_000_000.0) -> None:
        super().__init__()
        self.times = [start]

    def now(self) -> float:
        return self.times[-1]

    def real_seconds(self, seconds: float) -> float:
        return 60.0  # no wait of a test's length ends by itself

    def advance(self, seconds: float) -> None:
        self.times.append(self.times[-1] + seconds)


class MovableClock(Clock):
    """Real time plus what a test has added."""

    def __init__(self) -> None:
        super().__init__()
        self.added = [0.0]

    def now(self) -> float:
        return super().now() + sum(self.added)

    def advance(self, seconds: float) -> None:
        self.added.append(seconds)
