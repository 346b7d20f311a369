"""Where the insights' numbers come from: a market per account, and rows that were set by hand.

The budgets that were live are noted with each write, so that the market can be played at any time
later, also by another process on the same files.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from emulators.market import BudgetHistory, DayStats, Deal, Delivery, Market

TABLES = """
CREATE TABLE IF NOT EXISTS live_budgets (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, account TEXT, ad TEXT, at REAL, budget REAL);
CREATE INDEX IF NOT EXISTS live_budgets_by_account ON live_budgets (account, seq);
CREATE TABLE IF NOT EXISTS markets (account TEXT PRIMARY KEY, spec TEXT);
CREATE TABLE IF NOT EXISTS insight_rows (
    account TEXT, ad TEXT, date TEXT, row TEXT, PRIMARY KEY (account, ad, date));
"""


class MarketMismatchError(RuntimeError):
    """The account already has another market."""

    def __init__(self, account: str, kept: Mapping[str, Any]) -> None:
        super().__init__(
            f"{account} already has a market (seed {kept['seed']}, {kept['ads']} ads): "
            "go on with that one, or begin on a fresh state"
        )


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """``count`` actions of a type, worth ``value`` minor units, ``lag_s`` after their clicks."""

    action_type: str
    count: float = 1.0
    value: int = 0
    lag_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class AdDay:
    """One ad on one date of its account, with the conversions that Meta counts to the date.

    Meta dates what happens off its own pages by when it happened (since June 2025; before, by the
    click), so that a date without delivery may have conversions.
    ``spend`` is minor units; ``audience`` is how many people there are to reach, or None when
    ``reach`` is what was said.
    """

    ad_id: str
    date: date
    spend: int = 0
    impressions: int = 0
    clicks: int = 0
    link_clicks: int = 0
    reach: float = 0.0
    audience: float | None = None
    conversions: tuple[Conversion, ...] = ()


@dataclass
class _Played:
    market: Market
    budgets: BudgetHistory
    delivery: Delivery
    ads: list[str] = field(default_factory=list)
    numbers: dict[str, int] = field(default_factory=dict)

    def note(self, ad: str, at: float, budget: float) -> None:
        if ad not in self.numbers:
            self.numbers[ad] = len(self.ads)
            self.ads.append(ad)
        self.budgets.set(self.numbers[ad], at, budget)


class Audiences:
    """All accounts'. Callers hold the graph's lock."""

    def __init__(self, database: sqlite3.Connection) -> None:
        database.executescript(TABLES)
        self._database = database
        self._played: dict[str, _Played] = {}
        self._last: dict[str, tuple[float, float]] = {}
        rows = database.execute("SELECT ad, at, budget FROM live_budgets ORDER BY seq")
        for row in rows.fetchall():
            self._last[row["ad"]] = (row["at"], row["budget"])
        for row in database.execute("SELECT account, spec FROM markets").fetchall():
            self._open(row["account"], _market(json.loads(row["spec"])))

    def kept(self, account: str) -> dict[str, Any] | None:
        """The members of the account's market, or None when it has none."""
        row = self._database.execute(
            "SELECT spec FROM markets WHERE account = ?", (account,)
        ).fetchone()
        return json.loads(row["spec"]) if row else None

    def attach(self, account: str, market: Market) -> None:
        """Put a market behind an account; raises ``MarketMismatchError``."""
        kept = self.kept(account)
        if kept is not None and kept != market.spec():
            raise MarketMismatchError(account, kept)
        self._database.execute(
            "INSERT OR REPLACE INTO markets VALUES (?, ?)", (account, json.dumps(market.spec()))
        )
        if account not in self._played:
            self._open(account, market)

    def delivery(self, account: str) -> Delivery | None:
        """What the account's ads do, or None without a market."""
        played = self._played.get(account)
        return played.delivery if played else None

    def ads(self, account: str) -> list[str]:
        """The ids of the market's ads, in its order."""
        played = self._played.get(account)
        return list(played.ads) if played else []

    def note(self, account: str, ad: str, at: float, budget: float) -> None:
        """From ``at`` on the ad delivers with this daily budget; 0 is not at all."""
        last = self._last.get(ad)
        if last is not None and last[1] == budget and last[0] <= at:
            return
        self._last[ad] = (at, budget)
        self._database.execute(
            "INSERT INTO live_budgets (account, ad, at, budget) VALUES (?, ?, ?, ?)",
            (account, ad, at, budget),
        )
        if account in self._played:
            self._played[account].note(ad, at, budget)

    def set_row(self, account: str, row: AdDay) -> None:
        """One ad's date as it shall be shown, whatever a market says of it."""
        members = {
            "spend": row.spend,
            "impressions": row.impressions,
            "clicks": row.clicks,
            "link_clicks": row.link_clicks,
            "reach": row.reach,
            "conversions": [vars(conversion) for conversion in row.conversions],
        }
        self._database.execute(
            "INSERT OR REPLACE INTO insight_rows VALUES (?, ?, ?, ?)",
            (account, row.ad_id, row.date.isoformat(), json.dumps(members)),
        )

    def rows(self, account: str, first: date, last: date, now: float) -> list[AdDay]:
        """Each ad's dates with numbers, as they are known by ``now``."""
        set_by_hand = {(row.ad_id, row.date): row for row in self._set(account, first, last)}
        played = self._played.get(account)
        days = _days(played, first, last, now) if played else ()
        return [row for row in days if (row.ad_id, row.date) not in set_by_hand] + list(
            set_by_hand.values()
        )

    def first_date(self, account: str) -> date | None:
        """The earliest date that may have numbers."""
        row = self._database.execute(
            "SELECT MIN(date) AS first FROM insight_rows WHERE account = ?", (account,)
        ).fetchone()
        dates = [date.fromisoformat(row["first"])] if row["first"] else []
        if account in self._played:
            from emulators.market.calendar import local_date

            market = self._played[account].market
            dates.append(local_date(market.start, market.timezone))
        return min(dates, default=None)

    def _set(self, account: str, first: date, last: date) -> Iterable[AdDay]:
        rows = self._database.execute(
            "SELECT ad, date, row FROM insight_rows WHERE account = ? AND date BETWEEN ? AND ? "
            "ORDER BY date, ad",
            (account, first.isoformat(), last.isoformat()),
        )
        for row in rows.fetchall():
            members = json.loads(row["row"])
            conversions = tuple(Conversion(**one) for one in members.pop("conversions"))
            day = date.fromisoformat(row["date"])
            yield AdDay(ad_id=row["ad"], date=day, conversions=conversions, **members)

    def _open(self, account: str, market: Market) -> None:
        from emulators.market import BudgetHistory

        budgets = BudgetHistory()
        ads: list[str] = []
        played = _Played(market, budgets, market.delivery(budgets, ads), ads)
        self._played[account] = played
        rows = self._database.execute(
            "SELECT ad, at, budget FROM live_budgets WHERE account = ? ORDER BY seq", (account,)
        )
        for row in rows.fetchall():
            played.note(row["ad"], row["at"], row["budget"])


