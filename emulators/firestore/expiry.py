"""Time to live: documents whose declared field lies in the past are deleted
(firebase.google.com/docs/firestore/ttl).

Production deletes within 24 hours of the expiry, so a reader may still find what has expired.
Here it goes with the next round: one each hour of the clock, and at once when the clock is moved
by a minute or more.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable

from geminivideo.runtime.clock import Clock

from emulators.firestore.indexes import FieldOverride
from emulators.firestore.state import State

ROUND_SECONDS = 3600.0
LEAP_SECONDS = 60.0  # a clock that is moved from one second's work to the next does not expire
_LEAST_MACHINE_SECONDS = 1.0
_MOST_MACHINE_SECONDS = 60.0


class Expiry:
    """The rounds, on a thread of their own once a field is declared."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._declared: tuple[FieldOverride, ...] = ()
        self._round_at = -math.inf
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._rounds, name="firestore-expiry", daemon=True)

    def declare(self, overrides: Iterable[FieldOverride]) -> None:
        """Heed these fields from now on, and no others."""
        self._declared = tuple(one for one in overrides if one.is_time_to_live)
        if self._declared and self._thread.ident is None:
            self._thread.start()

    def clock_moved(self) -> None:
        """A round, when the clock leapt since the last one."""
        if self._clock.now() - self._round_at >= LEAP_SECONDS:
            self.delete_expired()

    def delete_expired(self) -> int:
        """One round; how many documents it deleted."""
        self._round_at = self._clock.now()
        return sum(self._state.delete_expired(one.collection, one.path) for one in self._declared)

    def stop(self) -> None:
        """No round begins any more, and none is under way when this returns."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _rounds(self) -> None:
        while not self._stopped.wait(self._machine_seconds()):
            self.delete_expired()

    def _machine_seconds(self) -> float:
        """At most so long that a clock which stood still is soon seen to run again."""
        by_clock = self._clock.real_seconds(ROUND_SECONDS)
        return min(max(_LEAST_MACHINE_SECONDS, by_clock), _MOST_MACHINE_SECONDS)
