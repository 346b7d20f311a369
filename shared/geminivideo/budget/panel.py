"""The days of all ads side by side, as padded matrices [ads, days], oldest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals, Day, ValueBasis
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]

_AT = attrgetter("at")


@dataclass(frozen=True, kw_only=True)
class Panel:
    """``age`` is days from a day's middle to now, ``length`` its days; padding has length 0.

    ``frequency`` is NaN where unknown; ``value`` is what the sampler's mode counts.
    """

    age: Matrix
    length: Matrix
    impressions: Matrix
    clicks: Matrix
    spend: Matrix
    value: Matrix
    frequency: Matrix
    credit_basis: NDArray[np.bool_]

    @property
    def known(self) -> NDArray[np.bool_]:
        """Which cells are days."""
        return self.length > 0


def build(ads: Sequence[AdSignals], now: float, policy: SamplerPolicy) -> Panel:
    """The panel of the last ``history_days``; an ad without days is spread over its age."""
    import numpy as np

    since = now - policy.history_days * DAY_S
    days = [_days(ad, now, since) for ad in ads]
    flat = [day for of_ad in days for day in of_ad]
    counts = np.fromiter(map(len, days), np.int64, len(days))
    width = int(counts.max(initial=1))
    cell = _cells(counts, width)
    value = attrgetter("cash_revenue" if policy.mode == "direct" else "pipeline_value")

    def matrix(read: Callable[[Day], Any], empty: float = 0.0) -> Matrix:
        filled = np.full(len(days) * width, empty)
        filled[cell] = np.fromiter(map(read, flat), np.float64, len(flat))
        return filled.reshape(len(days), width)

    length = matrix(attrgetter("hours")) / 24.0
    return Panel(
        age=np.where(length > 0, (now - matrix(_AT, now)) / DAY_S - length / 2, 0.0),
        length=length,
        impressions=matrix(attrgetter("impressions")),
        clicks=matrix(attrgetter("clicks")),
        spend=matrix(attrgetter("spend")),
        value=matrix(value),
        frequency=matrix(_frequency, np.nan),
        credit_basis=np.fromiter((ad.basis is ValueBasis.CREDIT for ad in ads), bool, len(ads)),
    )


def _cells(counts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The flat index of every day: row by row, left-aligned."""
    import numpy as np

    starts = np.arange(len(counts)) * width
    within = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(starts, counts) + within


def _frequency(day: Day) -> float:
    return float("nan") if day.frequency is None else day.frequency


def _days(ad: AdSignals, now: float, since: float) -> Sequence[Day]:
    if not ad.days:
        return [day for day in _spread(ad, now) if day.at + day.hours * HOUR_S > since]
    recent = [day for day in ad.days if since < day.at + day.hours * HOUR_S and day.at <= now]
    return sorted(recent, key=_AT)


def _spread(ad: AdSignals, now: float) -> list[Day]:
    """The totals in equal pieces of at most a day (fractions of a count are fine here)."""
    if ad.age_hours <= 0 or not (ad.impressions or ad.spend):
        return []
    pieces = max(1, min(365, round(ad.age_hours / 24.0)))
    hours = ad.age_hours / pieces
    return [
        Day(
            at=now - (piece + 1) * hours * HOUR_S,
            hours=hours,
            impressions=ad.impressions / pieces,  # type: ignore[arg-type]
            clicks=ad.clicks / pieces,  # type: ignore[arg-type]
            spend=ad.spend / pieces,  # type: ignore[arg-type]
            pipeline_value=ad.pipeline_value / pieces,  # type: ignore[arg-type]
            cash_revenue=ad.cash_revenue / pieces,  # type: ignore[arg-type]
        )
        for piece in reversed(range(pieces))
    ]
