"""Transactions: what each has read, who may read next under contention, when they lapse.

Concurrency is optimistic, as the API's ``ConcurrencyMode.OPTIMISTIC``: reads take no lock, the
commit checks that what was read still stands, and the loser is ABORTED. A transaction that is
run again (``retry_transaction``) keeps its place: what it reads is its turn until it commits, and
other transactions that want to read the same wait in line for it instead of failing one after
the other. A turn lapses on its own, so a client that died holds nobody up.
"""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from geminivideo.runtime.clock import Clock

from emulators.firestore import errors

IDLE_SECONDS = 60.0
TOTAL_SECONDS = 270.0
_TURN_SECONDS = 1.0
_MAX_WAIT_SECONDS = 5.0
_REMEMBERED = 20_000
_PREFIX = b"txn-"


@dataclass(eq=False)
class Transaction:
    """An open transaction. Times: ``began`` and ``used`` in product seconds."""

    id: bytes
    read_only: bool
    age: int
    retrying: bool
    began: float
    used: float
    used_real: float
    snapshot: int | None = None
    reads: dict[str, int] = field(default_factory=dict)
    checks: list[Callable[[int], bool]] = field(default_factory=list)
    turns: set[str] = field(default_factory=set)
    waiting: bool = False


class Registry:
    """The open transactions by id. Callers hold the store's lock."""

    def __init__(self, clock: Clock, expiry_grace: float) -> None:
        self._clock = clock
        self._grace = expiry_grace
        self._incarnation = _PREFIX + secrets.token_bytes(8)
        self._numbers = itertools.count(1)
        self._open: dict[bytes, Transaction] = {}
        self._closed: OrderedDict[bytes, tuple[int, bool]] = OrderedDict()

    def begin(self, *, read_only: bool, retry: bytes = b"") -> Transaction:
        """A new transaction; one that is run again keeps the age of its first attempt."""
        number = next(self._numbers)
        age = self._age_of(retry) if retry else None
        now = self._clock.now()
        transaction = Transaction(
            id=self._incarnation + number.to_bytes(8, "big"),
            read_only=read_only,
            age=number if age is None else age,
            retrying=bool(retry) and not read_only,
            began=now,
            used=now,
            used_real=time.monotonic(),
        )
        self._open[transaction.id] = transaction
        return transaction

    def get(self, identity: bytes) -> Transaction:
        """The open transaction; raises INVALID_ARGUMENT or, lost in a restart, ABORTED."""
        transaction = self._open.get(identity)
        if transaction is None:
            raise self._why_not(identity)
        transaction.used = self._clock.now()
        transaction.used_real = time.monotonic()
        return transaction

    def close(self, transaction: Transaction, *, expired: bool = False) -> None:
        """End it; its age is remembered for the attempt that follows."""
        if self._open.pop(transaction.id, None) is None:
            return
        self._closed[transaction.id] = (transaction.age, expired)
        while len(self._closed) > _REMEMBERED:
            self._closed.popitem(last=False)

    def is_known(self, identity: bytes) -> bool:
        """Whether this or an earlier run of the server gave the id out."""
        return self._is_ours(identity) or self._is_of_earlier_run(identity)

    def open_one(self, identity: bytes) -> Transaction | None:
        """The transaction if it is open."""
        return self._open.get(identity)

    def lapsed(self) -> list[Transaction]:
        """The open transactions whose time is over."""
        if not self._open:
            return []
        now, real = self._clock.now(), time.monotonic()
        return [
            one
            for one in self._open.values()
            if real - one.used_real >= self._grace
            and (now - one.used > IDLE_SECONDS or now - one.began > TOTAL_SECONDS)
        ]

    def oldest_snapshot(self, otherwise: int) -> int:
        """The oldest moment that an open transaction still reads at (microseconds)."""
        moments = [t.snapshot for t in self._open.values() if t.snapshot is not None]
        return min(moments, default=otherwise)

    def _age_of(self, identity: bytes) -> int | None:
        if not self.is_known(identity):
            raise errors.transaction_unknown()
        opened = self._open.get(identity)
        if opened is not None:
            return opened.age
        closed = self._closed.get(identity)
        return closed[0] if closed is not None else None

    def _why_not(self, identity: bytes) -> errors.ApiError:
        if self._is_of_earlier_run(identity):
            return errors.transaction_lost()
        if not self._is_ours(identity):
            return errors.transaction_unknown()
        _, expired = self._closed.get(identity, (0, True))
        return errors.transaction_expired() if expired else errors.transaction_closed()

    def _is_ours(self, identity: bytes) -> bool:
        return identity.startswith(self._incarnation) and len(identity) == 20

    def _is_of_earlier_run(self, identity: bytes) -> bool:
        return identity.startswith(_PREFIX) and len(identity) == 20 and not self._is_ours(identity)


