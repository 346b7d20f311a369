"""What is known of one ad when budgets are decided. Values only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum

HOUR_S = 3600.0
DAY_S = 86400.0


class SignalsError(ValueError):
    """The signals cannot be decided on; the message says which ad and what is wrong."""


class ValueBasis(StrEnum):
    """To which day a deal's value is counted: that of its click, or that of its credit."""

    CLICK = "click"
    CREDIT = "credit"


@dataclass(frozen=True, kw_only=True, slots=True)
class Day:
    """What an ad did in ``hours`` from ``at`` on (today is a day that is shorter so far).

    ``spend``, ``pipeline_value`` and ``cash_revenue`` are minor units, counted to the day that
    ``AdSignals.basis`` names; ``frequency`` is impressions per person, ``None`` when unknown.
    ``deals`` of its clicks have begun (0 also where nobody counts them), and by their age as much
    of their value should be credited as ``ripe`` finished deals bring.
    """

    at: float
    impressions: int
    clicks: int
    spend: int
    hours: float = 24.0
    pipeline_value: int = 0
    cash_revenue: int = 0
    frequency: float | None = None
    deals: int = 0
    ripe: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class AdSignals:
    """One ad: totals since it was created, its recent days, and its live daily budget.

    ``days`` may be empty: then the totals are spread over the ad's age and the estimate says so.
    ``pipeline_count`` and ``cash_count`` are credited deals and purchases, ``None`` when unknown.
    ``daily_budget`` ``None`` means unknown: no velocity bound can then be kept.
    ``window_budget`` is the live budget at the start of the velocity window (default: the live
    one). ``dna`` is how like the account's winners the creative is (1; -1: its losers), ``wisdom``
    the ratio that other accounts' experience suggests for it (1 is neutral); ``moved_by`` says what
    both rest on. ``locked`` keeps the budget as it is.
    """

    ad_id: str
    age_hours: float
    impressions: int
    clicks: int
    spend: int
    currency: str = "USD"
    campaign_id: str | None = None
    adset_id: str | None = None
    pipeline_value: int = 0
    pipeline_count: int | None = None
    cash_revenue: int = 0
    cash_count: int | None = None
    daily_budget: int | None = None
    window_budget: int | None = None
    min_budget: int | None = None
    max_budget: int | None = None
    observed_at: float | None = None
    days: tuple[Day, ...] = ()
    basis: ValueBasis = ValueBasis.CLICK
    dna: float | None = None
    wisdom: float | None = None
    moved_by: tuple[str, ...] = ()
    locked: bool = False
    degraded: tuple[str, ...] = ()

    @property
    def pipeline_roas(self) -> float | None:
        """Credited pipeline value per unit of spend, lag not accounted for; no spend: unknown."""
        return self.pipeline_value / self.spend if self.spend > 0 else None

    @property
    def cash_roas(self) -> float | None:
        """Cash revenue per unit of spend; no spend: unknown."""
        return self.cash_revenue / self.spend if self.spend > 0 else None

    @property
    def unvalued(self) -> bool:
        """Purchases were counted and none brought an amount: what they were worth is unknown."""
        return (self.cash_count or 0) > 0 and self.cash_revenue == 0

    def roas(self, mode: str) -> float | None:
        """The ROAS that counts in a mode: cash in ``direct``, else pipeline."""
        return self.cash_roas if mode == "direct" else self.pipeline_roas


@dataclass(frozen=True, kw_only=True, slots=True)
class LagCurve:
    """The share of what comes in the end that is there ``days`` later; linear in between.

    From a click to the deals that begin of it (to their value, where deals are not counted), or
    from a deal's beginning to its value. ``days`` and ``shares`` rise together; after the last day
    all is there. ``deals`` is how many delays it was learned from (0: the prior alone).
    """

    days: tuple[float, ...]
    shares: tuple[float, ...]
    deals: int = 0

    @classmethod
    def immediate(cls) -> LagCurve:
        """No lag: what is not credited at once never will be."""
        return cls(days=(0.0,), shares=(1.0,))


@dataclass(frozen=True, kw_only=True, slots=True)
class AccountPrior:
    """What the account's ads have in common, learned from all of them.

    CTR ~ Beta(``ctr_alpha``, ``ctr_beta``). ``value_per_click`` is the mature value of a click in
    minor units; an ad's own is ``value_per_click`` times q, with q ~ Gamma(``value_shape``,
    ``value_shape``) between ads. ``credit_size`` (minor units) is E[x^2]/E[x] of one deal's credit
    x: value / ``credit_size`` has variance equal to its mean, however heavy its tail.
    ``deal_value`` (minor units) is what a deal is credited in the end; 0 where deals are not
    counted: q is then learned from their value alone, else from their number, and Gamma with
    ``value_shape`` is the number's part of it.
    """

    ctr_alpha: float
    ctr_beta: float
    value_per_click: float
    value_shape: float
    credit_size: float
    deal_value: float = 0.0

    @property
    def ctr(self) -> float:
        """The mean CTR between ads."""
        return self.ctr_alpha / (self.ctr_alpha + self.ctr_beta)


def whole_life(ad: AdSignals, now: float) -> tuple[Day, ...]:
    """The totals as one stretch as long as the ad is old; nothing when nothing happened."""
    if ad.age_hours <= 0 or not (ad.impressions or ad.spend):
        return ()
    return (
        Day(
            at=now - ad.age_hours * HOUR_S,
            hours=ad.age_hours,
            impressions=ad.impressions,
            clicks=ad.clicks,
            spend=ad.spend,
            pipeline_value=ad.pipeline_value,
            cash_revenue=ad.cash_revenue,
        ),
    )


def one_currency(ads: Iterable[AdSignals]) -> str:
    """The currency of all ads; raises ``SignalsError`` when they differ (none: empty)."""
    found = {ad.currency for ad in ads}
    if len(found) > 1:
        raise SignalsError(
            f"ads in {', '.join(sorted(found))}: decide each currency's ads on their own"
        )
    return next(iter(found), "")


def with_late_clicks(days: tuple[Day, ...]) -> tuple[Day, ...]:
    """Days, oldest first, whose clicks beyond their impressions count to the days before.

    A click may come on a later day than what was clicked on, on one without delivery too. Clicks
    for which no impression is left stay where they are: those cannot be true.
    """
    if all(day.clicks <= day.impressions for day in days):
        return days
    clicks, late = [day.clicks for day in days], 0
    for index in range(len(days) - 1, -1, -1):
        here = clicks[index] + late
        clicks[index] = min(here, days[index].impressions)
        late = here - clicks[index]
    if late:
        return days
    return tuple(replace(day, clicks=told) for day, told in zip(days, clicks, strict=True))


def contradiction(ad: AdSignals) -> str | None:
    """Why the ad's numbers cannot be true, or ``None``; such an ad keeps its budget."""
    pieces: tuple[AdSignals | Day, ...] = (ad, *ad.days)
    for piece in pieces:
        if not 0 <= piece.clicks <= piece.impressions:
            return f"{piece.clicks} clicks of {piece.impressions} impressions"
        if piece.spend < 0:
            return "a spend below zero"
    if ad.age_hours < 0:
        return "an age below zero"
    for day in ad.days:
        if day.hours <= 0:
            return "a day without length"
    if ad.daily_budget is not None and ad.daily_budget < 0:
        return "a budget below zero"
    return None
