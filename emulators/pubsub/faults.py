"""Delivery faults that tests switch on: what at-least-once delivery may do on any day."""

from __future__ import annotations

from collections import Counter
from typing import Protocol


class DeliveryFault(Protocol):
    """Asked about each push: how often it is posted, and whether its acknowledgement is lost."""

    def copies(self, subscription: str) -> int:
        """How many times the same delivery is posted, concurrently; at least 1."""

    def loses_ack(self, subscription: str, message_id: str) -> bool:
        """Whether an accepted push is treated as never answered."""


class DuplicatePushes:
    """Every delivery is posted ``times`` times; one accepted copy acknowledges the message."""

    def __init__(self, times: int = 2) -> None:
        self.times = times

    def copies(self, subscription: str) -> int:
        """The same for every subscription."""
        return self.times

    def loses_ack(self, subscription: str, message_id: str) -> bool:
        """Never."""
        return False


class LostAcks:
    """The first ``times`` acknowledgements of each message on each subscription are lost."""

    def __init__(self, times: int = 1) -> None:
        self.times = times
        self._lost: Counter[tuple[str, str]] = Counter()

    def copies(self, subscription: str) -> int:
        """One."""
        return 1

    def loses_ack(self, subscription: str, message_id: str) -> bool:
        """True ``times`` times for each message, then False."""
        self._lost[subscription, message_id] += 1
        return self._lost[subscription, message_id] <= self.times
