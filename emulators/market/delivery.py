"""What the ads of a market do under their budgets, hour by hour.

A whole hour is played once, when somebody first asks beyond its end; what it gives depends on the
market, on the budgets that were live up to its end, and on nothing else.
"""

from __future__ import annotations

import math
import threading
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import accumulate
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
Matrix = NDArray[np.float64]
Deals = list[Deal]

MOST_OVER = 1.75  # of a day's budget, as Meta allows
_PACE_SPREAD = 0.10
_CATCH_UP = 0.05  # of a week's balance, each hour
_CPM_SPREAD = 0.05
_CTR_SPREAD = 0.05
OTHER_CLICKS = 0.15  # clicks that lead nowhere (likes, the profile) per link click
_MOST_CTR = 0.5
_COUNTS = ("spend", "impressions", "clicks", "link_clicks", "value")
_EACH = 4  # uniforms of an ad and hour
_MOST_DEALS = 4095  # of an ad and hour, that deals can be numbered
_MOST_AT_ONCE = 240


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

    def spend(self, hour: Hour, due: Column, factor: Column) -> Column:
        """Spend an hour: around the budget's share, a week's balance caught up slowly."""
        behind = self.week_due - self.week_spent
        wanted = due * factor + np.where(due > 0, _CATCH_UP * behind, 0.0)
        spend = np.clip(wanted, 0.0, MOST_OVER * due)
        if hour.last_day:
            spend = np.minimum(spend, np.maximum(0.0, behind + due))
        before = np.floor(self.total)
        self.today = self.today + spend
        self.week_spent = self.week_spent + spend
        self.week_due = self.week_due + due
        self.total = self.total + spend
        return np.asarray(np.floor(self.total) - before)


