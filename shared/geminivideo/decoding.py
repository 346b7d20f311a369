"""Types that are read by msgspec, learned by it before two threads can ask for one at once.

msgspec learns a dataclass the first time that it is read, keeps what it learned on the class before
it is whole, and runs Python in between: a second thread that reads the class at that moment finds
fields that are not there yet and the process dies (seen with 0.22.0: SIGSEGV in 21 of 25 processes
whose first eight readings began together). So a type is learned once, under a lock.
"""

from __future__ import annotations

import threading
from typing import Any, TypeVar

import msgspec

_T = TypeVar("_T")
_LEARNED: set[Any] = set()
_LEARNING = threading.Lock()


def learned(kind: type[_T]) -> type[_T]:
    """``kind``, which msgspec knows by now with all that it is made of.

    Raises ``TypeError`` for a type that msgspec cannot read.
    """
    if kind not in _LEARNED:
        with _LEARNING:
            msgspec.json.Decoder(kind)
            _LEARNED.add(kind)
    return kind
