"""The broker: topics, subscriptions and what happens to a message until it is settled."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from emulators.pubsub import errors, rules
from emulators.pubsub.archive import Archive
from emulators.pubsub.backlog import NO_LEASE, Batch, Delivery, Message
from emulators.pubsub.published import Published
from emulators.pubsub.replay import Replay
from emulators.pubsub.store import Store
from emulators.pubsub.subscription import (
    MAX_BATCH,
    RESPONSE_BYTES,
    Push,
    Stream,
    Subscription,
)
from emulators.rpc import raw, seconds

Topic = raw(types.Topic)
SubscriptionSpec = raw(types.Subscription)
PubsubMessage = raw(types.PubsubMessage)
ReceivedMessage = raw(types.ReceivedMessage)

DELETED_TOPIC = "_deleted-topic_"
_DEAD_LETTER = "CloudPubSubDeadLetterSource"
_KEPT = ("row", "source", "first", "until", "epoch")  # of a stored subscription


@dataclass(eq=False)
class _Publication:
    """A publish request on its way to the store; those that wait together commit together."""

    request: Published
    ids: list[str] = field(default_factory=list)
    failure: BaseException | None = None
    done: bool = False


class Broker:
    """All of Pub/Sub's state; every public method is safe from any thread.

    ``on_change(subscription, due)`` is called when something of a subscription may be due at
    ``due`` (product time; minus infinity: now). It must not block and not call back.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._store = Store(path)
        self._archive = Archive(self._store, self._acked_retention)
        self._replay = Replay(self._store, self._archive)
        self._topics: dict[str, Any] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._by_topic: dict[str, dict[str, Subscription]] = {}
        self._incoming: deque[_Publication] = deque()
        self._stopping = False
        self.on_change: Callable[[str, float], None] = lambda name, due: None
        self._load()

    # -- life ------------------------------------------------------------------------------

    def stop(self) -> None:
        """Wake every waiting pull and stream so that they end."""
        with self._lock:
            self._stopping = True
            for subscription in self._subscriptions.values():
                subscription.changed.notify_all()

    def close(self) -> None:
        """Close the store; nothing may be called afterwards."""
        with self._lock:
            self._store.close()

    def _load(self) -> None:
        with self._store.transaction():
            for body in self._store.topics():
                topic = Topic.FromString(body)
                self._topics[topic.name] = topic
            for row in self._store.subscriptions():
                spec = SubscriptionSpec.FromString(row["body"])
                self._admit(spec, **{key: row[key] for key in _KEPT})
            self._load_deliveries()
            self._archive.purge(self._clock.now())

    def _load_deliveries(self) -> None:
        rows = {(row["message"], row["subscription"]): row for row in self._store.deliveries()}
        by_source: dict[str, list[Subscription]] = {}
        for subscription in self._subscriptions.values():
            by_source.setdefault(subscription.source, []).append(subscription)
        for message in self._archive.load():
            for subscription in by_source.get(message.batch.topic, ()):
                row = rows.get((message.id, subscription.row))
                delivery = _resumed(subscription, message, row)
                if delivery is not None:
                    self._archive.hold(message)
                    subscription.backlog.add(delivery)

    def _admit(self, spec: Any, **kept: Any) -> Subscription:
        subscription = Subscription(spec, self._lock, **kept)
        self._subscriptions[spec.name] = subscription
        if not spec.detached and subscription.until is None:
            self._by_topic.setdefault(subscription.source, {})[spec.name] = subscription
        return subscription

    # -- topics ----------------------------------------------------------------------------

    def create_topic(self, topic: Any) -> Any:
        """The new topic; ALREADY_EXISTS when the name is taken."""
        rules.check_topic(topic)
        with self._lock, self._store.transaction():
            if topic.name in self._topics:
                raise errors.exists(topic.name)
            return self._save_topic(topic)

    def topic(self, name: str) -> Any:
        """The topic, or NOT_FOUND."""
        with self._lock:
            if name not in self._topics:
                raise errors.missing(name)
            return self._topics[name]

    def update_topic(self, wanted: Any, mask: FieldMask) -> Any:
        """The changed topic."""
        with self._lock, self._store.transaction():
            topic = rules.merged_topic(self.topic(wanted.name), wanted, mask)
            rules.check_topic(topic)
            self._save_topic(topic)
            for subscription in self._by_topic.get(topic.name, {}).values():
                _show_retention(topic, subscription.spec)
                self._save(subscription)
            self._archive.purge(self._clock.now())
            return topic

    def delete_topic(self, name: str) -> None:
        """Forget a topic; its subscriptions and snapshots keep their messages, of no topic."""
        with self._lock, self._store.transaction():
            self.topic(name)
            until = self._archive.last_id + 1
            for subscription in self._by_topic.pop(name, {}).values():
                subscription.spec.topic = DELETED_TOPIC
                subscription.spec.ClearField("topic_message_retention_duration")
                subscription.until = until
                self._save(subscription)
            self._replay.orphan(name, DELETED_TOPIC, until)
            del self._topics[name]
            self._store.drop_topic(name)
            self._archive.purge(self._clock.now())

    def topics(self, project: str) -> dict[str, Any]:
        """The topics of ``projects/P`` by name."""
        with self._lock:
            return {n: t for n, t in self._topics.items() if n.startswith(project + "/")}

    def _save_topic(self, topic: Any) -> Any:
        self._store.put_topic(topic)
        self._topics[topic.name] = topic
        return topic

    def _acked_retention(self, topic: str) -> float:
        """How long a topic's acknowledged messages stay: its own retention, its subscriptions'."""
        known = self._topics.get(topic)
        longest = seconds(known.message_retention_duration) if known else 0.0
        for subscription in self._subscriptions.values():
            spec = subscription.spec
            if subscription.source == topic and spec.retain_acked_messages and not spec.detached:
                longest = max(longest, seconds(spec.message_retention_duration))
        return longest

    # -- subscriptions ---------------------------------------------------------------------

    def create_subscription(self, spec: Any) -> Any:
        """The new subscription with the defaults filled in; it sees what is published from now."""
        rules.fill_defaults(spec)
        rules.check_subscription(spec)
        spec.state = SubscriptionSpec.ACTIVE
        with self._lock, self._store.transaction():
            if spec.name in self._subscriptions:
                raise errors.exists(spec.name)
            _show_retention(self.topic(spec.topic), spec)
            self._check_dead_letter_topic(spec)
            first = self._archive.last_id + 1
            row = self._store.add_subscription(spec, first)
            self._admit(spec, row=row, source=spec.topic, first=first)
        self.on_change(spec.name, -math.inf)
        return spec

    def subscription(self, name: str) -> Any:
        """The subscription's description, or NOT_FOUND."""
        with self._lock:
            return self._subscription(name).spec

    def update_subscription(self, wanted: Any, mask: FieldMask) -> Any:
        """The changed subscription."""
        with self._lock, self._store.transaction():
            subscription = self._subscription(wanted.name)
            spec = rules.merged_subscription(subscription.spec, wanted, mask)
            return self._change(subscription, spec)

    def modify_push(self, name: str, config: Any) -> None:
        """Replace the push configuration; an empty one makes it a pull subscription."""
        with self._lock, self._store.transaction():
            subscription = self._subscription(name)
            spec = SubscriptionSpec()
            spec.CopyFrom(subscription.spec)
            spec.push_config.CopyFrom(config)
            self._change(subscription, spec)

    def detach_subscription(self, name: str) -> None:
        """Cut it off its topic: its backlog is dropped, pulls and streams are refused."""
        with self._lock, self._store.transaction():
            subscription = self._subscription(name)
            subscription.spec.detached = True
            self._by_topic.get(subscription.source, {}).pop(name, None)
            self._save(subscription)
            self._store.drop_deliveries(subscription.row)
            self._empty(subscription)
        self.on_change(name, -math.inf)

    def delete_subscription(self, name: str) -> None:
        """Forget a subscription and its backlog; its pulls and streams end with NOT_FOUND."""
        with self._lock, self._store.transaction():
            subscription = self._subscription(name)
            del self._subscriptions[name]
            self._by_topic.get(subscription.source, {}).pop(name, None)
            self._store.drop_subscription(subscription.row)
            self._empty(subscription)
        self.on_change(name, -math.inf)

    def subscriptions(self, project: str) -> dict[str, Any]:
        """The subscriptions of ``projects/P`` by name."""
        with self._lock:
            return {
                name: subscription.spec
                for name, subscription in self._subscriptions.items()
                if name.startswith(project + "/")
            }

    def subscriptions_of(self, topic: str) -> list[str]:
        """The names of the subscriptions that are attached to a topic."""
        with self._lock:
            self.topic(topic)
            return list(self._by_topic.get(topic, {}))

    def subscription_names(self) -> list[str]:
        """The names of all subscriptions."""
        with self._lock:
            return list(self._subscriptions)

    def _subscription(self, name: str) -> Subscription:
        if name not in self._subscriptions:
            raise errors.missing(name)
        return self._subscriptions[name]

    def _attached(self, name: str) -> Subscription:
        subscription = self._subscription(name)
        if subscription.spec.detached:
            raise errors.precondition(f"{name} is detached from its topic.")
        return subscription

    def _change(self, subscription: Subscription, spec: Any) -> Any:
        rules.fill_defaults(spec)
        rules.check_subscription(spec)
        self._check_dead_letter_topic(spec)
        subscription.spec = spec
        self._save(subscription)
        self._archive.purge(self._clock.now())
        subscription.changed.notify_all()
        self.on_change(spec.name, -math.inf)
        return spec

    def _save(self, subscription: Subscription) -> None:
        self._store.put_subscription(
            subscription.row, subscription.spec, subscription.until, subscription.epoch
        )

    def _empty(self, subscription: Subscription) -> None:
        """Drop the backlog, and what was kept for this subscription alone."""
        now = self._clock.now()
        self._archive.release((d.message for d in subscription.backlog), now)
        subscription.replace_backlog([])
        self._archive.purge(now)
        subscription.changed.notify_all()

    def _check_dead_letter_topic(self, spec: Any) -> None:
        if spec.HasField("dead_letter_policy"):
            self.topic(spec.dead_letter_policy.dead_letter_topic)

    # -- publish ---------------------------------------------------------------------------

    def publish(self, request: Published) -> list[str]:
        """Store the messages on every matching subscription; their ids, once they are durable.

        Requests that wait together commit together.
        """
        rules.check_publish(request)
        publication = _Publication(request)
        self._incoming.append(publication)
        with self._lock:
            if not publication.done:
                self._accept_incoming()
        if publication.failure is not None:
            raise publication.failure
        return publication.ids

    def _accept_incoming(self) -> None:
        waiting = [self._incoming.popleft() for _ in range(len(self._incoming))]
        batches: list[Batch] = []
        try:
            with self._store.transaction():
                for publication in waiting:
                    publication.done = True
                    batches += self._accept(publication)
                self._archive.purge_sometimes(self._clock.now())
        except BaseException as error:
            for publication in waiting:
                publication.failure = publication.failure or error
            raise
        self._announce(batches)

    def _accept(self, publication: _Publication) -> list[Batch]:
        topic = publication.request.topic
        if topic not in self._topics:
            publication.failure = errors.missing(topic)
            return []
        batch = self._write(publication.request)
        publication.ids = [str(message_id) for message_id in range(batch.first, batch.end)]
        return [batch]

    def _write(self, request: Published) -> Batch:
        """Number, store and queue the messages of a request."""
        attached = self._by_topic.get(request.topic, {}).values()
        whole = [subscription for subscription in attached if subscription.takes_whole]
        batch = self._archive.register(request, self._clock.now(), len(whole))
        for subscription in whole:
            subscription.backlog.add_batch(batch)
        for subscription in attached:
            if subscription.takes_whole:
                continue
            for message in batch.messages:
                if subscription.matches(message.body):
                    self._archive.hold(message)
                    subscription.backlog.add(Delivery(message, due=batch.published))
        self._archive.store(batch, request.body)
        return batch

    def _announce(self, batches: Iterable[Batch]) -> None:
        """Wake those who wait for messages of these topics."""
        for topic in {batch.topic for batch in batches if batch.open}:
            for subscription in self._by_topic.get(topic, {}).values():
                self._wake(subscription)

    def _wake(self, subscription: Subscription) -> None:
        if subscription.pushes:
            self.on_change(subscription.name, -math.inf)
        else:
            subscription.changed.notify_all()

    # -- pull ------------------------------------------------------------------------------

    def pull(self, name: str, count: int, wait_s: float) -> list[Any]:
        """Up to ``count`` messages, waiting ``wait_s`` machine seconds for the first."""
        if count < 1:
            raise errors.invalid("max_messages must be at least 1.")
        until = time.monotonic() + wait_s
        with self._lock:
            while True:
                subscription = self._pullable(name)
                taken = self._take(subscription, min(count, MAX_BATCH), RESPONSE_BYTES)
                left = until - time.monotonic()
                if taken or left <= 0 or self._stopping:
                    return self._received(subscription, taken)
                subscription.changed.wait(left)

    def open_stream(self, name: str, deadline_s: int, max_messages: int, max_bytes: int) -> Stream:
        """A stream on a pull subscription."""
        rules.check_stream_deadline(deadline_s)
        with self._lock:
            self._pullable(name)
        return Stream(name, deadline_s, max_messages, max_bytes)

    def next_batch(self, stream: Stream) -> tuple[list[Any], list[Any]]:
        """The stream's next messages and confirmations, waiting for either; none: it is closed."""
        with self._lock:
            while not stream.closed:
                if self._stopping:
                    raise errors.stopping()
                subscription = self._pullable(stream.subscription)
                taken = self._take(subscription, *stream.room(), stream)
                if taken or stream.told:
                    told = [stream.told.popleft() for _ in range(len(stream.told))]
                    return self._received(subscription, taken), told
                subscription.changed.wait()
        return [], []

    def tell(self, stream: Stream, confirmation: Any) -> None:
        """Send a confirmation on the stream."""
        with self._lock:
            stream.told.append(confirmation)
            subscription = self._subscriptions.get(stream.subscription)
            if subscription is not None:
                subscription.changed.notify_all()

    def set_stream_deadline(self, stream: Stream, deadline_s: int) -> None:
        """The ack deadline of what the stream is sent from now on."""
        rules.check_stream_deadline(deadline_s)
        stream.deadline_s = deadline_s

    def close_stream(self, stream: Stream) -> None:
        """End a stream; its leases run on, as documented, until their deadline."""
        with self._lock:
            stream.closed = True
            subscription = self._subscriptions.get(stream.subscription)
            if subscription is not None:
                subscription.changed.notify_all()

    def acknowledge(self, name: str, ack_ids: Sequence[str]) -> list[str]:
        """Settle messages; the ack ids that exactly-once delivery refuses (else none are).

        Without it an expired ack id still settles its message, as it may at Google.
        """
        with self._lock:
            subscription = self._subscription(name)
            found = self._speaking(subscription, ack_ids, subscription.exactly_once)
            if found:
                with self._store.transaction():
                    self._settle(subscription, found.values())
                subscription.changed.notify_all()
            return _refused(subscription, ack_ids, found)

    def modify_deadline(self, name: str, ack_ids: Sequence[str], deadline_s: int) -> list[str]:
        """Extend leases, or refuse the messages with 0; the ack ids that exactly-once refuses.

        Without exactly-once delivery expired ack ids are let pass.
        """
        rules.check_ack_deadline(deadline_s)
        with self._lock:
            subscription = self._subscription(name)
            found = self._speaking(subscription, ack_ids, True)
            if found:
                with self._store.transaction():
                    if deadline_s == 0:
                        self._failed(subscription, found.values())
                    else:
                        self._extend(subscription, found.values(), self._clock.now() + deadline_s)
                subscription.changed.notify_all()
            return _refused(subscription, ack_ids, found)

    def _speaking(
        self, subscription: Subscription, ack_ids: Iterable[str], holding: bool
    ) -> dict[str, Delivery]:
        """The deliveries that these ack ids speak for; if ``holding``, only under a lease."""
        if holding:
            self._sweep(subscription, self._clock.now())
        found = ((ack_id, subscription.named(ack_id, holding)) for ack_id in ack_ids)
        return {ack_id: delivery for ack_id, delivery in found if delivery is not None}

    def _pullable(self, name: str) -> Subscription:
        subscription = self._attached(name)
        if subscription.pushes:
            raise errors.precondition(f"{name} is a push subscription.")
        return subscription

    def _take(
        self, subscription: Subscription, count: int, size: int, stream: Stream | None = None
    ) -> list[Delivery]:
        self._sweep(subscription, self._clock.now())
        now = self._clock.now()  # after the sweep: what it brought back is due by now
        deadline = stream.deadline_s if stream else subscription.spec.ack_deadline_seconds
        oversize = stream is None or not stream.held
        while taken := subscription.backlog.take(
            now, count, size, now + deadline, stream, oversize
        ):
            if kept := self._leased(subscription, taken, now):
                if stream is not None:
                    stream.hold(kept)
                self.on_change(subscription.name, now + deadline)
                return kept
        return []

    def _leased(
        self, subscription: Subscription, taken: list[Delivery], now: float
    ) -> list[Delivery]:
        """Record the leases; what is past its retention is settled and left out."""
        oldest = now - subscription.retention_s()
        kept = [d for d in taken if d.message.published > oldest]
        with self._store.transaction():
            if len(kept) < len(taken):
                stale = (d for d in taken if d.message.published <= oldest)
                self._settle(subscription, stale)
            self._store.put_deliveries(subscription.row, kept)
        return kept

    def _received(self, subscription: Subscription, taken: Iterable[Delivery]) -> list[Any]:
        counts = subscription.spec.HasField("dead_letter_policy")
        return [
            ReceivedMessage(
                ack_id=subscription.ack_id(delivery),
                message=delivery.message.stamp(),
                delivery_attempt=delivery.attempts if counts else 0,
            )
            for delivery in taken
        ]

    def _extend(self, subscription: Subscription, held: Iterable[Delivery], lease: float) -> None:
        changed = list(held)
        for delivery in changed:
            subscription.backlog.extend(delivery, lease)
        self._store.put_deliveries(subscription.row, changed)
        self.on_change(subscription.name, lease)

    # -- push ------------------------------------------------------------------------------

    def take_pushes(self, name: str, count: int) -> list[Push]:
        """What is due to be posted, at most ``count``; the poster must settle or refuse each."""
        with self._lock:
            subscription = self._subscriptions.get(name)
            if subscription is None or not subscription.pushes or count < 1:
                return []
            now = self._clock.now()
            self._sweep(subscription, now)
            while taken := subscription.backlog.take(now, count, RESPONSE_BYTES, math.inf):
                if kept := self._leased(subscription, taken, now):
                    return [_push(subscription.spec, delivery) for delivery in kept]
            return []

    def settle_pushes(self, pushes: Iterable[Push]) -> None:
        """Their endpoints accepted them; recorded together."""
        accepted: dict[str, list[Delivery]] = {}
        with self._lock, self._store.transaction():
            for push in pushes:
                subscription = self._subscriptions.get(push.subscription)
                if subscription is not None and _stands(subscription, push):
                    accepted.setdefault(push.subscription, []).append(push.delivery)
            for name, deliveries in accepted.items():
                self._settle(self._subscriptions[name], deliveries)
        for name in accepted:
            self.on_change(name, -math.inf)

    def refuse_push(self, push: Push) -> None:
        """The endpoint refused it or did not answer in time."""
        with self._lock:
            subscription = self._subscriptions.get(push.subscription)
            if subscription is None or not _stands(subscription, push):
                return
            if push.delivery.lease and push.delivery.attempts == push.attempt:
                with self._store.transaction():
                    self._failed(subscription, [push.delivery])
                self.on_change(push.subscription, -math.inf)

    def under_way(self) -> int:
        """Pushes whose outcome is not recorded, and subscriptions with one to be made now."""
        with self._lock:
            waiting = [one for one in self._subscriptions.values() if one.backlog]
            if not waiting:
                return 0
            now = self._clock.now()
            return sum(one.backlog.under_way(now) for one in waiting if one.pushes)

    def tick(self, name: str) -> float | None:
        """Do what time demands of a subscription; when to come again, None when it is gone."""
        with self._lock:
            subscription = self._subscriptions.get(name)
            if subscription is None:
                return None
            now = self._clock.now()
            self._sweep(subscription, now)
            due = subscription.backlog.next_due()
            if due <= now and not subscription.pushes:
                subscription.changed.notify_all()
                due = math.inf  # those who take it are awake: the next change wakes us
            return min(due, subscription.backlog.next_expiry())

    # -- the end of a delivery -------------------------------------------------------------

    def _sweep(self, subscription: Subscription, now: float) -> None:
        """Expire leases that ran out."""
        ended = subscription.backlog.expired(now)
        if ended:
            with self._store.transaction():
                self._failed(subscription, ended)

    def _settle(self, subscription: Subscription, deliveries: Iterable[Delivery]) -> None:
        """Acknowledged or given up: drop it, or mark it while others need its batch."""
        settled = list(dict.fromkeys(deliveries))
        for delivery in settled:
            subscription.backlog.settle(delivery)
        gone = self._archive.release((d.message for d in settled), self._clock.now())
        marked = [d for d in settled if d.message.batch.first not in gone]
        if marked:
            self._store.put_deliveries(subscription.row, marked, settled=True)

    def _failed(self, subscription: Subscription, deliveries: Iterable[Delivery]) -> None:
        """Refused, or not acknowledged in time: try again later, or give up to the dead letters."""
        now = self._clock.now()
        oldest = now - subscription.retention_s()
        retried: list[Delivery] = []
        for delivery in deliveries:
            if subscription.spent(delivery.attempts) and self._bury(subscription, delivery):
                continue
            if delivery.message.published <= oldest:
                self._settle(subscription, [delivery])
                continue
            subscription.backlog.retry(delivery, now + subscription.backoff(delivery.attempts))
            retried.append(delivery)
        self._store.put_deliveries(subscription.row, retried)
        self.on_change(subscription.name, min((d.due for d in retried), default=math.inf))

    def _bury(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Forward to the dead-letter topic; False when that topic is gone (delivery goes on)."""
        topic = subscription.spec.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            return False
        body = _dead_letter(subscription.spec, delivery)
        self._announce([self._write(Published.of(topic, body))])
        self._settle(subscription, [delivery])
        return True

    # -- seek and snapshots ----------------------------------------------------------------

    def seek_to_time(self, name: str, at: float) -> None:
        """Everything published from ``at`` on is unacknowledged, everything before is not."""
        with self._lock, self._store.transaction():
            subscription, now = self._seekable(name)
            self._move(subscription, *self._replay.to_time(subscription, at, now))

    def seek_to_snapshot(self, name: str, snapshot: str) -> None:
        """What is unacknowledged in the snapshot is so here, and nothing else."""
        with self._lock, self._store.transaction():
            subscription, now = self._seekable(name)
            self._move(subscription, *self._replay.to_snapshot(subscription, snapshot, now))

    def _seekable(self, name: str) -> tuple[Subscription, float]:
        """The subscription, without what its retention no longer covers."""
        subscription, now = self._attached(name), self._clock.now()
        self._sweep(subscription, now)
        oldest = now - subscription.retention_s()
        self._settle(
            subscription, [d for d in subscription.backlog if d.message.published <= oldest]
        )
        return subscription, now

    def _move(
        self, subscription: Subscription, settled: list[Delivery], restored: list[Delivery]
    ) -> None:
        for delivery in restored:
            self._archive.hold(delivery.message)
        self._settle(subscription, settled)
        subscription.epoch += 1
        self._store.put_deliveries(subscription.row, restored)
        subscription.replace_backlog([*subscription.backlog, *restored])
        self._save(subscription)
        self._wake(subscription)
        self.on_change(subscription.name, -math.inf)

    def create_snapshot(self, request: Any) -> Any:
        """A snapshot of what the subscription has not acknowledged."""
        with self._lock, self._store.transaction():
            subscription, now = self._seekable(request.subscription)
            return self._replay.create(subscription, request, now).spec

    def snapshot(self, name: str) -> Any:
        """The snapshot's description, or NOT_FOUND."""
        with self._lock:
            return self._replay.snapshot(name, self._clock.now()).spec

    def snapshots(self, project: str) -> dict[str, Any]:
        """The snapshots of ``projects/P`` by name."""
        with self._lock:
            found = self._replay.snapshots(self._clock.now())
            return {n: s.spec for n, s in found.items() if n.startswith(project + "/")}

    def snapshots_of(self, topic: str) -> list[str]:
        """The names of the snapshots of a topic."""
        with self._lock:
            self.topic(topic)
            found = self._replay.snapshots(self._clock.now())
            return [name for name, snapshot in found.items() if snapshot.spec.topic == topic]

    def update_snapshot(self, wanted: Any, mask: FieldMask) -> Any:
        """The changed snapshot."""
        with self._lock, self._store.transaction():
            return self._replay.update(wanted, mask, self._clock.now()).spec

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot and what only it kept."""
        with self._lock, self._store.transaction():
            self._replay.delete(name, self._clock.now())


def _falls_to(subscription: Subscription, message: Message) -> bool:
    """Whether a message without a row of its own waits on a subscription."""
    return (
        not subscription.spec.detached
        and subscription.gets(message.id, message.batch.topic)
        and subscription.matches(message.body)
    )


def _resumed(subscription: Subscription, message: Message, row: Any) -> Delivery | None:
    """A stored message's delivery as it stood; None when there is nothing to deliver."""
    if row is None:
        falls = _falls_to(subscription, message)
        return Delivery(message, due=message.published) if falls else None
    if row["settled"]:
        return None
    lease = NO_LEASE if subscription.pushes else row["lease"]  # the posts died with us
    return Delivery(message, row["due"], row["attempts"], lease, epoch=row["epoch"])


def _show_retention(topic: Any, spec: Any) -> None:
    """A subscription shows its topic's retention, which lengthens its own."""
    spec.ClearField("topic_message_retention_duration")
    if topic.HasField("message_retention_duration"):
        spec.topic_message_retention_duration.CopyFrom(topic.message_retention_duration)


def _stands(subscription: Subscription, push: Push) -> bool:
    """Whether a push's delivery is still to be settled (a seek may have replaced it)."""
    return subscription.backlog.get(push.delivery.message.id) is push.delivery


def _refused(
    subscription: Subscription, ack_ids: Iterable[str], found: dict[str, Delivery]
) -> list[str]:
    if not subscription.exactly_once:
        return []
    return [ack_id for ack_id in dict.fromkeys(ack_ids) if ack_id not in found]


def _push(spec: Any, delivery: Delivery) -> Push:
    return Push(
        subscription=spec.name,
        config=spec.push_config,
        delivery=delivery,
        attempt=delivery.attempts,
        timeout_s=spec.ack_deadline_seconds,
        dead_letters=spec.HasField("dead_letter_policy"),
    )


def _dead_letter(spec: Any, delivery: Delivery) -> Any:
    """The message as the dead-letter topic gets it, with where it came from."""
    body = PubsubMessage()
    body.CopyFrom(delivery.message.body)
    body.ClearField("message_id")
    body.ClearField("publish_time")
    _, project, _, short = spec.name.split("/")
    published = datetime.fromtimestamp(delivery.message.published, UTC)
    body.attributes[f"{_DEAD_LETTER}DeliveryCount"] = str(delivery.attempts)
    body.attributes[f"{_DEAD_LETTER}Subscription"] = short
    body.attributes[f"{_DEAD_LETTER}SubscriptionProject"] = project
    body.attributes[f"{_DEAD_LETTER}TopicPublishTime"] = published.isoformat(
        timespec="milliseconds"
    )
    return body
