"""A market: ads with a hidden truth, drawn from a seed; the same seed is the same market."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from geminivideo.policy import MODES

from emulators.market import truth as hidden
from emulators.market.budgets import BudgetHistory, Budgets, Step
from emulators.market.deals import LOST, PIPELINE, WON, chance_of_winning
from emulators.market.delivery import Delivery, HourRow
from emulators.market.truth import AdTruth, Change, Columns

# Decimals of the currencies that a market can be in, and what a US cent is in their minor units
# (rounded: it sets the level of prices only).
CURRENCIES = {"USD": (2, 1.0), "EUR": (2, 0.9), "GBP": (2, 0.8), "JPY": (0, 1.5)}


class MarketError(ValueError):
    """No such market can be; the message says what to ask for instead."""


@dataclass(frozen=True)
class Market:
    """``ads`` ads from ``start`` (epoch seconds) on; a change of truth falls within ``days``.

    ``mode`` pipeline: clicks become deals with stages; direct: they become purchases. Ads beyond
    ``ads`` (published later) have a truth too; the changes concern the first ``ads``. Raises
    ``MarketError``.
    """

    seed: int
    ads: int = 20
    days: int = 30
    start: float = 0.0
    mode: str = "pipeline"
    currency: str = "USD"
    timezone: str = "Etc/UTC"
    changes: int = 1

    def __post_init__(self) -> None:
        if self.currency not in CURRENCIES:
            raise MarketError(f"no market in {self.currency}: choose of {', '.join(CURRENCIES)}")
        if self.mode not in MODES:
            raise MarketError(f"no market of mode {self.mode}: choose of {', '.join(MODES)}")

    @property
    def direct(self) -> bool:
        """Whether clicks buy at once instead of becoming deals."""
        return self.mode == "direct"

    @property
    def decimals(self) -> int:
        """Of its currency."""
        return CURRENCIES[self.currency][0]

    @property
    def cent(self) -> float:
        """A US cent in minor units of its currency."""
        return CURRENCIES[self.currency][1]

    @property
    def daily_budget(self) -> int:
        """What an ad starts with: 50.00 US dollars' worth, minor units."""
        return round(50_00 * self.cent)

    def truth(self, ad: int) -> AdTruth:
        """What is hidden of an ad before any change."""
        return hidden.draw(self.seed, ad, self.cent, self.direct)

    @cached_property
    def changed(self) -> tuple[Change, ...]:
        """Which ads' truths change, and when."""
        truths = [self.truth(ad) for ad in range(self.ads)]
        return hidden.draw_changes(self.seed, truths, self.start, self.days, self.changes)

    def truth_at(self, at: float, ads: int | None = None) -> Columns:
        """The truths of the first ``ads`` ads at a moment, changes applied, fatigue not."""
        count = self.ads if ads is None else ads
        found = _columns(self, count)
        for change in self.changed:
            if change.at <= at and change.ad < count:
                found = _with(found, change)
        return found

    def delivery(self, budgets: Budgets, ad_ids: list[str] | None = None) -> Delivery:
        """This market under budgets; ``ad_ids`` are the ads' names in deals."""
        return Delivery(self, budgets, ad_ids)

    def spend(self, ad: int, history: list[Step], until: float) -> list[HourRow]:
        """An ad's hours under its (time, daily budget) steps; 0 is paused."""
        alone: list[list[Step]] = [[] for _ in range(ad)]
        return self.delivery(BudgetHistory([*alone, history])).rows(ad, self.start, until)

    def stage_map(self) -> dict[str, Any]:
        """What an advertiser who knows its pipeline well would say its stages are worth.

        The account's mean amount (weighted by deals) times the chance to win from there; members
        as those of a stage map: ``stages`` by pipeline/stage, ``won``, ``lost``, ``currency``.
        """
        found = self.truth_at(self.start)
        weight = found.ctr / found.cpm * found.deal_rate
        win_rate = float(np.average(found.win_rate, weights=weight))
        amount = float(np.average(found.amount, weights=weight * found.win_rate))
        stages = {
            f"{PIPELINE}/{stage}": {"value": round(amount * chance), "confidence": round(chance, 4)}
            for stage, chance in chance_of_winning(win_rate).items()
        }
        stages[f"{PIPELINE}/{WON}"] = {"value": round(amount), "confidence": 1.0}
        return {
            "currency": self.currency,
            "stages": stages,
            "won": [f"{PIPELINE}/{WON}"],
            "lost": [f"{PIPELINE}/{LOST}"],
        }

    def spec(self) -> dict[str, Any]:
        """The members that make it again: ``Market(**spec)``."""
        return asdict(self)


@lru_cache(maxsize=256)
def _columns(market: Market, ads: int) -> Columns:
    return hidden.columns([market.truth(ad) for ad in range(ads)])


def _with(found: Columns, change: Change) -> Columns:
    ctr, deal_rate = found.ctr.copy(), found.deal_rate.copy()
    ctr[change.ad] *= change.ctr
    deal_rate[change.ad] *= change.deal_rate
    return replace(found, ctr=ctr, deal_rate=deal_rate)
