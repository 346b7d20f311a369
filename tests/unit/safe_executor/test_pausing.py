"""Pauses that Meta asked for."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from geminivideo.safe_executor import pausing
from geminivideo.safe_executor.ledger import Pause


def test_the_longest_of_several_pauses_stays(documents: Any) -> None:
    """However many are told to pause at once, nobody's shorter pause ends a longer one."""
    path = "rate_windows/account-many"
    pauses = [Pause(until_at=float(at), reason=f"until {at}") for at in (3, 9, 1, 7, 9, 2, 8, 4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda pause: pausing.keep(documents, path, pause), pauses))
    assert documents.require(path, Pause) == Pause(until_at=9.0, reason="until 9")
