"""All ads as columns: what the posteriors need, forgetting included. One row an ad."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from geminivideo.budget import elasticity, fatigue, panel
from geminivideo.budget.panel import Panel
from geminivideo.budget.signals import AdSignals, LagCurve
from geminivideo.policy import SamplerPolicy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Columns over the ads; every count is discounted by its age.

    ``budget`` is the daily budget that returns are measured at (minor units, > 0); ``volume`` is
    how many days at that budget the spend was worth, with the ad's ``saturation`` (minor units a
    day); ``exposure`` is the clicks whose lag has passed, ``deals`` those that began of them,
    ``value`` what was credited, and ``ripe`` how many finished deals' value that should be;
    ``evidence_age`` is the mean age in days of the clicks; ``usual_pace`` the impressions that the
    account gets for a minor unit. ``counted``: deals are known by day; else ``deals`` and
    ``ripe`` are 0.
    """

    budget: Column
    impressions: Column
    clicks: Column
    volume: Column
    exposure: Column
    value: Column
    deals: Column
    ripe: Column
    evidence_age: Column
    decline: Column
    decline_z: Column
    age_hours: Column
    dna: Column
    wisdom: Column
    saturation: Column
    counted: bool
    usual_pace: float
    credit_mean: float | None
    credit_guess: float | None

    def rows(self, part: slice) -> Evidence:
        """The same account's, of some of its ads (views, not copies)."""
        columns = {name: getattr(self, name)[part] for name in _COLUMNS}
        return replace(self, **columns)


_COLUMNS = tuple(field.name for field in fields(Evidence) if field.type == "Column")


def usual_pace(impressions: Column, volume: Column, budget: Column) -> float:
    """The account's impressions for a minor unit; 1 when nothing was spent or shown."""
    bought, shown = total(volume, budget), float(impressions.sum())
    return shown / bought if bought > 0 and shown > 0 else 1.0


def total(*columns: Column) -> float:
    """The sum of the columns' products, without a column for them."""
    import numpy as np

    return float(np.einsum(",".join("i" * len(columns)) + "->", *columns))


def gather(
    ads: Sequence[AdSignals], *, now: float, total: int, lag: LagCurve, policy: SamplerPolicy
) -> Evidence:
    """Read the ads' days; ``total`` (minor units) gives an ad without budget its equal share."""
    import numpy as np

    days = panel.build(ads, now, policy)
    returns = elasticity.learn(days, policy)
    worn = fatigue.measure(days, returns.ads, policy)
    budget = _budgets(ads, days, total)
    fresh = np.where(days.known, 0.5 ** (days.age / policy.click_half_life_days), 0.0)
    clicks = (fresh * days.clicks).sum(1)
    direct = policy.mode == "direct"
    impressions = (fresh * days.impressions).sum(1)
    volume = (fresh * _volumes(days, budget, returns.saturation)).sum(1)
    worth = _worth(days, lag, policy)
    return Evidence(
        budget=budget,
        impressions=impressions,
        clicks=clicks,
        volume=volume,
        exposure=worth.exposure,
        value=worth.value,
        deals=worth.deals,
        ripe=worth.ripe,
        evidence_age=_mean_age(days, fresh),
        decline=worn.decline,
        decline_z=worn.ctr.z,
        age_hours=np.fromiter((ad.age_hours for ad in ads), np.float64, len(ads)),
        dna=np.fromiter((ad.dna or 0.0 for ad in ads), np.float64, len(ads)),
        wisdom=np.fromiter(
            (1.0 if ad.wisdom is None else ad.wisdom for ad in ads), np.float64, len(ads)
        ),
        saturation=returns.saturation,
        counted=bool(worth.deals.any()),
        usual_pace=usual_pace(impressions, volume, budget),
        credit_mean=_credit_mean(ads, direct),
        credit_guess=_credit_guess(days),
    )


