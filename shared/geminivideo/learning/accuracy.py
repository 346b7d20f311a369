"""How good predictions of click-through rates were, told apart from the noise of counting clicks.

Every measure weighs an ad by its impressions. RMSE, MAE and R2 compare a prediction with the rate
that was seen, as their names say. The *accuracy* answers another question: how far predictions are
from the ads' own rates. An ad of 1,000 impressions at 2 % gets 20 clicks give or take four, so even
a prediction of its true rate is off by a sixth of what is seen; that sixth is not the model's.

The relative error that is seen is ``sum |clicks - predicted| / sum clicks``. Of it, the part that
counting alone makes is known: the mean absolute deviation of a binomial (de Moivre; Diaconis and
Zabell, 1991, "Closed form summation for classical distributions", Statistical Science 6). Errors
that are independent add as squares, so the model's own is ``sqrt(seen^2 - counting^2)``; it is not
below the error of all predictions together (where counting averages out, and its rest is taken off
the same way). Accuracy is 1 minus that, and not below 0. Clicks of one day are more alike than
independent ones: how much, the ads' days tell (``dispersion``), and chance is widened by it. What
makes all days of one ad alike is the ad's own rate, which a model is there to say.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from geminivideo.learning_records import AccuracyScore, CalibrationBin
from geminivideo.policy import AccuracyPolicy

if TYPE_CHECKING:
    import numpy as np

_CHUNK = 50  # bootstrap samples drawn at once
_NO_SPREAD = 1e-12


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was predicted of an ad (a fraction), what was seen of it, when it was first shown."""

    ad_id: str
    predicted: float
    impressions: int
    clicks: int
    at: float


def believable(outcome: Outcome) -> bool:
    """Whether an outcome can be judged by: shown at all, and no number that cannot be."""
    counted = 0 <= outcome.clicks <= outcome.impressions and outcome.impressions > 0
    return counted and 0.0 <= outcome.predicted <= 1.0


def score(
    outcomes: Iterable[Outcome], policy: AccuracyPolicy, seed: int, dispersion: float = 1.0
) -> AccuracyScore:
    """Every measure over the believable outcomes; ``None`` where there is too little to say it.

    ``dispersion`` is the variance of an ad's clicks over that of independent ones (at least 1).
    Intervals are percentiles of a bootstrap over ads (Efron, 1979), drawn from ``seed``: the same
    outcomes and seed give the same numbers.
    """
    kept = sorted(
        (one for one in outcomes if believable(one)), key=lambda o: (o.predicted, o.ad_id)
    )
    shown, clicked = sum(o.impressions for o in kept), sum(o.clicks for o in kept)
    if len(kept) < policy.min_ads or clicked < policy.min_clicks:
        return AccuracyScore(n=len(kept), impressions=shown, clicks=clicked)
    columns = _columns(kept, clicked / shown, dispersion)
    found = {name: _number(values) for name, values in _measures(columns.sum(0)[None]).items()}
    around = _bootstrap(columns, policy, seed)
    bins = calibration(kept, policy)
    return AccuracyScore(
        n=len(kept),
        impressions=shown,
        clicks=clicked,
        dispersion=dispersion,
        intervals={name: bounds for name, bounds in around.items() if found[name] is not None},
        calibration=bins,
        calibration_error=_calibration_error(bins),
        **found,
    )


def counting_error(impressions: int, rate: float) -> float:
    """The mean absolute deviation of the clicks of an ad from their expectation, by chance alone.

    de Moivre: ``2 v C(n, v) q^v (1 - q)^(n - v + 1)`` with ``v = floor(n q) + 1``.
    """
    if impressions <= 0 or not 0.0 < rate < 1.0:
        return 0.0
    above = min(math.floor(impressions * rate) + 1, impressions)
    chosen = (
        math.lgamma(impressions + 1) - math.lgamma(above + 1) - math.lgamma(impressions - above + 1)
    )
    logged = chosen + above * math.log(rate) + (impressions - above + 1) * math.log1p(-rate)
    return 2.0 * above * math.exp(logged)


# The measures, all of them from sums over ads --------------------------------------------------


def _columns(outcomes: Sequence[Outcome], base_rate: float, dispersion: float) -> np.ndarray:
    """One row an ad; ``_measures`` says what is in its columns."""
    import numpy as np

    rows, wider = [], math.sqrt(dispersion)
    for one in outcomes:
        shown, seen = one.impressions, one.clicks / one.impressions
        rate = (one.clicks + 1.0) / (shown + 1.0 / base_rate)  # drawn to the usual by one click
        missed = one.clicks - shown * one.predicted
        rows.append((
            shown,
            one.clicks,
            missed,
            abs(missed),
            missed * missed / shown,
            counting_error(shown, rate) * wider,
            shown * rate * (1.0 - rate) * dispersion,
            rate * (1.0 - rate) * dispersion,
            shown * (seen - base_rate),
            shown * (seen - base_rate) ** 2,
        ))  # fmt: skip
    return np.array(rows, float)


