"""Published batches from their first byte to their last use, and the snapshots that keep them.

A batch is in memory while a subscription has something of it to settle. Afterwards it stays on
disk as long as a seek could ask for it: topic retention, retained acknowledged messages, snapshots.
Callers hold the broker's lock and are inside a transaction of the store.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.pubsub_v1 import types

from emulators.pubsub.backlog import Batch, Message
from emulators.pubsub.published import Published
from emulators.pubsub.store import Store
from emulators.rpc import raw, seconds

SnapshotSpec = raw(types.Snapshot)

PURGE_EVERY_S = 60.0  # product time between two looks for what no seek can reach any more


@dataclass(frozen=True)
class Snapshot:
    """What was unacknowledged (``ids``) when message ``last`` was the newest, and all that came.

    It is of topic ``source``, whose messages end below ``until`` when that topic was deleted.
    """

    spec: Any
    source: str
    last: int
    until: int | None
    ids: frozenset[int]

    @property
    def expires(self) -> float:
        """When it is removed, in product time."""
        return seconds(self.spec.expire_time)

    def holds(self, message_id: int) -> bool:
        """Whether a message of its topic is unacknowledged in it."""
        if message_id in self.ids:
            return True
        return self.last < message_id < (math.inf if self.until is None else self.until)

    def keeps(self, batch: Batch) -> bool:
        """Whether it needs some message of a batch."""
        if batch.topic != self.source:
            return False
        return any(self.holds(message_id) for message_id in range(batch.first, batch.end))


class Archive:
    """Batches and snapshots. ``retention_s(topic)`` is how long acknowledged messages stay."""

    def __init__(self, store: Store, retention_s: Callable[[str], float]) -> None:
        self._store = store
        self._retention_s = retention_s
        self._live: dict[int, Batch] = {}
        self._idle: dict[int, Batch] = {}  # on disk only: all settled, kept for a seek
        self._next_purge = -math.inf
        self.last_id = store.last_message_id()
        self.snapshots = {row["name"]: self._snapshot(row) for row in store.snapshots()}

    # -- batches ---------------------------------------------------------------------------

    def register(self, request: Published, now: float, shared: int) -> Batch:
        """Number a publish request for ``shared`` subscriptions that take it whole."""
        first = self.last_id + 1
        batch = Batch(first, request.count, request.topic, now, request.body)
        batch.share(shared)
        if shared:
            self._live[first] = batch
        self.last_id = batch.end - 1
        return batch

    def store(self, batch: Batch, body: bytes) -> None:
        """Write a batch, if anybody waits for it or a seek could ask for it."""
        if not batch.open and not self._keeps(batch.topic):
            self._store.put_last_message_id(self.last_id)
            return
        self._store.put_batch(batch.first, batch.count, batch.topic, batch.published, body)
        if not batch.open:
            self._rest(batch)

    def load(self) -> Iterator[Message]:
        """Every stored message in id order; the caller holds those that somebody waits for."""
        for row in self._store.batches():
            batch = _loaded(row)
            self._rest(batch)
            yield from batch.messages

    def stored(self, topic: str) -> Iterator[Message]:
        """Every stored message of a topic in id order; live ones as they are."""
        for row in self._store.batches(topic):
            batch = self._live.get(row["first"]) or _loaded(row)
            yield from batch.messages

    def hold(self, message: Message) -> None:
        """One more subscription has this message to settle."""
        message.waiting += 1
        if message.waiting == 1:
            batch = message.batch
            batch.open += 1
            if batch.open == 1:
                self._live[batch.first] = batch
                self._idle.pop(batch.first, None)

    def release(self, messages: Iterable[Message], now: float) -> set[int]:
        """One subscription less waits for each; the first ids of the batches that are gone now."""
        ended: list[Batch] = []
        for message in messages:
            message.waiting -= 1
            if not message.waiting:
                message.batch.open -= 1
                if not message.batch.open:
                    del self._live[message.batch.first]
                    ended.append(message.batch)
        return self._drop([batch for batch in ended if not self._rests(batch, now)])

    def purge(self, now: float) -> None:
        """Remove the snapshots that expired and the batches that no seek can reach any more."""
        self._next_purge = now + PURGE_EVERY_S
        for name in [n for n, snapshot in self.snapshots.items() if snapshot.expires <= now]:
            self._forget(name)
        self._drop([batch for batch in self._idle.values() if not self._kept(batch, now)])

    def purge_sometimes(self, now: float) -> None:
        """Purge if the last time is long enough ago."""
        if now >= self._next_purge:
            self.purge(now)

    def _keeps(self, topic: str) -> bool:
        return self._retention_s(topic) > 0 or any(
            snapshot.source == topic for snapshot in self.snapshots.values()
        )

    def _rests(self, batch: Batch, now: float) -> bool:
        if not self._kept(batch, now):
            return False
        self._rest(batch)
        return True

    def _rest(self, batch: Batch) -> None:
        self._idle[batch.first] = batch.described()

    def _kept(self, batch: Batch, now: float) -> bool:
        if now - batch.published < self._retention_s(batch.topic):
            return True
        return any(snapshot.keeps(batch) for snapshot in self.snapshots.values())

    def _drop(self, batches: list[Batch]) -> set[int]:
        spans = [(batch.first, batch.end) for batch in batches]
        if spans:
            self._store.drop_batches(spans)
            self._store.put_last_message_id(self.last_id)
        for batch in batches:
            self._idle.pop(batch.first, None)
        return {first for first, _ in spans}

    # -- snapshots -------------------------------------------------------------------------

    def add_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a new snapshot with what was unacknowledged."""
        self.put_snapshot(snapshot)
        self._store.put_snapshot_messages(snapshot.spec.name, snapshot.ids)

    def put_snapshot(self, snapshot: Snapshot) -> None:
        """Replace a snapshot's description."""
        self._store.put_snapshot(snapshot.spec, snapshot.source, snapshot.last, snapshot.until)
        self.snapshots[snapshot.spec.name] = snapshot

    def drop_snapshot(self, name: str, now: float) -> None:
        """Remove a snapshot and what only it kept."""
        self._forget(name)
        self.purge(now)

    def _forget(self, name: str) -> None:
        del self.snapshots[name]
        self._store.drop_snapshot(name)

    def _snapshot(self, row: Any) -> Snapshot:
        spec = SnapshotSpec.FromString(row["body"])
        ids = self._store.snapshot_messages(row["name"])
        return Snapshot(spec, row["source"], row["last"], row["until"], ids)


def _loaded(row: Any) -> Batch:
    return Batch(row["first"], row["count"], row["topic"], row["published"], row["body"])
