"""Sends webhook events to the app's target: signed, up to a hundred a call, again when refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from collections.abc import Callable
from dataclasses import dataclass

from geminivideo.runtime.clock import Clock

from emulators.faults.delivery_hook import DeliveryFaults
from emulators.faults.engine import Call, Faults
from emulators.faults.rules import HUBSPOT, Kind
from emulators.hubspot.state import MAX_BATCH, Portal, Told
from emulators.outbound import Alarm, Answer, Outbound, Request

TIMEOUT_S = 5.0
MAX_CALLS = 10  # at once: HubSpot's default maxConcurrentRequests
LEAST_MACHINE_S = 60.0  # what is called does not work faster when the clock does
# The escapes that HubSpot decodes before it signs (its "Validating requests" page).
_DECODED = ("%3A", "%2F", "%3F", "%40", "%21", "%24", "%27", "%28", "%29", "%2A", "%2C", "%3B")


@dataclass(frozen=True)
class Delivery:
    """One call of the target, as the log keeps it."""

    at: float
    events: int
    status: int
    reason: str


class Webhooks:
    """One app's webhooks to one target URL; ``scheme`` is v3 or v1."""

    def __init__(
        self,
        portal: Portal,
        clock: Clock,
        faults: Faults,
        *,
        secret: str,
        target_url: str,
        scheme: str,
        batch: int,
        feed: Callable[[], float | None],
    ) -> None:
        self._portal = portal
        self._clock = clock
        self._secret = secret
        self.target_url = target_url
        self._scheme = scheme
        self._batch = min(batch, MAX_BATCH)
        self._feed = feed
        self._sending: set[int] = set()
        self.calls = 0
        self._faults = DeliveryFaults(faults)
        self._outbound = Outbound("hubspot", clock, least_timeout_s=LEAST_MACHINE_S)
        self._alarm: Alarm | None = None
        self.log: list[Delivery] = []

    def start(self) -> None:
        """Begin to send."""
        self._outbound.start()
        self._alarm = self._outbound.alarm()
        self._outbound.spawn(self._attend(self._alarm))

    def stop(self) -> None:
        """Send no more; what waits is kept."""
        self._outbound.stop()

    def call_on_ended(self, call: Callable[[], None]) -> None:
        """Call ``call``, which must not block, when a call has ended or the feed was looked at."""
        self._outbound.on_ended = call

    def ring(self) -> None:
        """Something may be due."""
        if self._alarm is not None:
            self._alarm.ring()

    async def _attend(self, alarm: Alarm) -> None:
        while True:
            fed_at = self._feed()
            while self.target_url and self.calls < MAX_CALLS:
                due = self._portal.due(self._clock.now(), self._batch, self._sending)
                if not due:
                    break
                self.calls += 1
                self._sending.update(one.number for one in due)
                self._outbound.spawn(self._delivered(due))
            self._outbound.on_ended()
            await alarm.wait(min(at for at in (self._next(), fed_at, math.inf) if at is not None))

    def _next(self) -> float | None:
        """When to send again; a call that ends looks by itself."""
        if not self.target_url or self.calls >= MAX_CALLS:
            return None
        return self._portal.next_due(self._sending)

    async def _delivered(self, told: list[Told]) -> None:
        try:
            await self._deliver(told)
        finally:
            self.calls -= 1
            self._sending.difference_update(one.number for one in told)
            self.ring()

    async def _deliver(self, told: list[Told]) -> None:
        call = Call(
            HUBSPOT,
            "webhook hubspot",
            kind=Kind.DELIVERY,
            resources=lambda: [str(one.event["objectId"]) for one in told],
        )
        answer = await self._faults.send(call, lambda: self._send(told), _accepted)
        now = self._clock.now()
        self.log.append(Delivery(now, len(told), answer.status, answer.reason))
        if _accepted(answer):
            self._portal.delivered(told)
        else:
            self._portal.failed(told, now)

    async def _send(self, told: list[Told]) -> Answer:
        body = json.dumps([one.event for one in told], separators=(",", ":")).encode()
        return await self._outbound.send(
            Request(
                url=self.target_url,
                timeout_s=self._timeout_s(),
                headers=self.signed(body),
                body=body,
            )
        )

    def _timeout_s(self) -> float:
        """Machine seconds; no product second passes while the clock stands, however long it is."""
        if not self._clock.speed:
            return LEAST_MACHINE_S
        return self._outbound.timeout_s(TIMEOUT_S)

    def signed(self, body: bytes) -> dict[str, str]:
        """The headers of a call with this body; without a secret nothing is signed."""
        headers = {"Content-Type": "application/json", "User-Agent": "HubSpot Connect 2.0"}
        if not self._secret:
            return headers
        if self._scheme == "v1":
            digest = hashlib.sha256(self._secret.encode() + body).hexdigest()
            return {**headers, "X-HubSpot-Signature": digest, "X-HubSpot-Signature-Version": "v1"}
        stamp = str(int(self._clock.now() * 1000))
        source = f"POST{_decoded(self.target_url)}".encode() + body + stamp.encode()
        mac = hmac.new(self._secret.encode(), source, hashlib.sha256).digest()
        return {
            **headers,
            "X-HubSpot-Signature-v3": base64.b64encode(mac).decode(),
            "X-HubSpot-Request-Timestamp": stamp,
        }


def _accepted(answer: Answer) -> bool:
    return 200 <= answer.status < 300


def _decoded(uri: str) -> str:
    for escape in _DECODED:
        sign = chr(int(escape[1:], 16))
        uri = uri.replace(escape, sign).replace(escape.lower(), sign)
    return uri
