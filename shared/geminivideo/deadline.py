"""Until when work may go on: handed down, so that what cannot be done in time is left and named."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Deadline:
    """``at_s`` by ``clock`` (machine seconds, never set back); by default it never comes."""

    at_s: float = math.inf
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, length_s: float, clock: Callable[[], float] = time.monotonic) -> Deadline:
        """``length_s`` from now."""
        return cls(clock() + length_s, clock)

    @property
    def left_s(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self.at_s - self.clock())

    @property
    def passed(self) -> bool:
        """Whether nothing new is to be begun."""
        return self.left_s == 0.0

    def share(self, of_it: float) -> Deadline:
        """An earlier one, after this share (0-1) of the time that is left."""
        return replace(self, at_s=self.clock() + of_it * self.left_s)


NEVER = Deadline()
