"""Push delivery: one attendant per subscription, posts in parallel, silence when idle."""

from __future__ import annotations

import asyncio
import json
import math
from base64 import b64encode
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from emulators.faults.delivery_hook import DeliveryFaults
from emulators.faults.engine import Call
from emulators.faults.rules import Kind
from emulators.outbound import Alarm, Answer, Attendants, Outbound, Request
from emulators.pubsub.state import Broker
from emulators.pubsub.subscription import Push

IN_FLIGHT = 32  # posts under way per subscription; Google's window adapts, ours is fixed
ACCEPTED = frozenset({102, 200, 201, 202, 204})
USER_AGENT = "CloudPubSub-Google"
_WRAPPED = {"Content-Type": "application/json"}


def envelope(push: Push) -> bytes:
    """The wrapped body, as documented: both spellings of the id and of the publish time."""
    message = push.message
    published = _rfc3339(message.publish_time.seconds, message.publish_time.nanos)
    wrapped: dict[str, Any] = {
        "messageId": message.message_id,
        "message_id": message.message_id,
        "publishTime": published,
        "publish_time": published,
    }
    if message.data:
        wrapped["data"] = b64encode(message.data).decode()
    if message.attributes:
        wrapped["attributes"] = dict(message.attributes)
    if message.ordering_key:
        wrapped["orderingKey"] = message.ordering_key
    body: dict[str, Any] = {"message": wrapped, "subscription": push.subscription}
    if push.dead_letters:
        body["deliveryAttempt"] = push.attempt
    return json.dumps(body).encode()


def _unwrapped(push: Push) -> tuple[dict[str, str], bytes]:
    """The data alone as the body; with ``write_metadata`` the rest as headers, as documented."""
    message = push.message
    if not push.config.no_wrapper.write_metadata:
        return {}, message.data
    headers = {
        **message.attributes,
        "x-goog-pubsub-subscription-name": push.subscription,
        "x-goog-pubsub-message-id": message.message_id,
        "x-goog-pubsub-publish-time": _rfc3339(
            message.publish_time.seconds, message.publish_time.nanos
        ),
    }
    if message.ordering_key:
        headers["x-goog-pubsub-ordering-key"] = message.ordering_key
    return headers, message.data


@lru_cache(maxsize=256)  # the messages of a request share their time
def _rfc3339(seconds: int, nanos: int) -> str:
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanos // 1_000_000:03d}Z"


class Pusher:
    """Attends every subscription: expires leases, posts what is due, sleeps until the next due."""

    def __init__(self, broker: Broker, outbound: Outbound, deliveries: DeliveryFaults) -> None:
        self._broker = broker
        self._outbound = outbound
        self._deliveries = deliveries
        self.attendants = Attendants(outbound, self._attend)
        self._in_flight: dict[str, int] = {}
        self._accepted: list[tuple[Push, Alarm]] = []
        broker.on_change = self.attendants.ring

    def start(self) -> None:
        """Attend what the broker loaded."""
        for name in self._broker.subscription_names():
            self.attendants.ring(name)

    @property
    def in_flight(self) -> int:
        """Posts whose outcome is not recorded yet."""
        return sum(self._in_flight.values())

    async def _attend(self, name: str, alarm: Alarm) -> None:
        while True:
            room = IN_FLIGHT - self._in_flight.get(name, 0)
            pushes = self._broker.take_pushes(name, room)
            for push in pushes:
                self._in_flight[name] = self._in_flight.get(name, 0) + 1
                self._outbound.spawn(self._deliver(push, alarm))
            until = self._broker.tick(name)
            is_full = len(pushes) == room  # the first that ends rings
            await alarm.wait(math.inf if until is None or is_full else until)

    async def _deliver(self, push: Push, alarm: Alarm) -> None:
        try:
            accepted = await self._post(push)
        except Exception:
            self._refuse(push, alarm)
            raise
        except asyncio.CancelledError:  # the service stops: it is posted again after a start
            self._ended(push, alarm)
            raise
        if accepted:
            self._accept(push, alarm)
        else:
            self._refuse(push, alarm)

    def _accept(self, push: Push, alarm: Alarm) -> None:
        """Record it with all others that are accepted in the same turn of the loop."""
        self._accepted.append((push, alarm))
        if len(self._accepted) == 1:
            self._outbound.loop.call_soon(self._record_accepted)

    def _record_accepted(self) -> None:
        accepted, self._accepted = self._accepted, []
        try:
            self._broker.settle_pushes(push for push, _ in accepted)
        finally:
            for push, alarm in accepted:
                self._ended(push, alarm)

    def _refuse(self, push: Push, alarm: Alarm) -> None:
        try:
            self._broker.refuse_push(push)
        finally:
            self._ended(push, alarm)

    def _ended(self, push: Push, alarm: Alarm) -> None:
        self._in_flight[push.subscription] -= 1
        alarm.ring()

    async def _post(self, push: Push) -> bool:
        request = self._request(push)
        answer = await self._deliveries.send(
            _call(push), lambda: self._outbound.send(request), _accepts
        )
        return _accepts(answer)

    def _request(self, push: Push) -> Request:
        headers, body = _unwrapped(push) if push.unwrapped else (_WRAPPED, envelope(push))
        bearer = self._outbound.bearer(push.audience, push.service_account)
        return Request(
            url=self._outbound.address(push.endpoint),
            timeout_s=self._outbound.timeout_s(push.timeout_s),
            headers={**headers, **bearer, "User-Agent": USER_AGENT},
            body=body,
        )


def _call(push: Push) -> Call:
    return Call(
        "pubsub",
        f"push {push.subscription.rpartition('/')[2]}",
        Kind.DELIVERY,
        callers=lambda: ("pubsub", push.service_account),
        resources=lambda: (push.message.message_id,),
    )


def _accepts(answer: Answer) -> bool:
    return answer.status in ACCEPTED
