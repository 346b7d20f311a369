"""Ads as units that may be compared: inside a campaign, or videos with each other. Pure.

Ads of one campaign share a video, an audience and a time, so what differs between campaigns is not
what a single ad's trait does. Two designs keep these apart:

- ``within``: a trait that varies inside campaigns is compared inside them only (strata are
  campaigns, units ads).
- ``between``: a trait that never varies inside a video's ads is compared between videos, each of
  which counts once (units are videos, strata the periods in which they were first shown). All
  campaigns of one video are one unit: a winner's later variations are the same footage again. Where
  the video is unknown the campaign stands for it, and an ad of neither stands for itself.

Which design is used follows from where the trait varies, never from how the ads did.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from geminivideo.learning import lifts
from geminivideo.learning_records import Condition, CreativeFeatures
from geminivideo.policy import PatternPolicy

if TYPE_CHECKING:
    from geminivideo.learning.lifts import Lift, Numbers, Rates, Whole

DAY_S = 86_400.0
WITHIN, BETWEEN = "within", "between"
WINNERS, CTR = "winners", "ctr"
_KNOWN: Mapping[bool | None, int] = {True: 1, False: 0, None: -1}


@dataclass(frozen=True, kw_only=True)
class Ad:
    """One ad: what it is made of and what became of it.

    ``is_winner`` is None while that cannot be told; ``shown_at`` (epoch s) is when it was first
    shown; ``video`` is the footage that it is cut from, ``audience`` the brief's words for whom.
    """

    id: str
    features: CreativeFeatures
    impressions: int
    clicks: int
    shown_at: float
    is_winner: bool | None = None
    campaign: str | None = None
    video: str | None = None
    audience: str | None = None


@dataclass(frozen=True)
class Units:
    """The outcomes of one design's units; ``won`` is 1, 0, or NaN when it cannot be told."""

    won: Numbers
    clicks: Numbers
    impressions: Numbers
    strata: Whole

    @cached_property
    def rates(self) -> Rates:
        """Their click-through rates."""
        return lifts.rates(self.clicks, self.impressions, self.strata)


@dataclass(frozen=True)
class Sides:
    """One trait over the units of a design: 1 with it, 0 without, -1 not compared."""

    design: str
    units: Units
    has: Whole

    @property
    def support(self) -> int:
        """Units with the trait."""
        return int((self.has == 1).sum())

    @property
    def others(self) -> int:
        """Units without it."""
        return int((self.has == 0).sum())

    @property
    def least(self) -> int:
        """Units on the smaller side."""
        return min(self.support, self.others)

    def winners(self, side: int) -> int:
        """Winners on a side (1 with the trait, 0 without)."""
        import numpy as np

        return int(np.nansum(self.units.won[self.has == side]))

    def lift(self, basis: str, interval: float, beside: Sides | None = None) -> Lift | None:
        """The lift on a basis; ``beside`` another trait: only units equal in that are compared."""
        strata = self.units.strata
        if beside is not None:
            strata = strata * 3 + beside.has + 1
        if basis == CTR:
            return lifts.ctr_lift(self.has, self.units.rates, strata, interval)
        return lifts.winners_lift(lifts.tables(self.has, self.units.won, strata), interval)

    def winners_p(self) -> float | None:
        """The exact test of the winners' shares; ``None`` where no stratum can be compared."""
        return lifts.exact_p(lifts.tables(self.has, self.units.won, self.units.strata))


