"""A double of HubSpot's deals and webhooks that HubSpot's own client talks to unmodified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.faults.rules import HUBSPOT, Rule
from emulators.hubspot.currencies import Currencies
from emulators.hubspot.state import Portal, Rates, Told
from emulators.hubspot.webhooks import Delivery, Webhooks
from emulators.hubspot.wire import Wire, endpoint, scripted
from emulators.serving import HttpService, open_database

__all__ = ["PORTAL_ID", "Currencies", "DealFeed", "Delivery", "FedEvent", "Rates", "Server", "Told"]

PORTAL_ID = 62515
APP_ID = 54321
_FEED_EVERY_S = 60.0
_FEED_LEAST_MACHINE_S = 0.2


class FedEvent(Protocol):
    """A deal's step elsewhere: ``properties`` under HubSpot's names, as text."""

    @property
    def at(self) -> float:
        """When it happened (UTC epoch seconds)."""

    @property
    def deal_id(self) -> str:
        """The deal, in digits."""

    @property
    def properties(self) -> Mapping[str, str]:
        """All of the deal's properties by then."""


class DealFeed(Protocol):
    """Where deals come from by themselves."""

    def deal_events(self, since: float, until: float) -> Iterable[FedEvent]:
        """What happened after ``since``, up to ``until``, in order."""


class Server(HttpService):
    """The double on a loopback port; its deals and webhook events are in ``state_dir``.

    ``tokens`` are the bearers it accepts; ``secret`` signs the webhooks to ``target_url`` (empty:
    no webhooks; without a secret they go unsigned). ``platform`` sends the dialect of new apps
    (``object.propertyChange``), ``signature`` is v3 or v1. ``search_lag_s`` is how late searches
    know of a change, ``batch`` how many events one call tells. ``currencies`` are the portal's:
    without them it tells none, and converts nothing.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        faults: Faults | None = None,
        tokens: set[str],
        secret: str = "",
        target_url: str = "",
        portal_id: int = PORTAL_ID,
        platform: bool = False,
        signature: str = "v3",
        rates: Rates | None = None,
        search_lag_s: float = 0.0,
        batch: int = 100,
        currencies: Currencies | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        hook = HttpFaults(HUBSPOT, self.faults, endpoint=endpoint, render=scripted)
        super().__init__("hubspot", lambda: self._wire.application(), (port,), hook)
        self._clock = clock
        self._feed: DealFeed | None = None
        self._database = open_database(state_dir / "hubspot.sqlite")
        self.portal = Portal(
            self._database, clock, portal_id=portal_id, app_id=APP_ID, platform=platform,
            rates=rates or Rates(), search_lag_s=search_lag_s, currencies=currencies,
        )  # fmt: skip
        self.webhooks = Webhooks(
            self.portal, clock, self.faults, secret=secret, target_url=target_url,
            scheme=signature, batch=batch, feed=self._pour,
        )  # fmt: skip
        self._wire = Wire(self.portal, self.webhooks, self.faults, clock, tokens)

    def start(self) -> None:
        """Serve, and send what waits."""
        super().start()
        self.webhooks.start()

    def stop(self) -> None:
        """Stop sending and serving; close the files."""
        self.webhooks.stop()
        super().stop()
        self._database.close()

    @property
    def under_way(self) -> int:
        """0 when the feed has been taken up to now, and what was to be told is told."""
        now = self._clock.now()
        behind = self._feed is not None and (self.portal.fed_until() or 0.0) < now
        due = self.portal.next_due() if self.webhooks.target_url else None
        return self.webhooks.calls + behind + (due is not None and due <= now)

    def call_on_ended(self, call: Callable[[], None]) -> None:
        """Call ``call``, which must not block, when something may not be under way any more."""
        self.webhooks.call_on_ended(call)

    def clock_moved(self) -> None:
        """Look for what is due by now."""
        self.webhooks.ring()

    def aim(self, target_url: str) -> None:
        """Send webhooks there from now on."""
        self.webhooks.target_url = target_url
        self.webhooks.ring()

    def fault(self, match: str = "*", **members: Any) -> None:
        """Add a rule for this double: ``fault("webhook *", duplicate=2)``."""
        self.faults.add(Rule(service=HUBSPOT, endpoint=match, **members))

    def create(self, at: float | None = None, **properties: str) -> str:
        """A new deal; returns its id. ``at``: when it happened, by default now."""
        made = self.portal.create(properties, at)
        self.webhooks.ring()
        return str(made["id"])

    def move(self, deal_id: str, stage: str, at: float | None = None, **more: str) -> None:
        """Put a deal into another stage."""
        self.portal.change(deal_id, {"dealstage": stage, **more}, at)
        self.webhooks.ring()

    def archive(self, deal_id: str) -> None:
        """Delete a deal, as a user does: it can be restored."""
        self.portal.archive(deal_id)
        self.webhooks.ring()

    def restore(self, deal_id: str) -> None:
        """Take a deal out of the recycling bin."""
        self.portal.restore(deal_id)
        self.webhooks.ring()

    def feed(self, source: DealFeed, since: float | None = None) -> None:
        """Take deals from ``source`` as time goes on, from ``since`` (default: now) on."""
        if self.portal.fed_until() is None:
            self.portal.fed(self._clock.now() if since is None else since)
        self._feed = source
        self.webhooks.ring()

    def _pour(self) -> float | None:
        """Take what the feed has up to now; returns when to look again, None without a feed."""
        if self._feed is None:
            return None
        since, now = self.portal.fed_until() or 0.0, self._clock.now()
        for event in self._feed.deal_events(since, now):
            self.portal.pour(event.deal_id, event.properties, event.at)
        self.portal.fed(now)
        return now + max(_FEED_EVERY_S, _FEED_LEAST_MACHINE_S * self._clock.speed)