def _measures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """The measures of rows of sums; NaN where one does not exist."""
    import numpy as np

    shown, clicks, missed, off, squares, counting, variance, noise, shifted, spread = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        seen_error, chance = off / clicks, counting / clicks
        own = np.sqrt(np.maximum(seen_error**2 - chance**2, 0.0))
        together = np.sqrt(np.maximum(missed**2 - variance, 0.0)) / clicks
        total = spread - shifted**2 / shown
        explained = np.where(total > _NO_SPREAD * shown, 1.0 - squares / total, np.nan)
        return {
            "accuracy": np.clip(1.0 - np.maximum(own, together), 0.0, 1.0),
            "accuracy_as_seen": np.clip(1.0 - seen_error, 0.0, 1.0),
            "counting_error": chance,
            "bias": (clicks - missed) / clicks,
            "rmse": np.sqrt(squares / shown),
            "rmse_beyond_counting": np.sqrt(np.maximum(squares - noise, 0.0) / shown),
            "mae": off / shown,
            "r_squared": explained,
        }


def _number(values: np.ndarray) -> float | None:
    value = float(values[0])
    return value if math.isfinite(value) else None


def _bootstrap(
    columns: np.ndarray, policy: AccuracyPolicy, seed: int
) -> dict[str, tuple[float, float]]:
    import numpy as np

    count = len(columns)
    draws, even = np.random.default_rng(seed), np.full(count, 1.0 / count)
    parts = [
        draws.multinomial(count, even, size=min(_CHUNK, policy.resamples - start)) @ columns
        for start in range(0, policy.resamples, _CHUNK)
    ]
    outside = (1.0 - policy.interval) / 2
    bounds = {}
    for name, values in _measures(np.concatenate(parts)).items():
        known = values[np.isfinite(values)]
        if len(known):
            low, high = np.quantile(known, [outside, 1.0 - outside])
            bounds[name] = (float(low), float(high))
    return bounds


# Calibration -----------------------------------------------------------------------------------


def calibration(outcomes: Sequence[Outcome], policy: AccuracyPolicy) -> tuple[CalibrationBin, ...]:
    """Predicted against seen rates, in bins of as many ads each, by their predictions.

    Equal predictions share a bin. The interval is Wilson's (1927), of as many impressions as the
    bin's ads are worth when their clicks scatter more than independent ones would.
    """
    ordered = sorted(outcomes, key=lambda one: one.predicted)
    predictions = [one.predicted for one in ordered]
    bins = max(1, min(policy.bins, len(ordered) // max(policy.min_bin_ads, 1)))
    groups: dict[int, list[Outcome]] = {}
    for one in ordered:
        place = bisect_left(predictions, one.predicted) * bins // len(ordered)
        groups.setdefault(place, []).append(one)
    return tuple(_bin(group, policy.interval) for group in groups.values())


def _bin(group: Sequence[Outcome], level: float) -> CalibrationBin:
    shown, clicks = sum(o.impressions for o in group), sum(o.clicks for o in group)
    rate = clicks / shown
    return CalibrationBin(
        predicted=math.fsum(o.predicted * o.impressions for o in group) / shown,
        observed=rate,
        interval=wilson(rate, shown / _dispersion(group, rate), level),
        ads=len(group),
        impressions=shown,
    )


def _dispersion(group: Sequence[Outcome], rate: float) -> float:
    """Pearson's, at least 1: how much more the ads differ than by counting."""
    if len(group) < 2 or not 0.0 < rate < 1.0:
        return 1.0
    pearson = sum(
        (o.clicks - o.impressions * rate) ** 2 / (o.impressions * rate * (1.0 - rate))
        for o in group
    )
    return max(1.0, pearson / (len(group) - 1))


def wilson(rate: float, trials: float, level: float) -> tuple[float, float]:
    """Wilson's score interval of a rate seen in so many trials."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    share = z * z / trials
    middle = (rate + share / 2) / (1 + share)
    reach = z / (1 + share) * math.sqrt(rate * (1 - rate) / trials + share / (4 * trials))
    return max(middle - reach, 0.0), min(middle + reach, 1.0)


def _calibration_error(bins: Sequence[CalibrationBin]) -> float:
    """The mean distance of predicted and seen over the bins, weighted by impressions."""
    shown = sum(one.impressions for one in bins)
    return math.fsum(abs(one.predicted - one.observed) * one.impressions for one in bins) / shown
