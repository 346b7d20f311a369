"""A subscription at work, and those who take from it: pushes and streams."""

from __future__ import annotations

import math
import re
import threading
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from emulators.pubsub import errors
from emulators.pubsub.backlog import Backlog, Delivery
from emulators.pubsub.filter import Predicate, compile_filter
from emulators.rpc import seconds

MAX_BATCH = 1_000  # messages in one response
RESPONSE_BYTES = 3_000_000  # of messages in one response, under gRPC's usual 4 MiB
_ACK_ID = re.compile(r"([0-9a-f]{8})-([0-9]{1,18})-([0-9]{1,9})-([0-9]{1,9})")
PUSH_BACKOFF_S = (0.1, 60.0)  # documented for push without a retry policy


class Subscription:
    """Its description, its backlog and those who wait on it.

    It gets the messages of topic ``source`` with ids from ``first`` and below ``until``.
    """

    def __init__(
        self,
        spec: Any,
        lock: threading.RLock,
        *,
        row: int,
        source: str,
        first: int,
        until: int | None = None,
        epoch: int = 0,
    ) -> None:
        self.spec = spec
        self.row, self.source, self.first, self.epoch = row, source, first, epoch
        self.until = until
        self.backlog = Backlog(ordered=spec.enable_message_ordering)
        self.changed = threading.Condition(lock)
        self._matches: Predicate | None = compile_filter(spec.filter) if spec.filter else None
        self._mark = f"{zlib.crc32(spec.name.encode()):08x}"

    @property
    def name(self) -> str:
        """``projects/P/subscriptions/S``."""
        return str(self.spec.name)

    @property
    def pushes(self) -> bool:
        """Whether deliveries are posted to an endpoint."""
        return bool(self.spec.push_config.push_endpoint) and not self.spec.detached

    @property
    def exactly_once(self) -> bool:
        """Whether only the latest ack id of a held message counts."""
        return bool(self.spec.enable_exactly_once_delivery)

    @property
    def takes_whole(self) -> bool:
        """Whether every message of a batch waits here, each for itself."""
        return self._matches is None and not self.spec.enable_message_ordering

    def matches(self, body: Any) -> bool:
        """Whether the filter lets a message through."""
        return self._matches is None or self._matches(body.attributes)

    def gets(self, message_id: int, topic: str) -> bool:
        """Whether a message of ``topic`` was published while this was attached to it."""
        until = math.inf if self.until is None else self.until
        return topic == self.source and self.first <= message_id < until

    def retention_s(self) -> float:
        """How long a message that is not acknowledged stays: its own or its topic's, the longer."""
        own = seconds(self.spec.message_retention_duration)
        return max(own, seconds(self.spec.topic_message_retention_duration))

    def ack_id(self, delivery: Delivery) -> str:
        """An ack id that stays valid over a restart and on this subscription only."""
        return f"{self._mark}-{delivery.message.id}-{delivery.attempts}-{delivery.epoch}"

    def parse_ack_id(self, ack_id: str) -> tuple[int, int, int]:
        """Message id, attempt and epoch; INVALID_ARGUMENT for what this never gave out."""
        match = _ACK_ID.fullmatch(ack_id)
        if match is None or match[1] != self._mark:
            raise errors.invalid(f"Some acknowledgement ids are invalid (ack_id={ack_id[:60]}).")
        return int(match[2]), int(match[3]), int(match[4])

    def named(self, ack_id: str, holding: bool) -> Delivery | None:
        """The unsettled delivery that an ack id names.

        It may be of an earlier attempt, unless ``holding``: then its very lease must go on.
        """
        message_id, attempt, epoch = self.parse_ack_id(ack_id)
        delivery = self.backlog.get(message_id)
        if delivery is None or delivery.epoch != epoch:
            return None
        if holding and (not delivery.lease or delivery.attempts != attempt):
            return None
        return delivery

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

    def replace_backlog(self, deliveries: Iterable[Delivery]) -> None:
        """Start the backlog anew from these, in id order; leases go on."""
        self.backlog = Backlog(ordered=self.spec.enable_message_ordering)
        for delivery in sorted(deliveries, key=lambda d: d.message.id):
            self.backlog.add(delivery)


@dataclass(frozen=True)
class Push:
    """One delivery on its way to an endpoint; ``config`` and ``attempt`` as they were then."""

    subscription: str
    config: Any
    delivery: Delivery
    attempt: int
    timeout_s: float  # product time
    dead_letters: bool

    @property
    def message(self) -> Any:
        """The published message."""
        return self.delivery.message.stamp()

    @property
    def endpoint(self) -> str:
        """Where it goes, as it was configured."""
        return str(self.config.push_endpoint)

    @property
    def unwrapped(self) -> bool:
        """Whether the data alone is posted."""
        return bool(self.config.HasField("no_wrapper"))

    @property
    def service_account(self) -> str:
        """Whose token it carries; "" for none."""
        return str(self.config.oidc_token.service_account_email)

    @property
    def audience(self) -> str:
        """Whom the token is for."""
        return str(self.config.oidc_token.audience or self.config.push_endpoint)


@dataclass(eq=False)
class Stream:
    """One StreamingPull: its deadline, its flow-control window and what it holds.

    ``told`` are the confirmations that wait to be sent.
    """

    subscription: str
    deadline_s: float
    max_messages: int
    max_bytes: int
    closed: bool = False
    held: dict[int, int] = field(default_factory=dict)
    held_bytes: int = 0
    told: deque[Any] = field(default_factory=deque)

    def hold(self, deliveries: Iterable[Delivery]) -> None:
        """Count what is sent against the window."""
        for delivery in deliveries:
            size = delivery.message.size
            self.held[delivery.message.id] = size
            self.held_bytes += size

    def released(self, delivery: Delivery) -> None:
        """A lease of this stream ended."""
        self.held_bytes -= self.held.pop(delivery.message.id, 0)

    def room(self) -> tuple[int, int]:
        """Messages and bytes that may still be sent; limits of 0 or less are none."""
        messages = self.max_messages - len(self.held) if self.max_messages > 0 else MAX_BATCH
        size = self.max_bytes - self.held_bytes if self.max_bytes > 0 else RESPONSE_BYTES
        return min(messages, MAX_BATCH), min(size, RESPONSE_BYTES)
