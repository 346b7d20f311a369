"""Faults by script: each waits for the n-th matching call, then strikes a number of times."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Literal

Drop = Literal["", "before", "after"]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to matching calls.

    ``match`` is a glob over ``METHOD path`` without the version (``POST act_*/ads``,
    ``GET */ads``, ``*``). ``skip`` matching calls pass first, then ``times`` are struck. ``drop``
    closes the connection before or after the effect; ``code`` answers an error without effect;
    ``delay_s`` is product time.
    """

    match: str = "*"
    skip: int = 0
    times: int = 1
    delay_s: float = 0.0
    drop: Drop = ""
    code: int | None = None
    subcode: int | None = None
    status: int = 400
    transient: bool = False
    message: str = "scripted fault"


NONE = Fault(times=0)


class Faults:
    """The script: the first matching fault that is not spent strikes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._script: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Append a fault to the script."""
        with self._lock:
            self._script.append(fault)

    def clear(self) -> None:
        """Forget the script."""
        with self._lock:
            self._script.clear()

    def left(self) -> list[Fault]:
        """The faults that have not struck as often as they shall."""
        with self._lock:
            return list(self._script)

    def take(self, method: str, path: str) -> Fault:
        """The fault that strikes this call, or ``NONE``."""
        call = f"{method} {path}"
        with self._lock:
            for index, fault in enumerate(self._script):
                if not fnmatchcase(call, fault.match):
                    continue
                if fault.skip:
                    self._script[index] = replace(fault, skip=fault.skip - 1)
                    continue
                self._spend(index, fault)
                return fault
        return NONE

    def _spend(self, index: int, fault: Fault) -> None:
        if fault.times <= 1:
            del self._script[index]
        else:
            self._script[index] = replace(fault, times=fault.times - 1)
