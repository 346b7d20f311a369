"""How Firestore fares when many increment one document in transactions: ``measure``.

A writer begins the next increment as soon as the last is through, with the real client, which runs
an ABORTED transaction again. ``python -m bench.contention HOST`` prints a line for 2, 8 and 32.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

WRITERS = (2, 8, 32)
_ATTEMPTS = 1000


@dataclass(frozen=True)
class Contention:
    """What ``writers`` achieved. Times: a commit call, aborted ones included, in milliseconds.

    ``lost``: acknowledged increments that the document does not show; anything but 0 is a fault.
    """

    writers: int
    seconds: float
    commits: int
    aborted: int
    median_ms: float
    p99_ms: float
    lost: int


@dataclass
class _Tally:
    """What the writers report; each appends, none reads."""

    until: float
    commit_s: list[float] = field(default_factory=list)
    aborted: list[None] = field(default_factory=list)
    done: list[None] = field(default_factory=list)
    unsure: list[None] = field(default_factory=list)


class _Over(Exception):
    """The time is over; what is under way is given up before its commit."""


def measure(writers: int, host: str, seconds: float = 4.0) -> Contention:
    """Let ``writers`` threads increment one document of the server at ``host``.

    Nothing begins after ``seconds``; a commit under way is waited for. Raises what a writer
    raises, but for a commit whose outcome is unknown: the document may show that one or not.
    """
    with _client(host) as client:
        reference = client.document("contention/counter")
        reference.set({"n": 0})
        tally = _Tally(time.monotonic() + seconds)
        began = time.monotonic()
        _in_threads(writers, lambda: _increment(client, reference, tally))
        took = time.monotonic() - began
        shown = reference.get().get("n")
    return Contention(
        writers=writers,
        seconds=took,
        commits=len(tally.done),
        aborted=len(tally.aborted),
        median_ms=1000 * statistics.median(tally.commit_s),
        p99_ms=1000 * sorted(tally.commit_s)[int(len(tally.commit_s) * 0.99)],
        lost=_lost(len(tally.done), len(tally.unsure), shown),
    )


def _lost(done: int, unsure: int, shown: int) -> int:
    """Increments missing from ``shown``; negative: some too many were made."""
    return done - shown if shown < done else min(0, done + unsure - shown)


@contextmanager
def _client(host: str) -> Iterator[Any]:
    """The real client, in a project of its own, whatever the environment points to."""
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import firestore
    from google.cloud.firestore_v1.services.firestore import transports

    client = firestore.Client(f"contention-{uuid.uuid4().hex[:8]}", AnonymousCredentials())
    channel = grpc.insecure_channel(host)
    client._emulator_host = host
    client._firestore_api_internal = _api(transports.FirestoreGrpcTransport(channel=channel))
    try:
        yield client
    finally:
        channel.close()


def _api(transport: Any) -> Any:
    from google.cloud.firestore_v1.services.firestore import FirestoreClient

    return FirestoreClient(transport=transport)


def _increment(client: Any, reference: Any, tally: _Tally) -> None:
    from google.cloud import firestore

    timed = _timed(tally)

    @firestore.transactional
    def add(transaction: Any) -> None:
        if time.monotonic() > tally.until:
            raise _Over
        shown = reference.get(transaction=transaction).get("n")
        transaction.set(reference, {"n": shown + 1})

    try:
        while True:
            add(timed(client, max_attempts=_ATTEMPTS))
            tally.done.append(None)
    except _Over:
        return


def _timed(tally: _Tally) -> Any:
    """A transaction that reports each commit call, and what became of it."""
    from google.api_core import exceptions
    from google.cloud import firestore

    class Timed(firestore.Transaction):  # type: ignore[misc]
        def _commit(self) -> Any:
            began = time.monotonic()
            try:
                return super()._commit()
            except exceptions.Aborted:
                tally.aborted.append(None)
                raise
            except (exceptions.DeadlineExceeded, exceptions.RetryError):
                tally.unsure.append(None)
                raise _Over from None
            finally:
                tally.commit_s.append(time.monotonic() - began)

    return Timed


def _in_threads(count: int, work: Callable[[], None]) -> None:
    """Run ``work`` in ``count`` threads that start together; raises what one of them raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(count)

    def run() -> None:
        gate.wait()
        try:
            work()
        except BaseException as error:  # noqa: BLE001 (raised again below)
            raised.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


if __name__ == "__main__":
    for number in WRITERS:
        print(measure(number, sys.argv[1]), flush=True)
