"""What the ads of a market do under their budgets, hour by hour.

A whole hour is played once, when somebody first asks beyond its end; what it gives depends on the
market, on the budgets that were live up to its end, and on nothing else.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from emulators.market import calendar
from emulators.market.budgets import Budgets
from emulators.market.calendar import HOUR_S, Hour
from emulators.market.deals import Deal, DealEvent, deal_of, events_of
from emulators.market.draws import DAY, HOUR, normals, poisson, uniforms
from emulators.market.truth import Columns

if TYPE_CHECKING:
    from emulators.market.market import Market

Column = NDArray[np.float64]

MOST_OVER = 1.75  # of a day's budget, as Meta allows
_PACE_SPREAD = 0.10
_CATCH_UP = 0.05  # of a week's balance, each hour
_CPM_SPREAD = 0.05
_CTR_SPREAD = 0.05
_OTHER_CLICKS = 0.15  # clicks that lead nowhere (likes, the profile) per link click
_MOST_CTR = 0.5
_COUNTS = ("spend", "impressions", "clicks", "link_clicks", "value")
_EACH = 4  # uniforms of an ad and hour


@dataclass(frozen=True, kw_only=True, slots=True)
class HourRow:
    """One ad in the hour that begins at ``at``; ``spend`` is minor units, ``value`` expected."""

    at: float
    spend: int
    impressions: int
    clicks: int
    link_clicks: int
    value: float


@dataclass(frozen=True, kw_only=True, slots=True)
class DayStats:
    """One ad on one date of its account, as far as it is known by now (``spend``: minor units)."""

    ad: int
    date: date
    spend: int
    impressions: int
    clicks: int
    link_clicks: int


class _State:
    """What one hour leaves to the next, per ad."""

    def __init__(self) -> None:
        self.day = self.week = -1
        self.today = np.zeros(0)  # spend of the day
        self.week_spent = np.zeros(0)
        self.week_due = np.zeros(0)
        self.shown = np.zeros(0)  # impressions so far
        self.total = np.zeros(0)  # spend so far, with its fractions

    def grow(self, ads: int) -> None:
        for name in ("today", "week_spent", "week_due", "shown", "total"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros(ads - len(column))]))

    def turn(self, hour: Hour) -> None:
        if hour.day != self.day:
            self.day, self.today = hour.day, np.zeros_like(self.today)
        if hour.week != self.week:
            self.week = hour.week
            self.week_spent = np.zeros_like(self.week_spent)
            self.week_due = np.zeros_like(self.week_due)


class Delivery:
    """A market under budgets. Every question plays the hours that it needs first.

    ``ad_ids`` are the names that the ads go by in deals (a list that may grow).
    """

    def __init__(
        self, market: Market, budgets: Budgets, ad_ids: Sequence[str] | None = None
    ) -> None:
        self.market = market
        self.budgets = budgets
        self.ad_ids = ad_ids
        self._first = calendar.hour_start(market.start)
        self._played = 0
        self._lock = threading.RLock()
        self._state = _State()
        self._hours: dict[str, list[Column]] = {name: [] for name in _COUNTS}
        self._deals: list[Deal] = []
        self._by_day: dict[tuple[int, int], list[Deal]] = defaultdict(list)
        self._steps: list[tuple[float, str, int, DealEvent]] = []
        self._remembered = 0
        self._daily: tuple[int, NDArray[np.float64]] = (-1, np.zeros((6, 0)))

    @property
    def played_until(self) -> float:
        """The end of the last whole hour that was played."""
        return self._first + self._played * HOUR_S

    def advance(self, until: float) -> None:
        """Play every whole hour that is over by ``until``."""
        with self._lock:
            while self.played_until + HOUR_S <= until:
                self._play(self.played_until)
                self._played += 1

    def rows(self, ad: int, since: float, until: float) -> list[HourRow]:
        """An ad's whole hours within a time."""
        self.advance(until)
        return [self._row(ad, hour) for hour in self._between(since, until)]

    def days(self, first: date, last: date, now: float) -> list[DayStats]:
        """Each ad's dates with delivery, counting the hours that are over by ``now``."""
        self.advance(now)
        begin, end = calendar.span_of(first, last, self.market.timezone)
        until = min(end, now)
        sums: dict[int, list[int]] = defaultdict(list)
        for hour in self._between(begin, until):
            at = self._first + hour * HOUR_S
            sums[calendar.hour_of(at, self.market.timezone).day].append(hour)
        return [row for day, hours in sums.items() for row in self._day(day, hours)]

    def deals(self, until: float) -> list[Deal]:
        """The deals of all clicks up to the last whole hour, in the order of their clicks."""
        self.advance(until)
        return [deal for deal in self._deals if deal.clicked_at <= until]

    def deals_of(self, ad: int, day: date) -> Sequence[Deal]:
        """The deals whose click was on a date (and has been played)."""
        return self._by_day.get((ad, day.toordinal()), ())

    def deal_events(self, since: float, until: float) -> Iterator[DealEvent]:
        """What a CRM sees in (since, until], in the order of time."""
        self.advance(until)
        with self._lock:
            self._remember(self._deals[self._remembered :])
        first = bisect_right(self._steps, since, key=lambda step: step[0])
        last = bisect_right(self._steps, until, key=lambda step: step[0])
        for step in self._steps[first:last]:
            yield step[3]

    def spend(self, until: float) -> int:
        """Spent by all ads in the hours that are over, minor units."""
        return round(self._summed("spend", until))

    def value(self, until: float) -> float:
        """What the clicks of the hours that are over bring in the end, expected, minor units."""
        return self._summed("value", until)

    def cash(self, until: float) -> int:
        """The amounts of the deals that are won (or bought) by ``until``."""
        paid = (deal for deal in self.deals(until) if deal.paid_at is not None)
        return sum(deal.amount for deal in paid if (deal.paid_at or 0.0) <= until)

    def exposure(self) -> Column:
        """Impressions per ad so far: what its fatigue depends on."""
        return self._state.shown.copy()

    def _between(self, since: float, until: float) -> range:
        """The played hours that lie wholly in a time."""
        first = max(0, math.ceil((since - self._first) / HOUR_S))
        return range(first, min(self._played, int((until - self._first) // HOUR_S)))

    def _summed(self, name: str, until: float) -> float:
        self.advance(until)
        hours = self._between(self._first, until)
        return float(sum(self._hours[name][hour].sum() for hour in hours))

    def _row(self, ad: int, hour: int) -> HourRow:
        found = {name: columns[hour] for name, columns in self._hours.items()}
        counted = {name: float(c[ad]) if ad < len(c) else 0.0 for name, c in found.items()}
        value = counted.pop("value")
        whole = {name: int(count) for name, count in counted.items()}
        return HourRow(at=self._first + hour * HOUR_S, value=value, **whole)

    def _day(self, day: int, hours: list[int]) -> Iterator[DayStats]:
        ads = len(self._hours["spend"][hours[-1]])
        sums = {name: np.zeros(ads) for name in _COUNTS[:-1]}
        for name, total in sums.items():
            for hour in hours:
                column = self._hours[name][hour]
                total[: len(column)] += column
        for ad in np.flatnonzero(sums["impressions"] + sums["spend"]):
            counts = {name: int(total[ad]) for name, total in sums.items()}
            yield DayStats(ad=int(ad), date=date.fromordinal(day), **counts)

    def _play(self, at: float) -> None:
        live = self.budgets.mean(at, at + HOUR_S)
        self._state.grow(len(live))
        hour = calendar.hour_of(at, self.market.timezone)
        self._state.turn(hour)
        truth = self.market.truth_at(at, len(live))
        luck = uniforms(self.market.seed, HOUR, int(at // HOUR_S), len(live), _EACH)
        day = self._day_luck(hour.day, len(live))
        counts = self._hour(hour, live, truth, luck, day)
        deals = np.minimum(poisson(luck[3], counts["link_clicks"] * truth.deal_rate), 4095)
        for name in _COUNTS:
            self._hours[name].append(counts[name])
        self._close(at, hour, np.minimum(deals, counts["link_clicks"]))

    def _hour(
        self, hour: Hour, live: Column, truth: Columns, luck: Column, day: Column
    ) -> dict[str, Column]:
        state = self._state
        before = state.today.copy()
        spend = self._paced(hour, live, day[0])
        depth = np.log1p(state.today / truth.saturation) - np.log1p(before / truth.saturation)
        reached = 1000.0 / truth.cpm * truth.saturation * depth
        tired = 1.0 / (1.0 + state.shown / truth.audience / truth.fatigue)
        ctr = truth.ctr * hour.mood * tired
        impressions = poisson(luck[0], reached * np.exp(-_CPM_SPREAD * day[1]))
        tempted = np.minimum(ctr * np.exp(_CTR_SPREAD * day[2]), _MOST_CTR)
        link_clicks = np.minimum(poisson(luck[1], impressions * tempted), impressions)
        others = poisson(luck[2], link_clicks * _OTHER_CLICKS)
        state.shown = state.shown + impressions
        return {
            "spend": spend,
            "impressions": impressions,
            "clicks": np.minimum(link_clicks + others, impressions),
            "link_clicks": link_clicks,
            "value": reached * ctr * truth.value_per_click,
        }

    def _paced(self, hour: Hour, live: Column, pace: Column) -> Column:
        """Spend the hour: around the budget's share, a week's balance caught up slowly."""
        state = self._state
        due = live * hour.share
        behind = state.week_due - state.week_spent
        wanted = due * np.exp(_PACE_SPREAD * pace) + np.where(due > 0, _CATCH_UP * behind, 0.0)
        spend = np.clip(wanted, 0.0, MOST_OVER * due)
        if hour.last_day:
            spend = np.minimum(spend, np.maximum(0.0, behind + due))
        before = np.floor(state.total)
        state.today = state.today + spend
        state.week_spent = state.week_spent + spend
        state.week_due = state.week_due + due
        state.total = state.total + spend
        return np.asarray(np.floor(state.total) - before)

    def _day_luck(self, day: int, ads: int) -> NDArray[np.float64]:
        """[3, ads] standard normals of a day: pace, price, mood."""
        known, luck = self._daily
        if known != day or luck.shape[1] < ads:
            drawn = uniforms(self.market.seed, DAY, day, ads, 6)
            luck = np.stack([normals(drawn[n], drawn[n + 1]) for n in (0, 2, 4)])
            self._daily = (day, luck)
        return luck[:, :ads]

    def _close(self, at: float, hour: Hour, deals: Column) -> None:
        market = self.market
        for ad in np.flatnonzero(deals):
            truth = market.truth(int(ad))
            for number in range(int(deals[ad])):
                deal = deal_of(market.seed, at, int(ad), number, truth, market.direct)
                self._deals.append(deal)
                self._by_day[int(ad), hour.day].append(deal)

    def _remember(self, deals: Sequence[Deal]) -> None:
        for deal in deals if not self.market.direct else ():
            name = self.ad_ids[deal.ad] if self.ad_ids is not None else str(deal.ad)
            for number, event in enumerate(events_of(deal, name, self.market.decimals)):
                self._steps.append((event.at, deal.id, number, event))
        self._remembered += len(deals)
        self._steps.sort(key=lambda step: step[:3])