class Comparison:
    """Ads made comparable; ads with too few impressions are left out."""

    def __init__(self, ads: Iterable[Ad], policy: PatternPolicy) -> None:
        self.policy = policy
        enough = (ad for ad in ads if ad.impressions >= policy.min_impressions)
        newest = sorted(enough, key=lambda ad: (ad.shown_at, ad.id))[-policy.max_ads :]
        self.ads: Sequence[Ad] = tuple(newest)
        self._kept: dict[Condition, Whole] = {}

    @property
    def newest_at(self) -> float:
        """When the newest ad was first shown; 0 without any."""
        return self.ads[-1].shown_at if self.ads else 0.0

    @cached_property
    def audiences(self) -> Mapping[str, Comparison]:
        """The ads of each audience that is known, apart."""
        named: dict[str, list[Ad]] = {}
        for ad in self.ads:
            if ad.audience:
                named.setdefault(ad.audience, []).append(ad)
        return {name: Comparison(named[name], self.policy) for name in sorted(named)}

    @cached_property
    def judged(self) -> tuple[int, int]:
        """How many are winners, and how many are known to be none."""
        known = [ad.is_winner for ad in self.ads if ad.is_winner is not None]
        return sum(known), len(known) - sum(known)

    @cached_property
    def campaign_of(self) -> Whole:
        """Each ad's campaign, by number."""
        return _numbered(ad.campaign or f"ad {ad.id}" for ad in self.ads)

    @cached_property
    def video_of(self) -> Whole:
        """Each ad's video, by number."""
        return _numbered(ad.video or ad.campaign or f"ad {ad.id}" for ad in self.ads)

    @cached_property
    def within(self) -> Units:
        """Ads in the strata of their campaigns."""
        import numpy as np

        return Units(
            won=self._won,
            clicks=np.array([float(ad.clicks) for ad in self.ads]),
            impressions=np.array([float(ad.impressions) for ad in self.ads]),
            strata=self.campaign_of,
        )

    @cached_property
    def _won(self) -> Numbers:
        import numpy as np

        return np.array(
            [np.nan if ad.is_winner is None else float(ad.is_winner) for ad in self.ads]
        )

    @cached_property
    def between(self) -> Units:
        """Videos in the strata of their time; one is a winner when half of its ads are."""
        import numpy as np

        of, known = self.video_of, ~np.isnan(self._won)
        count = int(of.max(initial=-1)) + 1
        judged = np.bincount(of[known], minlength=count)
        winners = np.bincount(of[known], self._won[known], minlength=count)
        won = np.where(judged > 0, (2 * winners >= judged).astype(float), np.nan)
        first = np.full(count, np.inf)
        np.minimum.at(first, of, np.array([ad.shown_at for ad in self.ads]))
        periods = np.floor(first / (self.policy.stratum_days * DAY_S))
        return Units(
            won=won,
            clicks=np.bincount(of, self.within.clicks, minlength=count).astype(float),
            impressions=np.bincount(of, self.within.impressions, minlength=count).astype(float),
            strata=np.unique(periods, return_inverse=True)[1].astype(np.int64),
        )

    def has(self, conditions: Sequence[Condition]) -> Whole:
        """Which ads meet all conditions: 1, 0, or -1 when that is unknown."""
        import numpy as np

        each = np.array([self._has(condition) for condition in conditions])
        if len(conditions) == 1:
            return each[0]
        known = np.where((each == -1).any(axis=0), -1, 1)
        return np.where((each == 0).any(axis=0), 0, known)

    def _has(self, condition: Condition) -> Whole:
        import numpy as np

        if condition not in self._kept:
            met = (condition.met_by(ad.features) for ad in self.ads)
            self._kept[condition] = np.array([_KNOWN[one] for one in met], dtype=np.int64)
        return self._kept[condition]

    def sides(self, has: Whole) -> Sides:
        """A trait of the ads (as ``has`` gives it) in the design that compares more of them."""
        within, between = self.sides_in(WITHIN, has), self.sides_in(BETWEEN, has)
        return within if within.least >= between.least else between

    def sides_in(self, design: str, has: Whole, whole: bool = False) -> Sides:
        """A trait of the ads in one design; ``whole``: in strata of one side only as well."""
        units = self.within if design == WITHIN else self.between
        over = has if design == WITHIN else self._over_videos(has)
        return Sides(design, units, over if whole else lifts.informative(over, units.strata))

    def _over_videos(self, has: Whole) -> Whole:
        """Videos all of whose known ads have the trait (1) or lack it (0)."""
        import numpy as np

        count = int(self.video_of.max(initial=-1)) + 1
        ones = np.bincount(self.video_of[has == 1], minlength=count)
        zeros = np.bincount(self.video_of[has == 0], minlength=count)
        return np.where(zeros + ones == 0, -1, np.where(zeros == 0, 1, np.where(ones == 0, 0, -1)))


def _numbered(names: Iterable[str]) -> Whole:
    """Names as numbers, in the order of their first appearance."""
    import numpy as np

    places: dict[str, int] = {}
    found = [places.setdefault(name, len(places)) for name in names]
    return np.array(found, dtype=np.int64)
