"""The broker: topics, subscriptions and what happens to a message until it is settled."""

from __future__ import annotations

import math
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geminivideo.runtime.clock import Clock
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from emulators.pubsub import errors, rules
from emulators.pubsub.backlog import NO_LEASE, Backlog, Delivery, Message
from emulators.pubsub.filter import Predicate, compile_filter
from emulators.pubsub.store import Store
from emulators.rpc import raw, seconds, timestamp

Topic = raw(types.Topic)
SubscriptionSpec = raw(types.Subscription)
PubsubMessage = raw(types.PubsubMessage)
ReceivedMessage = raw(types.ReceivedMessage)

DELETED_TOPIC = "_deleted-topic_"
MAX_BATCH = 1_000  # messages in one response
RESPONSE_BYTES = 3_000_000  # of messages in one response, under gRPC's usual 4 MiB
PUSH_BACKOFF_S = (0.1, 60.0)  # documented for push without a retry policy
_DEAD_LETTER = "CloudPubSubDeadLetterSource"


class Subscription:
    """A subscription at work: its description, its backlog and those who wait on it."""

    def __init__(self, spec: Any, lock: threading.RLock) -> None:
        self.spec = spec
        self.backlog = Backlog(ordered=spec.enable_message_ordering)
        self.changed = threading.Condition(lock)
        self.deleted = False
        self.matches: Predicate = compile_filter(spec.filter)

    @property
    def name(self) -> str:
        """``projects/P/subscriptions/S``."""
        return str(self.spec.name)

    @property
    def pushes(self) -> bool:
        """Whether deliveries are posted to an endpoint."""
        return bool(self.spec.push_config.push_endpoint)

    def ack_id(self, delivery: Delivery) -> str:
        """An ack id that stays valid over a restart and on this subscription only."""
        return f"{self._mark()}-{delivery.message.id}-{delivery.attempts}"

    def parse_ack_id(self, ack_id: str) -> tuple[int, int]:
        """Message id and attempt; raises INVALID_ARGUMENT for what this never gave out."""
        mark, _, rest = ack_id.partition("-")
        message_id, _, attempt = rest.partition("-")
        if mark != self._mark() or not message_id.isdigit() or not attempt.isdigit():
            raise errors.invalid(f"Some acknowledgement ids are invalid (ack_id={ack_id[:60]}).")
        return int(message_id), int(attempt)

    def backoff(self, attempts: int) -> float:
        """Seconds until the next delivery after ``attempts`` that failed."""
        doublings = 2.0 ** min(attempts - 1, 60)
        if self.spec.HasField("retry_policy"):
            policy = self.spec.retry_policy
            low, high = seconds(policy.minimum_backoff), seconds(policy.maximum_backoff)
            return min(high, low * doublings)
        if self.pushes:
            low, high = PUSH_BACKOFF_S
            return min(high, low * doublings)
        return 0.0

    def spent(self, attempts: int) -> bool:
        """Whether ``attempts`` failures are all that the dead-letter policy allows."""
        policy = self.spec.dead_letter_policy
        return bool(policy.dead_letter_topic) and attempts >= policy.max_delivery_attempts

    def _mark(self) -> str:
        return f"{zlib.crc32(self.spec.name.encode()):08x}"


@dataclass(frozen=True)
class Push:
    """One delivery on its way to an endpoint; ``timeout_s`` is in product seconds."""

    subscription: str
    endpoint: str
    message: Any
    message_id: int
    attempt: int
    timeout_s: float
    dead_letters: bool
    service_account: str
    audience: str


@dataclass(eq=False)
class Stream:
    """One StreamingPull: its deadline, its flow-control window and what it holds."""

    subscription: str
    deadline_s: float
    max_messages: int
    max_bytes: int
    closed: bool = False
    held: dict[int, int] = field(default_factory=dict)

    def released(self, delivery: Delivery) -> None:
        """A lease of this stream ended."""
        self.held.pop(delivery.message.id, None)

    def room(self) -> tuple[int, int]:
        """Messages and bytes that may still be sent; limits of 0 or less are none."""
        messages = self.max_messages - len(self.held) if self.max_messages > 0 else MAX_BATCH
        size = self.max_bytes - sum(self.held.values()) if self.max_bytes > 0 else RESPONSE_BYTES
        return messages, min(size, RESPONSE_BYTES)


