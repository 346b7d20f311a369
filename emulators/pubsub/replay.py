"""Seeking and snapshots: moving a subscription's acknowledgements to a time or a snapshot.

Callers hold the broker's lock and are inside a transaction of the store.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from emulators.pubsub import errors, rules
from emulators.pubsub.archive import Archive, Snapshot, SnapshotSpec
from emulators.pubsub.backlog import Delivery, Message
from emulators.pubsub.store import Store
from emulators.pubsub.subscription import Subscription
from emulators.rpc import seconds, timestamp

LIFETIME_S = 7 * 86_400.0  # of a snapshot whose subscription has no backlog
LEAST_LIFETIME_S = 3_600.0


class Replay:
    """What seeks bring back and drop, and the life of snapshots."""

    def __init__(self, store: Store, archive: Archive) -> None:
        self._store = store
        self._archive = archive

    def to_time(
        self, subscription: Subscription, at: float, now: float
    ) -> tuple[list[Delivery], list[Delivery]]:
        """What to settle and what to bring back so that all from ``at`` on is unacknowledged."""
        spec = subscription.spec
        topic_keeps = seconds(spec.topic_message_retention_duration)
        own = self._store.settled(subscription.row) if spec.retain_acked_messages else set()
        own_keeps = seconds(spec.message_retention_duration)

        def reachable(message: Message) -> bool:
            age = now - message.published
            return age < topic_keeps or (message.id in own and age < own_keeps)

        return self._moved(subscription, lambda m: m.published >= at, reachable, now)

    def to_snapshot(
        self, subscription: Subscription, name: str, now: float
    ) -> tuple[list[Delivery], list[Delivery]]:
        """What to settle and what to bring back so that it stands as the snapshot does."""
        snapshot = self.snapshot(name, now)
        if (snapshot.source, snapshot.until) != (subscription.source, subscription.until):
            raise errors.precondition(
                f"The subscription's topic {subscription.source} is different from that of the "
                f"snapshot {snapshot.source}; a topic created again is a distinct topic."
            )
        return self._moved(
            subscription, lambda m: snapshot.holds(m.id), lambda m: snapshot.holds(m.id), now
        )

    def _moved(
        self,
        subscription: Subscription,
        wanted: Callable[[Message], bool],
        reachable: Callable[[Message], bool],
        now: float,
    ) -> tuple[list[Delivery], list[Delivery]]:
        settled: list[Delivery] = []
        restored: list[Delivery] = []
        for message in self._archive.stored(subscription.source):
            pending = subscription.backlog.get(message.id)
            if pending is not None:
                if not wanted(message):
                    settled.append(pending)
            elif (
                wanted(message)
                and (subscription.until is None or message.id < subscription.until)
                and subscription.matches(message.body)
                and reachable(message)
            ):
                restored.append(Delivery(message, due=now, epoch=subscription.epoch + 1))
        return settled, restored

    # -- snapshots -------------------------------------------------------------------------

    def create(self, subscription: Subscription, request: Any, now: float) -> Snapshot:
        """A snapshot of what is unacknowledged; ALREADY_EXISTS, FAILED_PRECONDITION."""
        project = "/".join(subscription.name.split("/")[:2])
        name = request.name or f"{project}/snapshots/snapshot-{secrets.token_hex(8)}"
        rules.check_new_snapshot(name, request)
        if name in self.snapshots(now):
            raise errors.exists(name)
        if name in self._archive.snapshots:
            self._archive.drop_snapshot(name, now)
        spec = SnapshotSpec(name=name, topic=subscription.spec.topic, labels=request.labels)
        oldest = min((d.message.published for d in subscription.backlog), default=now)
        expires = oldest + LIFETIME_S
        if expires - now < LEAST_LIFETIME_S:
            raise errors.precondition(
                "The backlog is too old: the snapshot would expire in less than 1 hour."
            )
        spec.expire_time.CopyFrom(timestamp(expires))
        snapshot = Snapshot(
            spec,
            subscription.source,
            self._archive.last_id,
            subscription.until,
            frozenset(d.message.id for d in subscription.backlog),
        )
        self._archive.add_snapshot(snapshot)
        return snapshot

    def snapshots(self, now: float) -> dict[str, Snapshot]:
        """Those that have not expired, by name."""
        return {n: s for n, s in self._archive.snapshots.items() if s.expires > now}

    def snapshot(self, name: str, now: float) -> Snapshot:
        """One of them, or NOT_FOUND."""
        found = self._archive.snapshots.get(name)
        if found is None or found.expires <= now:
            raise errors.missing(name)
        return found

    def update(self, wanted: Any, mask: FieldMask, now: float) -> Snapshot:
        """The changed snapshot: labels, or an earlier expiry."""
        current = self.snapshot(wanted.name, now)
        spec = rules.merged_snapshot(current.spec, wanted, mask)
        if not now < seconds(spec.expire_time) <= current.expires:
            raise errors.invalid("expire_time must be in the future and not after the present one.")
        changed = replace(current, spec=spec)
        self._archive.put_snapshot(changed)
        return changed

    def delete(self, name: str, now: float) -> None:
        """Remove a snapshot, or NOT_FOUND."""
        self.snapshot(name, now)
        self._archive.drop_snapshot(name, now)

    def orphan(self, topic: str, deleted: str, until: int) -> None:
        """The topic is deleted: its snapshots say so, and nothing comes after ``until``."""
        for snapshot in list(self._archive.snapshots.values()):
            if snapshot.source == topic and snapshot.until is None:
                spec = SnapshotSpec()
                spec.CopyFrom(snapshot.spec)
                spec.topic = deleted
                self._archive.put_snapshot(replace(snapshot, spec=spec, until=until))
