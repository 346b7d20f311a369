"""How an execution leaves its work before the end: it waits, its outcome is unknown, it fails."""

from __future__ import annotations


class Waits(Exception):
    """The change cannot go on before ``until_at``; nothing failed."""

    def __init__(self, until_at: float, reason: str) -> None:
        super().__init__(reason)
        self.until_at = until_at
        self.reason = reason


class OutcomeUnknown(Exception):
    """A write got no clear answer; the step is UNKNOWN."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(reason)
        self.step = step
        self.reason = reason


class Fails(Exception):
    """The change cannot be executed; trying again cannot help."""


class Overtaken(Exception):
    """The world moved on: what the change asks for would undo what somebody else did."""