def _market(spec: Mapping[str, Any]) -> Market:
    from emulators.market import Market

    return Market(**spec)


def _days(played: _Played, first: date, last: date, now: float) -> Iterable[AdDay]:
    from emulators.market import DayStats

    found = played.delivery.conversions(first, last, now)
    converted = {(ad, when): deals for ad, when, deals in found}
    for day in played.delivery.days(first, last, now):
        yield _shown(played, day, converted.pop((day.ad, day.date), ()))
    for (ad, when), deals in converted.items():
        nothing = DayStats(ad=ad, date=when, spend=0, impressions=0, clicks=0, link_clicks=0)
        yield _shown(played, nothing, deals)


def _shown(played: _Played, day: DayStats, deals: Iterable[Deal]) -> AdDay:
    action = "purchase" if played.market.direct else "lead"
    return AdDay(
        ad_id=played.ads[day.ad],
        date=day.date,
        spend=day.spend,
        impressions=day.impressions,
        clicks=day.clicks,
        link_clicks=day.link_clicks,
        audience=played.market.truth(day.ad).audience,
        conversions=tuple(
            Conversion(
                action_type=action,
                value=deal.amount if played.market.direct else 0,
                lag_s=deal.converted_at - deal.clicked_at,
            )
            for deal in deals
        ),
    )