@dataclass(eq=False)
class _Line:
    """Who has the turn on one thing, since when (monotonic), and who waits for it."""

    holder: Transaction
    since: float
    waiters: list[tuple[Transaction, threading.Condition]] = field(default_factory=list)


class Lines:
    """Turns on documents and collections among transactions under contention.

    A wait releases the store's lock. At most ``max_waiters`` wait at once, so that a server
    thread is always left for the one whose turn it is; the others go on without a turn and the
    check at their commit decides.
    """

    def __init__(self, lock: Any, max_waiters: int) -> None:
        self._lock = lock
        self._max_waiters = max_waiters
        self._waiting = 0
        self._lines: dict[str, _Line] = {}

    def take_turn(self, transaction: Transaction, thing: str) -> None:
        """Have the turn on ``thing``, after those before; without a line only retries take one."""
        line = self._lines.get(thing)
        if line is None:
            if transaction.retrying:
                self._lines[thing] = _Line(transaction, time.monotonic())
                transaction.turns.add(thing)
            return
        if line.holder is not transaction and self._waiting < self._max_waiters:
            self._wait(transaction, thing, line)

    def leave(self, transaction: Transaction) -> None:
        """Give all its turns to the next in line."""
        for thing in list(transaction.turns):
            self._pass_on(thing)

    def _wait(self, transaction: Transaction, thing: str, line: _Line) -> None:
        waiter = (transaction, threading.Condition(self._lock))
        line.waiters.append(waiter)
        transaction.waiting = True
        self._waiting += 1
        self._yield_to_older(transaction)
        try:
            self._wait_until_granted(line, thing, waiter)
        finally:
            self._waiting -= 1
            transaction.waiting = False
            if waiter in line.waiters:
                line.waiters.remove(waiter)

    def _wait_until_granted(
        self, line: _Line, thing: str, waiter: tuple[Transaction, threading.Condition]
    ) -> None:
        deadline = time.monotonic() + _MAX_WAIT_SECONDS
        while waiter in line.waiters:
            now = time.monotonic()
            lapses = max(line.since, line.holder.used_real) + _TURN_SECONDS
            deadlocked = line.holder.waiting and line.holder.age > waiter[0].age
            if now >= lapses or deadlocked:
                self._pass_on(thing)
            elif now >= deadline:
                return
            else:
                waiter[1].wait(min(lapses, deadline) - now)

    def _yield_to_older(self, transaction: Transaction) -> None:
        """It waits now: those older who wait for what it has must not wait for it."""
        for thing in list(transaction.turns):
            waiters = self._lines[thing].waiters
            if any(other.age < transaction.age for other, _ in waiters):
                self._pass_on(thing)

    def _pass_on(self, thing: str) -> None:
        line = self._lines[thing]
        line.holder.turns.discard(thing)
        if not line.waiters:
            del self._lines[thing]
            return
        following = min(line.waiters, key=lambda waiter: waiter[0].age)
        line.waiters.remove(following)
        line.holder, line.since = following[0], time.monotonic()
        following[0].turns.add(thing)
        following[1].notify()