@dataclass(frozen=True)
class _Rates:
    ctr: Matrix
    deal_rate: Matrix
    fixed: Columns


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
        self._converted: dict[int, dict[int, Deals]] = defaultdict(lambda: defaultdict(list))
        self._dated = 0
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
            while (left := int((until - self.played_until) // HOUR_S)) > 0:
                self._play(min(left, _MOST_AT_ONCE))

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

    def deals_after(self, count: int) -> Sequence[Deal]:
        """All that were played but the first ``count``."""
        return self._deals[count:]

    def hours_after(self, count: int) -> Iterator[tuple[float, dict[str, Column]]]:
        """Every played hour but the first ``count``: when it began, and its counts by ad."""
        for hour in range(count, self._played):
            counts = {name: columns[hour] for name, columns in self._hours.items()}
            yield self._first + hour * HOUR_S, counts

    def conversions(self, first: date, last: date, now: float) -> Iterator[tuple[int, date, Deals]]:
        """The deals that Meta's pixel saw by ``now`` on these dates, by ad and date."""
        self.advance(now)
        with self._lock:
            self._date(self._deals[self._dated :])
        for day in range(first.toordinal(), last.toordinal() + 1):
            for ad, deals in self._converted.get(day, {}).items():
                if seen := [deal for deal in deals if deal.converted_at <= now]:
                    yield ad, date.fromordinal(day), seen

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

    def values(self, moments: Iterable[float]) -> tuple[float, ...]:
        """``value`` at each of many moments, in the order of time."""
        asked = list(moments)
        self.advance(max(asked, default=self._first))
        sums = [0.0, *accumulate(float(hour.sum()) for hour in self._hours["value"])]
        return tuple(sums[len(self._between(self._first, moment))] for moment in asked)

    def cash(self, until: float) -> int:
        """The amounts of the deals that are won (or bought) by ``until``."""
        paid = (deal for deal in self.deals(until) if deal.paid_at is not None)
        return sum(deal.amount for deal in paid if (deal.paid_at or 0.0) <= until)

    def exposure(self) -> Column:
        """Impressions per ad so far: what its fatigue depends on."""
        shown = self._state.shown
        return np.concatenate([shown, np.zeros(max(0, len(self.budgets) - len(shown)))])

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

    def _play(self, count: int) -> None:
        """The next ``count`` hours side by side: only the pace of spending needs one by one."""
        starts = [self.played_until + n * HOUR_S for n in range(count)]
        hours = [calendar.hour_of(at, self.market.timezone) for at in starts]
        live = np.stack([self.budgets.mean(at, at + HOUR_S) for at in starts])
        ads = live.shape[1]
        luck = np.stack([self._hour_luck(at, ads) for at in starts], axis=1)
        day = np.stack([self._day_luck(hour.day, ads) for hour in hours], axis=1)
        self._state.grow(ads)
        spend, before, after = self._paced(hours, live, day[0])
        rates = self._rates(starts, hours, ads)
        counts = self._answers(rates, before, after, luck, day)
        counts["spend"] = spend
        deals = np.minimum(poisson(luck[3], counts["link_clicks"] * rates.deal_rate), _MOST_DEALS)
        deals = np.minimum(deals, counts["link_clicks"])
        for place, at in enumerate(starts):
            for name in _COUNTS:
                self._hours[name].append(counts[name][place])
            self._close(at, deals[place])
        self._played += count

    def _rates(self, starts: list[float], hours: list[Hour], ads: int) -> _Rates:
        """CTR before fatigue and deal rate, [hours, ads], and what stays the same of each ad."""
        truths = [self.market.truth_at(at, ads) for at in starts]
        mood = np.array([hour.mood for hour in hours])[:, None]
        return _Rates(
            ctr=np.stack([truth.ctr for truth in truths]) * mood,
            deal_rate=np.stack([truth.deal_rate for truth in truths]),
            fixed=truths[0],
        )

    def _answers(
        self, rates: _Rates, before: Matrix, after: Matrix, luck: Matrix, day: Matrix
    ) -> dict[str, Matrix]:
        truth = rates.fixed
        depth = np.log1p(after / truth.saturation) - np.log1p(before / truth.saturation)
        reached = 1000.0 / truth.cpm * truth.saturation * depth
        impressions = poisson(luck[0], reached * np.exp(-_CPM_SPREAD * day[1]))
        shown = self._state.shown + np.cumsum(impressions, axis=0)
        self._state.shown = shown[-1]
        tired = 1.0 / (1.0 + (shown - impressions) / truth.audience / truth.fatigue)
        ctr = rates.ctr * tired
        tempted = np.minimum(ctr * np.exp(_CTR_SPREAD * day[2]), _MOST_CTR)
        link_clicks = np.minimum(poisson(luck[1], impressions * tempted), impressions)
        others = poisson(luck[2], link_clicks * OTHER_CLICKS)
        return {
            "impressions": impressions,
            "clicks": np.minimum(link_clicks + others, impressions),
            "link_clicks": link_clicks,
            "value": reached * ctr * rates.deal_rate * truth.win_rate * truth.amount,
        }

    def _paced(
        self, hours: list[Hour], live: Matrix, pace: Matrix
    ) -> tuple[Matrix, Matrix, Matrix]:
        """Spend of each hour in whole minor units, and the day's spend before and after it."""
        state, factor = self._state, np.exp(_PACE_SPREAD * pace)
        spends, before, after = [], [], []
        for place, hour in enumerate(hours):
            state.turn(hour)
            before.append(state.today)
            spends.append(state.spend(hour, live[place] * hour.share, factor[place]))
            after.append(state.today)
        return np.stack(spends), np.stack(before), np.stack(after)

    def _hour_luck(self, at: float, ads: int) -> Matrix:
        return uniforms(self.market.seed, HOUR, int(at // HOUR_S), ads, _EACH)

    def _day_luck(self, day: int, ads: int) -> NDArray[np.float64]:
        """[3, ads] standard normals of a day: pace, price, mood."""
        known, luck = self._daily
        if known != day or luck.shape[1] < ads:
            drawn = uniforms(self.market.seed, DAY, day, ads, 6)
            luck = np.stack([normals(drawn[n], drawn[n + 1]) for n in (0, 2, 4)])
            self._daily = (day, luck)
        return luck[:, :ads]

    def _close(self, at: float, deals: Column) -> None:
        market = self.market
        for ad in np.flatnonzero(deals):
            truth = market.truth(int(ad))
            for number in range(int(deals[ad])):
                deal = deal_of(market.seed, at, int(ad), number, truth, market.direct)
                self._deals.append(deal)

    def _date(self, deals: Sequence[Deal]) -> None:
        for deal in deals:
            day = calendar.hour_of(calendar.hour_start(deal.converted_at), self.market.timezone).day
            self._converted[day][deal.ad].append(deal)
        self._dated += len(deals)

    def _remember(self, deals: Sequence[Deal]) -> None:
        before = len(self._steps)
        for deal in deals if not self.market.direct else ():
            name = self.ad_ids[deal.ad] if self.ad_ids is not None else str(deal.ad)
            for number, event in enumerate(events_of(deal, name, self.market.decimals)):
                self._steps.append((event.at, deal.id, number, event))
        self._remembered += len(deals)
        if len(self._steps) > before:
            self._steps.sort()  # by time, deal and number: never by the event itself
