"""Whether the errors of a model changed at some time: a test of their order, with known alarms.

Ads are put in the order in which they were first shown. Each error is the logarithm of what was
seen by what was expected (after the model's overall bias is taken off: a model that was always
wrong did not drift), because ads differ by factors; it is scaled by what counting clicks and the
ads' own scatter let expect of it. Of every time that leaves
enough ads on both sides, the difference of the mean error (*level*) and of the mean size of the
error (*spread*) is taken; the largest one is compared with those of the same errors in random
order. Without drift any order is as likely as another, so that the share of false alarms of a look
is at most ``drift_false_alarms``, whatever the errors' distribution (Fisher, 1935; the scan over
split points is that of change-point tests). Looks at mostly the same ads alarm together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from geminivideo.learning.accuracy import Outcome, believable
from geminivideo.learning_records import DriftFound
from geminivideo.policy import AccuracyPolicy

if TYPE_CHECKING:
    import numpy as np

LEVEL, SPREAD = "level", "spread"
MOST_ADS = 2_000  # the latest: older ones tell nothing of today
_EDGE = 0.1  # of the ads that must lie on either side of a change
_CHUNK = 100


def look(outcomes: Iterable[Outcome], policy: AccuracyPolicy, seed: int) -> DriftFound:
    """Look for one change in the errors; ``found`` is ``None`` while there are too few ads."""
    ordered = sorted((o for o in outcomes if believable(o)), key=lambda o: (o.at, o.ad_id))
    ratio = _ratio(ordered)
    told = [o for o in ordered if _expected(o, ratio) >= policy.drift_min_clicks][-MOST_ADS:]
    if len(told) < policy.drift_min_ads:
        least = f"{policy.drift_min_ads} ads with {policy.drift_min_clicks:g} expected clicks"
        return DriftFound(found=None, n=len(told), reason=f"{len(told)} of at least {least}")
    errors = _errors(told, ratio)
    level = _scanned(errors, policy, seed)
    spread = _scanned(abs(errors), policy, seed + 1)
    # A level that moved moves sizes too: where both are as sure, it is the level.
    (p, place), kind = min((level, LEVEL), (spread, SPREAD), key=lambda one: one[0][0])
    found = p <= policy.drift_false_alarms / 2  # there are two tests
    before, after = _relative(told[:place], ratio), _relative(told[place:], ratio)
    said = f"errors before and after: {before:+.2f} and {after:+.2f} of what was expected"
    return DriftFound(
        found=found,
        n=len(told),
        p_value=min(1.0, 2 * p),
        kind=kind if found else None,
        since_at=told[place].at if found else None,
        before=before,
        after=after,
        reason=said if found else f"no change of the errors is certain (p = {min(1.0, 2 * p):.3f})",
    )


def _ratio(outcomes: Sequence[Outcome]) -> float:
    """Clicks over predicted clicks, of all ads."""
    predicted = math.fsum(o.impressions * o.predicted for o in outcomes)
    return sum(o.clicks for o in outcomes) / predicted if predicted > 0 else 0.0


def _expected(outcome: Outcome, ratio: float) -> float:
    return outcome.impressions * outcome.predicted * ratio


def _errors(told: Sequence[Outcome], ratio: float) -> np.ndarray:
    """Errors (ln) over their expected size: that of counting, and of the ads' own scatter.

    Half a click is added to either side, as in an empirical logit.
    """
    import numpy as np

    expected = np.array([_expected(o, ratio) for o in told]) + 0.5
    errors = np.log((np.array([o.clicks for o in told]) + 0.5) / expected)
    counting = 1.0 / expected
    weights = 1.0 / counting
    middle = (weights * errors).sum() / weights.sum()
    excess = (weights * (errors - middle) ** 2).sum() - (len(told) - 1)
    scatter = excess / (weights.sum() - (weights**2).sum() / weights.sum())
    return (errors - middle) / np.sqrt(counting + max(float(scatter), 0.0))


def _scanned(errors: np.ndarray, policy: AccuracyPolicy, seed: int) -> tuple[float, int]:
    """The share of random orders whose largest difference is no smaller, and where ours is."""
    import numpy as np

    centred = errors - errors.mean()
    mine = _differences(centred[None])[0]
    place = int(mine.argmax())
    draws, beyond = np.random.default_rng(seed), 1
    for start in range(0, policy.permutations, _CHUNK):
        many = np.tile(centred, (min(_CHUNK, policy.permutations - start), 1))
        largest = _differences(draws.permuted(many, axis=1)).max(axis=1)
        beyond += int((largest >= mine[place] - 1e-12).sum())
    return beyond / (policy.permutations + 1), place + _edge(len(errors))


def _edge(count: int) -> int:
    return max(2, math.ceil(_EDGE * count))


def _differences(rows: np.ndarray) -> np.ndarray:
    """Of rows of centred errors, how far each allowed split's two means are apart, scaled."""
    import numpy as np

    count = rows.shape[1]
    edge = _edge(count)
    firsts = np.arange(1, count)
    sums = np.cumsum(rows, axis=1)[:, :-1]
    scaled = np.abs(sums) / np.sqrt(firsts * (count - firsts) / count)
    return scaled[:, edge - 1 : count - edge]


def _relative(part: Sequence[Outcome], ratio: float) -> float:
    """Clicks over the expected ones, less 1, of some ads together."""
    return sum(o.clicks for o in part) / math.fsum(_expected(o, ratio) for o in part) - 1.0
