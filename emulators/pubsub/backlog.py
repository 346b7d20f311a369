"""What one subscription still has to deliver: due times, leases, attempts, ordering keys."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from emulators.pubsub.published import messages_of

NO_LEASE = 0.0


class Holder(Protocol):
    """Who holds a lease and is told when it ends (a stream counts what it has outstanding)."""

    def released(self, delivery: Delivery) -> None:
        """The lease on ``delivery`` ended: acknowledged, refused or expired."""


class Batch:
    """The messages of one publish request, stored as one row; ids count on from ``first``.

    ``open`` counts the messages that some subscription has not settled. The ``shared``
    subscriptions take every message. ``body`` is the request as it came, until somebody looks at
    the messages: then they become objects.
    """

    __slots__ = ("_messages", "body", "count", "first", "open", "published", "shared", "topic")

    def __init__(self, first: int, count: int, topic: str, published: float, body: bytes) -> None:
        self.first, self.count, self.topic, self.published = first, count, topic, published
        self.body = body
        self.shared = self.open = 0
        self._messages: list[Message] | None = None

    @property
    def end(self) -> int:
        """One past the last id."""
        return self.first + self.count

    @property
    def messages(self) -> list[Message]:
        """The messages in id order, the same objects at every call."""
        if self._messages is None:
            numbered = enumerate(messages_of(self.body), self.first)
            self._messages = [Message(i, body, self, self.shared) for i, body in numbered]
            self.body = b""
        return self._messages

    def share(self, subscriptions: int) -> None:
        """So many subscriptions take all of it; said once, before anybody looks."""
        self.shared = subscriptions
        self.open = self.count if subscriptions else 0

    def described(self) -> Batch:
        """Its description without its messages."""
        return Batch(self.first, self.count, self.topic, self.published, b"")


@dataclass(slots=True, eq=False)
class Message:
    """A published message; ``waiting`` counts the subscriptions that have not settled it.

    ``body`` is as the publisher sent it: id and publish time are written when it is delivered.
    """

    id: int
    body: Any
    batch: Batch
    waiting: int = 0
    stamped: bool = False

    def stamp(self) -> Any:
        """The body with its message id and publish time."""
        if not self.stamped:
            self.body.message_id = str(self.id)
            self.body.publish_time.FromMicroseconds(round(self.batch.published * 1e6))
            self.stamped = True
        return self.body

    @property
    def published(self) -> float:
        """When it was published, in product time."""
        return self.batch.published

    @property
    def size(self) -> int:
        """Its bytes as a protobuf."""
        return int(self.body.ByteSize())


@dataclass(slots=True, eq=False)
class Delivery:
    """A message on one subscription. ``due``: not before; ``lease``: held until (0: not held).

    ``epoch`` counts the seeks that brought it back: ack ids of earlier epochs are void.
    """

    message: Message
    due: float
    attempts: int = 0
    lease: float = NO_LEASE
    holder: Holder | None = None
    epoch: int = 0


class Backlog:
    """The unsettled deliveries of one subscription. Callers hold the broker's lock.

    With ``ordered``, only the first unsettled message of an ordering key may be delivered; what
    follows waits for its acknowledgement, so a refusal redelivers it before all that follow.
    """

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._deliveries: dict[int, Delivery] = {}
        self._fresh: deque[Batch] = deque()  # taken whole, not unfolded into deliveries yet
        self._ready: list[tuple[float, int]] = []
        self._leased: list[tuple[float, int]] = []
        self._keys: dict[str, deque[int]] = {}

    def __bool__(self) -> bool:
        """Whether anything is unsettled."""
        return bool(self._deliveries or self._fresh)

    def __iter__(self) -> Iterator[Delivery]:
        while self._fresh:
            self._unfold()
        return iter(self._deliveries.values())

    def get(self, message_id: int) -> Delivery | None:
        """The unsettled delivery of a message that was delivered or iterated over, or None."""
        return self._deliveries.get(message_id)

    def add_batch(self, batch: Batch) -> None:
        """Take in all messages of a batch just published (only without ordering)."""
        self._fresh.append(batch)

    def add(self, delivery: Delivery) -> None:
        """Take in a delivery (ids rise with time); a leased one stays leased."""
        self._deliveries[delivery.message.id] = delivery
        if self._ordered and (key := self._key(delivery)):
            self._keys.setdefault(key, deque()).append(delivery.message.id)
        if delivery.lease:
            heapq.heappush(self._leased, (delivery.lease, delivery.message.id))
        else:
            self._offer(delivery)

    def take(
        self,
        now: float,
        count: int,
        size: int,
        lease: float,
        holder: Holder | None = None,
        oversize: bool = True,
    ) -> list[Delivery]:
        """Lease what is due until ``lease``: at most ``count`` and ``size`` bytes, in order.

        With ``oversize`` the first one is given whatever its size. Each counts as one more attempt.
        """
        taken: list[Delivery] = []
        while len(taken) < count:
            delivery = self._first_ready()
            if delivery is None or delivery.due > now:
                break
            size -= delivery.message.size
            if size < 0 and (taken or not oversize):
                break
            heapq.heappop(self._ready)
            self._hold(delivery, lease, holder)
            delivery.attempts += 1
            taken.append(delivery)
        return taken

    def extend(self, delivery: Delivery, lease: float) -> None:
        """Move the end of a lease."""
        delivery.lease = lease
        heapq.heappush(self._leased, (lease, delivery.message.id))

    def retry(self, delivery: Delivery, due: float) -> None:
        """End a lease; the message is delivered again from ``due`` on."""
        self._release(delivery)
        delivery.due = due
        self._offer(delivery)

    def settle(self, delivery: Delivery) -> None:
        """Remove a delivery for good; the next of its ordering key becomes deliverable."""
        self._release(delivery)
        del self._deliveries[delivery.message.id]
        key = self._key(delivery)
        if key:
            self._advance(key, delivery.message.id)

    def expired(self, now: float) -> list[Delivery]:
        """The deliveries whose lease has ended; each must be retried or settled."""
        ended = []
        while (delivery := self._first_leased()) is not None and delivery.lease <= now:
            heapq.heappop(self._leased)
            ended.append(delivery)
        return ended

    def next_due(self) -> float:
        """When the next delivery may be made: maybe in the past, infinity for never."""
        delivery = self._first_ready()
        return math.inf if delivery is None else delivery.due

    def under_way(self, now: float) -> int:
        """How many deliveries are held, and whether one more may be made by ``now``."""
        held = sum(1 for delivery in self._deliveries.values() if delivery.lease)
        return held + (self.next_due() <= now)

    def next_expiry(self) -> float:
        """When the next lease ends; infinity for never."""
        delivery = self._first_leased()
        return math.inf if delivery is None else delivery.lease

    def _hold(self, delivery: Delivery, lease: float, holder: Holder | None) -> None:
        delivery.holder = holder
        self.extend(delivery, lease)

    def _release(self, delivery: Delivery) -> None:
        delivery.lease = NO_LEASE
        holder, delivery.holder = delivery.holder, None
        if holder is not None:
            holder.released(delivery)

    def _offer(self, delivery: Delivery) -> None:
        if not delivery.lease and self._is_head(delivery):
            heapq.heappush(self._ready, (delivery.due, delivery.message.id))

    def _is_head(self, delivery: Delivery) -> bool:
        if not self._ordered:
            return True
        key = self._key(delivery)
        return not key or self._keys[key][0] == delivery.message.id

    def _advance(self, key: str, settled: int) -> None:
        waiting = self._keys[key]
        waiting.remove(settled)
        if not waiting:
            del self._keys[key]
        elif (head := self._deliveries[waiting[0]]).lease == NO_LEASE:
            self._offer(head)

    def _key(self, delivery: Delivery) -> str:
        return delivery.message.body.ordering_key if self._ordered else ""

    def _first_ready(self) -> Delivery | None:
        """The first delivery that waits, of the heap or of the batches not unfolded yet."""
        ready = self._first_of_heap()
        while self._fresh and (ready is None or ready.due > self._fresh[0].published):
            self._unfold()
            ready = self._first_of_heap()
        return ready

    def _unfold(self) -> None:
        batch = self._fresh.popleft()
        for message in batch.messages:
            self._deliveries[message.id] = Delivery(message, due=batch.published)
            heapq.heappush(self._ready, (batch.published, message.id))

    def _first_of_heap(self) -> Delivery | None:
        """The heap's first entry that still holds true; older entries are dropped."""
        while self._ready:
            due, message_id = self._ready[0]
            delivery = self._deliveries.get(message_id)
            if delivery is not None and not delivery.lease and delivery.due == due:
                return delivery
            heapq.heappop(self._ready)
        return None

    def _first_leased(self) -> Delivery | None:
        while self._leased:
            lease, message_id = self._leased[0]
            delivery = self._deliveries.get(message_id)
            if delivery is not None and delivery.lease == lease:
                return delivery
            heapq.heappop(self._leased)
        return None
