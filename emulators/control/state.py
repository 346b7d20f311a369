"""What the control API asks of a cloud."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from emulators.clock import OwnedClock


class Cloud(Protocol):
    """A running cloud, as ``LocalCloud`` is one."""

    clock: OwnedClock
    state_dir: Path

    def advance(self, seconds: float, step: float | None = None) -> float:
        """Move the clock ahead, in steps if asked to; raises ``ClockMoveError``."""

    def set_speed(self, speed: float) -> float:
        """Run the clock at another speed; raises ``ClockMoveError``."""

    def status(self) -> dict[str, Any]:
        """Services, functions and processes, as JSON."""