def _budgets(ads: Sequence[AdSignals], days: Panel, total: int) -> Column:
    """The live budget; unknown: the pace of the spend; no spend either: an equal share."""
    import numpy as np

    known = np.fromiter((ad.daily_budget or 0 for ad in ads), np.float64, len(ads))
    length = days.length.sum(1)
    pace = days.spend.sum(1) / np.maximum(length, 1e-9)
    guess = np.where((length > 0) & (pace >= 1.0), pace, max(1.0, total / max(1, len(ads))))
    return np.where(known > 0, known, guess)


def _volumes(days: Panel, budget: Column, saturation: Column) -> Matrix:
    """Each day in days at today's budget: ln(1 + rate / h) / ln(1 + budget / h) * its length."""
    import numpy as np

    rate = days.spend / np.where(days.known, days.length, 1.0)
    bought = np.log1p(rate / saturation[:, None]) / np.log1p(budget / saturation)[:, None]
    return np.where(days.known, bought * days.length, 0.0)


@dataclass(frozen=True, kw_only=True)
class _Worth:
    """What clicks brought, as in ``Evidence``."""

    exposure: Column
    value: Column
    deals: Column
    ripe: Column


def _worth(days: Panel, lag: LagCurve, policy: SamplerPolicy) -> _Worth:
    """Clicks whose lag has passed and what came of them, all forgetting at the same pace."""
    import numpy as np

    fresh = np.where(days.known, 0.5 ** (days.age / policy.value_half_life_days), 0.0)
    shares = np.interp(np.maximum(days.age, 0.0), lag.days, lag.shares, left=0.0, right=1.0)
    exposure = (fresh * days.clicks * shares).sum(1)
    late = days.credit_basis
    if late.any():
        exposure[late] = _credited_exposure(days, lag, fresh, late)
    counts = 0.0 if policy.mode == "direct" else 1.0  # a purchase has no stages to go through
    return _Worth(
        exposure=exposure,
        value=np.maximum((fresh * days.value).sum(1), 0.0),
        deals=counts * (fresh * days.deals).sum(1),
        ripe=counts * (fresh * days.ripe).sum(1),
    )


def _credited_exposure(
    days: Panel, lag: LagCurve, fresh: Matrix, rows: NDArray[np.bool_]
) -> Column:
    """Clicks of every day times the share that fell due on each later day, at that day's weight."""
    import numpy as np

    age, length, clicks = days.age[rows], days.length[rows], days.clicks[rows]
    weight = fresh[rows]

    def due(delay: Matrix) -> Matrix:
        return np.interp(delay, lag.days, lag.shares, left=0.0, right=1.0)

    total = np.zeros(age.shape[0])
    for day in range(age.shape[1]):
        passed = age[:, [day]] - age
        end, start = due(passed + length / 2), due(passed - length / 2)
        fell_due = np.where((length > 0) & (passed >= 0), end - start, 0.0)
        total += clicks[:, day] * (weight * fell_due).sum(1)
    return total


def _mean_age(days: Panel, fresh: Matrix) -> Column:
    import numpy as np

    weight = fresh * days.impressions
    return (weight * days.age).sum(1) / np.maximum(weight.sum(1), 1e-300)


def _credit_mean(ads: Sequence[AdSignals], direct: bool) -> float | None:
    """The mean credit of one deal, where deals were counted."""
    counts = [(ad.cash_count, ad.cash_revenue) for ad in ads] if direct else []
    counts = counts or [(ad.pipeline_count, ad.pipeline_value) for ad in ads]
    known = [(count, value) for count, value in counts if count]
    value = math.fsum(value for _, value in known)
    return value / sum(count for count, _ in known) if known and value > 0 else None


def _credit_guess(days: Panel) -> float | None:
    """Deals were not counted: the median of the days that credited anything stands for one."""
    import numpy as np

    credited = days.value[days.value > 0]
    return float(np.median(credited)) if credited.size else None
