"""How a step can fail; the harness turns each kind into its one right answer."""

from __future__ import annotations


class StepFailure(Exception):
    """A classified failure; ``reason`` is what the flow record and the user are told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Rejected(StepFailure):
    """The input is bad: the flow ends REJECTED with this reason and nothing is retried."""


class Permanent(StepFailure):
    """Trying again cannot help: dead-lettered at once, the flow ends DEAD, replayable."""


class Transient(StepFailure):
    """Trying again may help: the delivery is refused and comes back with backoff."""


class LeaseLostError(RuntimeError):
    """Another delivery took this work over; whatever this one did is not written."""
