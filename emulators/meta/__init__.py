"""A double of the Graph API (v26.0) that Meta's own Python client talks to unmodified."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geminivideo.runtime.clock import Clock

from emulators.faults.engine import Faults
from emulators.faults.http_hook import HttpFaults
from emulators.faults.rules import META, Rule
from emulators.meta.accounts import AccountSettings
from emulators.meta.audience import AdDay, Conversion, MarketMismatchError
from emulators.meta.limits import TIERS
from emulators.meta.seeding import seed
from emulators.meta.state import Graph, Pace, Write
from emulators.meta.wire import Wire, endpoint, fingerprint
from emulators.serving import HttpService, open_database

if TYPE_CHECKING:
    from emulators.market import Delivery, Market

__all__ = [
    "TIERS",
    "AdDay",
    "Conversion",
    "MarketMismatchError",
    "Pace",
    "Server",
    "Write",
    "fingerprint",
]


class Server(HttpService):
    """The double on a loopback port; its objects and its log are in ``state_dir``.

    ``tokens`` are the access tokens that may do everything, ``read_tokens`` those that may only
    read (a write is refused with 200); any other answers 190. ``tier`` is the access
    tier of every ad account: ``full`` or ``limited``. ``FacebookSession.GRAPH`` is set to ``url``.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        clock: Clock,
        port: int = 0,
        tokens: set[str],
        read_tokens: set[str] | None = None,
        tier: str = "full",
        pace: Pace | None = None,
        faults: Faults | None = None,
    ) -> None:
        self.faults = faults or Faults(clock)
        hook = HttpFaults(META, self.faults, endpoint=endpoint, render=None, reads_first=True)
        super().__init__("meta", lambda: self._wire.application(), (port,), hook)
        self._clock = clock
        self._database = open_database(state_dir / "meta.sqlite")
        self.graph = Graph(self._database, clock, pace or Pace(), tier)
        self._wire = Wire(self.graph, self.faults, clock, tokens, read_tokens or set())

    def stop(self) -> None:
        """Stop serving and close the files."""
        super().stop()
        self._database.close()

    def fault(self, match: str = "*", **members: Any) -> None:
        """Add a rule for this double: ``fault("POST act_*/ads", drop="after")``."""
        self.faults.add(Rule(service=META, endpoint=match, **members))

    def writes(self) -> list[Write]:
        """Every write that reached the double, in order."""
        return self.graph.writes()

    def objects(self, account: str, kind: str) -> list[dict[str, Any]]:
        """The live objects of one kind (``ad``, ``adset``, ...), newest first, as Graph shows."""
        return self.graph.children(account, kind)

    def set_insights(self, account: str, rows: Iterable[AdDay]) -> None:
        """What the insights shall show of some ads' dates; raises ``GraphApiError``."""
        self.graph.set_insights(account, rows)

    def fail_reports(self, count: int = 1) -> None:
        """The next report runs end as ``Job Failed``."""
        self.graph.reports.to_fail += count

    def seed(self, account: str, ads: int, daily_budget: int, name: str = "Market") -> list[str]:
        """A live campaign whose ads have an ad set each, past their review; returns the ads' ids.

        They begin now: what is before has no delivery.
        """
        return seed(self.graph, account, ads, daily_budget, name, self._clock.now())

    def attach(self, account: str, market: Market) -> list[str]:
        """Put a market behind an account and seed its ads; returns their ids.

        A market without a start begins now. On a state that has this market already it goes on,
        and nothing is added. The account takes its currency and time zone. Raises
        ``MarketMismatchError`` for another market than the kept one.
        """
        kept = self.graph.audiences.kept(account)
        if not market.start:
            started = kept["start"] if kept else self._clock.now()
            market = dataclasses.replace(market, start=started)
        if kept is None:
            self.configure(account, market.currency, market.timezone)
            self.seed(account, market.ads, market.daily_budget)
        self.graph.attach(account, market)
        return self.graph.audiences.ads(account)

    def market_of(self, account: str) -> Market | None:
        """The market behind an account, also one of an earlier run on these files."""
        delivery = self.graph.audiences.delivery(account)
        return delivery.market if delivery else None

    def delivery(self, account: str) -> Delivery:
        """What the account's market has done under the live budgets; raises ``KeyError``."""
        delivery = self.graph.audiences.delivery(account)
        if delivery is None:
            raise KeyError(account)
        return delivery

    def configure(self, account: str, currency: str, timezone: str = "Etc/UTC") -> None:
        """Set an account's currency and time zone (``timezone_name``)."""
        self.graph.configure(account, AccountSettings(currency, timezone))