class Broker:
    """All of Pub/Sub's state; every public method is safe from any thread.

    ``on_change(subscription, due)`` is called when something of a subscription may be due at
    ``due`` (product time; minus infinity: now). It must not block and not call back.
    """

    def __init__(self, path: Path, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._store = Store(path)
        self._topics: dict[str, Any] = {}
        self._subscriptions: dict[str, Subscription] = {}
        self._by_topic: dict[str, dict[str, Subscription]] = {}
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
            for body in self._store.subscriptions():
                self._admit(SubscriptionSpec.FromString(body))
            self._next_id = self._store.last_message_id() + 1
            self._load_deliveries()

    def _load_deliveries(self) -> None:
        messages = {row["id"]: _loaded(row) for row in self._store.messages()}
        for row in self._store.deliveries():
            subscription = self._subscriptions.get(row["subscription"])
            message = messages.get(row["message"])
            if subscription is None or message is None:
                continue
            lease = NO_LEASE if subscription.pushes else row["lease"]  # the posts died with us
            delivery = Delivery(message, row["due"], row["attempts"], lease)
            message.waiting += 1
            subscription.backlog.add(delivery)
        self._store.drop_messages(id_ for id_, m in messages.items() if not m.waiting)

    def _admit(self, spec: Any) -> Subscription:
        subscription = Subscription(spec, self._lock)
        self._subscriptions[spec.name] = subscription
        self._by_topic.setdefault(spec.topic, {})[spec.name] = subscription
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
            return self._save_topic(topic)

    def delete_topic(self, name: str) -> None:
        """Forget a topic; its subscriptions keep their backlog and point to no topic."""
        with self._lock, self._store.transaction():
            self.topic(name)
            for subscription in self._by_topic.pop(name, {}).values():
                subscription.spec.topic = DELETED_TOPIC
                self._store.put_subscription(subscription.spec)
            del self._topics[name]
            self._store.drop_topic(name)

    def topics(self, project: str) -> dict[str, Any]:
        """The topics of ``projects/P`` by name."""
        with self._lock:
            return {n: t for n, t in self._topics.items() if n.startswith(project + "/")}

    def _save_topic(self, topic: Any) -> Any:
        self._store.put_topic(topic)
        self._topics[topic.name] = topic
        return topic

    # -- subscriptions ---------------------------------------------------------------------

    def create_subscription(self, spec: Any) -> Any:
        """The new subscription with the defaults filled in; it sees what is published from now."""
        rules.fill_defaults(spec)
        rules.check_subscription(spec)
        spec.state = SubscriptionSpec.ACTIVE
        with self._lock, self._store.transaction():
            if spec.name in self._subscriptions:
                raise errors.exists(spec.name)
            self.topic(spec.topic)
            self._check_dead_letter_topic(spec)
            self._store.put_subscription(spec)
            self._admit(spec)
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

    def delete_subscription(self, name: str) -> None:
        """Forget a subscription and its backlog; its pulls and streams end with NOT_FOUND."""
        with self._lock, self._store.transaction():
            subscription = self._subscription(name)
            subscription.deleted = True
            del self._subscriptions[name]
            self._by_topic.get(subscription.spec.topic, {}).pop(name, None)
            self._store.drop_subscription(name)
            self._unreference(delivery.message for delivery in subscription.backlog)
            subscription.changed.notify_all()
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
        """The names of the subscriptions of a topic."""
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

    def _change(self, subscription: Subscription, spec: Any) -> Any:
        rules.fill_defaults(spec)
        rules.check_subscription(spec)
        self._check_dead_letter_topic(spec)
        self._store.put_subscription(spec)
        subscription.spec = spec
        subscription.changed.notify_all()
        self.on_change(spec.name, -math.inf)
        return spec

    def _check_dead_letter_topic(self, spec: Any) -> None:
        if spec.HasField("dead_letter_policy"):
            self.topic(spec.dead_letter_policy.dead_letter_topic)

    # -- publish ---------------------------------------------------------------------------

    def publish(self, topic: str, bodies: Sequence[Any], size: int) -> list[str]:
        """Store the messages on every matching subscription; their ids, once they are durable."""
        rules.check_messages(bodies, size)
        with self._lock:
            with self._store.transaction():
                self.topic(topic)
                ids = [str(self._publish(topic, body)) for body in bodies]
            self._notify(self._by_topic.get(topic, {}).values())
        return ids

    def _publish(self, topic: str, body: Any) -> int:
        now = self._clock.now()
        stored = PubsubMessage()
        stored.CopyFrom(body)
        stored.message_id = str(self._next_id)
        stored.publish_time.CopyFrom(timestamp(now))
        message = Message(self._next_id, topic, now, stored, stored.ByteSize())
        self._next_id += 1
        wanted = [s for s in self._by_topic.get(topic, {}).values() if s.matches(stored.attributes)]
        if wanted:
            self._store.put_message(message)
        for subscription in wanted:
            delivery = Delivery(message, due=now)
            message.waiting += 1
            subscription.backlog.add(delivery)
            self._store.put_deliveries(subscription.name, [delivery])
        return message.id

    def _notify(self, subscriptions: Iterable[Subscription]) -> None:
        for subscription in subscriptions:
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
                taken = self._take(subscription, count, RESPONSE_BYTES)
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

    def next_batch(self, stream: Stream) -> list[Any]:
        """The stream's next messages, waiting for them; empty when the stream was closed."""
        with self._lock:
            while not stream.closed:
                if self._stopping:
                    raise errors.stopping()
                subscription = self._pullable(stream.subscription)
                count, size = stream.room()
                taken = self._take(subscription, count, size, stream)
                if taken:
                    stream.held.update((d.message.id, d.message.size) for d in taken)
                    return self._received(subscription, taken)
                subscription.changed.wait()
        return []

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

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """Settle messages; an expired ack id still settles its message, as it may at Google."""
        with self._lock:
            subscription = self._subscription(name)
            ids = [subscription.parse_ack_id(ack_id)[0] for ack_id in ack_ids]
            with self._store.transaction():
                self._settle(subscription, ids)
            subscription.changed.notify_all()

    def modify_deadline(self, name: str, ack_ids: Iterable[str], deadline_s: int) -> None:
        """Extend leases, or refuse the messages with 0; expired ack ids are let pass."""
        rules.check_ack_deadline(deadline_s)
        with self._lock:
            subscription = self._subscription(name)
            parsed = [subscription.parse_ack_id(ack_id) for ack_id in ack_ids]
            held = [d for d in (_held(subscription, *each) for each in parsed) if d is not None]
            with self._store.transaction():
                if deadline_s == 0:
                    self._failed(subscription, held)
                else:
                    self._extend(subscription, held, self._clock.now() + deadline_s)
            subscription.changed.notify_all()

    def _pullable(self, name: str) -> Subscription:
        subscription = self._subscription(name)
        if subscription.pushes:
            raise errors.precondition(f"{name} is a push subscription.")
        return subscription

    def _take(
        self, subscription: Subscription, count: int, size: int, stream: Stream | None = None
    ) -> list[Delivery]:
        now = self._clock.now()
        self._sweep(subscription, now)
        deadline = stream.deadline_s if stream else subscription.spec.ack_deadline_seconds
        taken = subscription.backlog.take(
            now,
            min(count, MAX_BATCH),
            size,
            now + deadline,
            stream,
            oversize=not (stream and stream.held),
        )
        if taken:
            with self._store.transaction():
                self._store.put_deliveries(subscription.name, taken)
            self.on_change(subscription.name, now + deadline)
        return taken

    def _received(self, subscription: Subscription, taken: Iterable[Delivery]) -> list[Any]:
        counted = subscription.spec.HasField("dead_letter_policy")
        return [
            ReceivedMessage(
                ack_id=subscription.ack_id(delivery),
                message=delivery.message.body,
                delivery_attempt=delivery.attempts if counted else 0,
            )
            for delivery in taken
        ]

    def _extend(self, subscription: Subscription, held: Iterable[Delivery], lease: float) -> None:
        changed = list(held)
        for delivery in changed:
            subscription.backlog.extend(delivery, lease)
        self._store.put_deliveries(subscription.name, changed)
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
            taken = subscription.backlog.take(now, count, RESPONSE_BYTES, math.inf)
            if taken:
                with self._store.transaction():
                    self._store.put_deliveries(name, taken)
            return [_push(subscription.spec, delivery) for delivery in taken]

    def settle_push(self, push: Push) -> None:
        """The endpoint accepted it."""
        with self._lock:
            subscription = self._subscriptions.get(push.subscription)
            if subscription is not None:
                with self._store.transaction():
                    self._settle(subscription, [push.message_id])
                self.on_change(push.subscription, -math.inf)

    def refuse_push(self, push: Push) -> None:
        """The endpoint refused it or did not answer in time."""
        with self._lock:
            subscription = self._subscriptions.get(push.subscription)
            if subscription is None:
                return
            delivery = _held(subscription, push.message_id, push.attempt)
            if delivery is not None:
                with self._store.transaction():
                    self._failed(subscription, [delivery])
                self.on_change(push.subscription, -math.inf)

    def tick(self, name: str) -> float | None:
        """Do what time demands of a subscription; when to come again, None when it is gone."""
        with self._lock:
            subscription = self._subscriptions.get(name)
            if subscription is None:
                return None
            now = self._clock.now()
            self._sweep(subscription, now)
            due = subscription.backlog.next_due()
            if due <= now:
                if not subscription.pushes:
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

    def _settle(self, subscription: Subscription, ids: Iterable[int]) -> None:
        found = [d for d in (subscription.backlog.get(id_) for id_ in dict.fromkeys(ids)) if d]
        for delivery in found:
            subscription.backlog.settle(delivery)
        self._store.drop_deliveries(subscription.name, (d.message.id for d in found))
        self._unreference(d.message for d in found)

    def _failed(self, subscription: Subscription, deliveries: Iterable[Delivery]) -> None:
        """Refused, or not acknowledged in time: try again later, or give up to the dead letters."""
        now = self._clock.now()
        retried: list[Delivery] = []
        for delivery in deliveries:
            expires = delivery.message.published + seconds(
                subscription.spec.message_retention_duration
            )
            if subscription.spent(delivery.attempts) and self._bury(subscription, delivery):
                continue
            if expires <= now:
                self._settle(subscription, [delivery.message.id])
                continue
            subscription.backlog.retry(delivery, now + subscription.backoff(delivery.attempts))
            retried.append(delivery)
        self._store.put_deliveries(subscription.name, retried)
        self.on_change(subscription.name, min((d.due for d in retried), default=math.inf))

    def _bury(self, subscription: Subscription, delivery: Delivery) -> bool:
        """Forward to the dead-letter topic; False when that topic is gone (delivery goes on)."""
        topic = subscription.spec.dead_letter_policy.dead_letter_topic
        if topic not in self._topics:
            return False
        self._publish(topic, _dead_letter(subscription.spec, delivery))
        self._settle(subscription, [delivery.message.id])
        self._notify(self._by_topic.get(topic, {}).values())
        return True

    def _unreference(self, messages: Iterable[Message]) -> None:
        done = []
        for message in messages:
            message.waiting -= 1
            if not message.waiting:
                done.append(message.id)
        self._store.drop_messages(done)


def _loaded(row: Any) -> Message:
    body = PubsubMessage.FromString(row["body"])
    return Message(row["id"], row["topic"], row["published"], body, body.ByteSize())


def _held(subscription: Subscription, message_id: int, attempt: int) -> Delivery | None:
    """The delivery that an ack id names, if that very attempt still holds its lease."""
    delivery = subscription.backlog.get(message_id)
    if delivery is None or not delivery.lease or delivery.attempts != attempt:
        return None
    return delivery


def _push(spec: Any, delivery: Delivery) -> Push:
    config = spec.push_config
    return Push(
        subscription=spec.name,
        endpoint=config.push_endpoint,
        message=delivery.message.body,
        message_id=delivery.message.id,
        attempt=delivery.attempts,
        timeout_s=spec.ack_deadline_seconds,
        dead_letters=spec.HasField("dead_letter_policy"),
        service_account=config.oidc_token.service_account_email,
        audience=config.oidc_token.audience or config.push_endpoint,
    )


def _dead_letter(spec: Any, delivery: Delivery) -> Any:
    """The message as the dead-letter topic gets it, with where it came from."""
    body = PubsubMessage()
    body.CopyFrom(delivery.message.body)
    _, project, _, short = spec.name.split("/")
    published = datetime.fromtimestamp(delivery.message.published, UTC)
    body.attributes[f"{_DEAD_LETTER}DeliveryCount"] = str(delivery.attempts)
    body.attributes[f"{_DEAD_LETTER}Subscription"] = short
    body.attributes[f"{_DEAD_LETTER}SubscriptionProject"] = project
    body.attributes[f"{_DEAD_LETTER}TopicPublishTime"] = published.isoformat(
        timespec="milliseconds"
    )
    return body
