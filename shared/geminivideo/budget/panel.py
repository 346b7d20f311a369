"""The days of all ads side by side, as padded matrices [ads, days], oldest first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from geminivideo.budget.signals import DAY_S, HOUR_S, AdSignals, Day, ValueBasis, whole_life
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]

_AT = attrgetter("at")
_LONGEST_H = 36.0
_SHORTEST_H = 0.25
_MOST_PIECES = 365


@dataclass(frozen=True, kw_only=True)
class Panel:
    """``age`` is days from a day's middle to now, ``length`` its days; padding has length 0.

    ``frequency`` is NaN where unknown; ``value`` is what the sampler's mode counts. ``deals`` and
    ``ripe`` are 0 where deals are not counted.
    """

    age: Matrix
    length: Matrix
    impressions: Matrix
    clicks: Matrix
    spend: Matrix
    value: Matrix
    deals: Matrix
    ripe: Matrix
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

    hours = matrix(attrgetter("hours"))
    length = np.where(hours > 0, np.maximum(hours, _SHORTEST_H), 0.0) / 24.0
    return Panel(
        age=np.where(length > 0, (now - matrix(_AT, now)) / DAY_S - length / 2, 0.0),
        length=length,
        impressions=matrix(attrgetter("impressions")),
        clicks=matrix(attrgetter("clicks")),
        spend=matrix(attrgetter("spend")),
        value=matrix(value),
        deals=matrix(attrgetter("deals")),
        ripe=matrix(attrgetter("ripe")),
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
    days = sorted(ad.days, key=_AT) if ad.days else whole_life(ad, now)
    recent = [day for day in days if since < day.at + day.hours * HOUR_S and day.at <= now]
    if all(day.hours <= _LONGEST_H for day in recent):
        return recent
    pieces = (piece for day in recent for piece in _pieces(day))
    return [piece for piece in pieces if piece.at + piece.hours * HOUR_S > since]


def _pieces(day: Day) -> list[Day]:
    """A long stretch in equal pieces of about a day; the counts add up to the stretch's."""
    count = max(1, min(_MOST_PIECES, round(day.hours / 24.0)))
    hours = day.hours / count

    def piece(number: int) -> Day:
        def part(whole: int) -> int:
            return whole * (number + 1) // count - whole * number // count

        return replace(
            day,
            at=day.at + number * hours * HOUR_S,
            hours=hours,
            impressions=part(day.impressions),
            clicks=part(day.clicks),
            spend=part(day.spend),
            pipeline_value=part(day.pipeline_value),
            cash_revenue=part(day.cash_revenue),
            deals=part(day.deals),
            ripe=day.ripe / count,
        )

    return [piece(number) for number in range(count)]
