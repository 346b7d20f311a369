"""Signals of ads straight from a market, as the product's doors would make them.

For simulations of many seasons: what Meta's insights, the CRM and the crediting of deals leave of
a market is worked out from its hours and deals, without their transports and documents. A deal is
credited by its click (70 % of them, within 7 days) or by the ad that it names, at the product's
confidences; one that shows neither is not. Lags are learned once a day.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from typing import Any

import numpy as np
from geminivideo.budget import lag
from geminivideo.budget.history import AdDay, packed
from geminivideo.budget.lag import Delay
from geminivideo.budget.revenue import StageMap, credited
from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals, Day, LagCurve
from geminivideo.policy import Policy
from geminivideo.records import AdState, StageSeen
from geminivideo.services import crediting
from numpy.typing import NDArray

from emulators.market import BudgetHistory, Deal, Delivery
from emulators.market.calendar import local_date

Table = NDArray[np.float64]
_COUNTS = ("spend", "impressions", "clicks")


class Ledger:
    """What is known of a market's ads at a time: counts and credits by ad and day."""

    def __init__(
        self, delivery: Delivery, budgets: BudgetHistory, stages: StageMap, policy: Policy,
        days: int, most_ads: int,
    ) -> None:  # fmt: skip
        self.delivery = delivery
        self.budgets = budgets
        self._fold = crediting.folding(stages)
        self._policy = policy
        self._start = delivery.market.start
        shape = (most_ads, days + 1)
        self.counts: dict[str, Table] = {name: np.zeros(shape) for name in _COUNTS}
        self.value, self.deals = np.zeros(shape), np.zeros(shape)
        self._hours = self._seen = self._number = 0
        self._due: list[tuple[float, int, Deal, int, bool, bool]] = []
        self._begun: list[tuple[int, int, float]] = []
        self._delays: list[tuple[float, float]] = []
        self._rises: list[tuple[float, float, float]] = []
        self._learned_on = -1
        self._curves = (lag.learn((), policy.lag), lag.learn((), policy.ripening))

    def update(self, now: float) -> None:
        """Take in what happened up to now."""
        self.delivery.advance(now)
        for at, found in self.delivery.hours_after(self._hours):
            for name in _COUNTS:
                self.counts[name][: len(found[name]), self._day(at)] += found[name]
            self._hours += 1
        for deal in self.delivery.deals_after(self._seen):
            self._seen += 1
            self._foresee(deal)
        while self._due and self._due[0][0] <= now:
            self._happen(*heapq.heappop(self._due)[2:], now=now)
        if self._day(now) != self._learned_on:
            self._learned_on = self._day(now)
            self._curves = self._learn(now)

    def _day(self, at: float) -> int:
        return int((at - self._start) // DAY_S)

    def _foresee(self, deal: Deal) -> None:
        """A deal's steps wait for their times; one that nobody can attribute is not waited for."""
        hours = self._policy.attribution.click_id_hours
        by_click = bool(deal.fbclid) and deal.converted_at - deal.clicked_at <= hours * HOUR_S
        if not by_click and not deal.tagged:
            return
        for number, step in enumerate(deal.steps):
            self._number += 1
            due = (step.at, self._number, deal, number, by_click, number == 0)
            heapq.heappush(self._due, due)

    def _happen(self, deal: Deal, number: int, by_click: bool, first: bool, now: float) -> None:
        policy = self._policy.attribution
        sure = policy.click_id_confidence if by_click else policy.utm_confidence
        before, after = self._worth(deal, number), self._worth(deal, number + 1)
        day = self._day(deal.clicked_at if by_click else deal.converted_at)
        self.value[deal.ad, day] += credited(after, sure) - credited(before, sure)
        at = deal.steps[number].at
        if after > before:
            self._rises.append((deal.converted_at, at, float(after - before)))
        if first:
            self.deals[deal.ad, day] += 1
            self._begun.append((deal.ad, day, deal.converted_at))
            if by_click:
                self._delays.append((deal.clicked_at, at))

    def _worth(self, deal: Deal, steps: int) -> int:
        """What a deal is worth after so many of its steps."""
        seen = [
            StageSeen(pipeline="default", stage=one.stage, at=one.at, amount=one.amount)
            for one in deal.steps[:steps]
        ]
        return self._fold(seen).value

    def _learn(self, now: float) -> tuple[LagCurve, LagCurve]:
        longest = self._policy.lag.max_days
        begun = [
            Delay(days=(at - clicked) / DAY_S, observed_days=(now - clicked) / DAY_S)
            for clicked, at in self._delays
            if now - clicked <= longest * DAY_S
        ]
        risen = [
            Delay(days=(at - since) / DAY_S, observed_days=(now - since) / DAY_S, weight=rise)
            for since, at, rise in self._rises
            if now > since
        ]
        return lag.learn(begun, self._policy.lag), lag.learn(risen, self._policy.ripening)

    @property
    def lag(self) -> LagCurve:
        """From a click to the deals that begin of it."""
        return self._curves[0]

    def _ripe(self, now: float) -> Table:
        """How many deals' worth of value is there, by ad and day."""
        table = np.zeros_like(self.value)
        if self._begun:
            ads, days, since = (np.array(column) for column in zip(*self._begun, strict=True))
            ages = np.maximum(now - since, HOUR_S) / DAY_S
            curve = self._curves[1]
            shares = np.interp(ages, curve.days, curve.shares, left=0.0, right=1.0)
            np.add.at(table, (ads, days), shares)
        return table

    def signals(self, ads: dict[int, tuple[str, str, float]], now: float) -> tuple[AdSignals, ...]:
        """The signals of some ads: (id, campaign, when it was made) by their place."""
        ripe = self._ripe(now)
        return tuple(
            self._signals(ad, *ads[ad], ripe[ad], now) for ad in sorted(ads, key=lambda n: ads[n])
        )

    def _signals(
        self, ad: int, ad_id: str, campaign: str, made_at: float, ripe: Table, now: float
    ) -> AdSignals:
        first = max(0, self._day(now) - self._policy.sampler.history_days + 1, self._day(made_at))
        last = self._day(now - 1.0)
        count = {name: table[ad] for name, table in self.counts.items()}
        return AdSignals(
            ad_id=ad_id,
            adset_id=f"set-{ad_id}",
            campaign_id=campaign,
            age_hours=(now - made_at) / HOUR_S,
            impressions=int(count["impressions"].sum()),
            clicks=int(count["clicks"].sum()),
            spend=int(count["spend"].sum()),
            pipeline_value=int(self.value[ad].sum()),
            pipeline_count=int(self.deals[ad].sum()),
            daily_budget=int(self.budgets.live(ad, now)),
            observed_at=now,
            days=tuple(
                self._shown(ad, day, made_at, ripe, now) for day in range(first, last + 1)
            ),
        )  # fmt: skip

    def _shown(self, ad: int, day: int, made_at: float, ripe: Table, now: float) -> Day:
        begins = self._start + day * DAY_S
        end = min(begins + DAY_S, now)
        at = min(max(begins, made_at), end - 0.25 * HOUR_S)
        return Day(
            at=at,
            hours=(end - at) / HOUR_S,
            impressions=int(self.counts["impressions"][ad, day]),
            clicks=int(self.counts["clicks"][ad, day]),
            spend=int(self.counts["spend"][ad, day]),
            pipeline_value=int(self.value[ad, day]),
            deals=int(self.deals[ad, day]),
            ripe=round(float(ripe[day]), 6),
        )

    def state(self, ad: int, base: AdState, now: float) -> AdState:
        """The ad's document as the reading of insights and the crediting of deals leave it."""
        zone = self.delivery.market.timezone
        rows: list[AdDay] = []
        for day in np.flatnonzero(self.counts["impressions"][ad]):
            begins = self._start + float(day) * DAY_S
            told: dict[str, Any] = {n: int(table[ad, day]) for n, table in self.counts.items()}
            date = local_date(begins, zone).isoformat()
            rows.append(AdDay(date=date, begins_at=begins, **told))
        return replace(
            base,
            updated_at=now,
            insights_at=now,
            pipeline_value=int(self.value[ad].sum()),
            deals=int(self.deals[ad].sum()),
            days=packed(rows),
            **{name: int(table[ad].sum()) for name, table in self.counts.items()},
        )
