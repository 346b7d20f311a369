"""A market whose ads are creatives: what they are made of drives how people answer them.

The natural logarithm of a creative's CTR is a constant, a score of its features, and luck that no
feature tells::

    ln ctr = ln c + s (sqrt(explained) score + sqrt(1 - explained) luck)

``score`` is a sum of main effects and one interaction, brought to mean 0 and variance 1 over the
creatives that the Director proposes, so that ``explained`` is the share of the variance of ln ctr
that features explain: drawn for each seed between ``EXPLAINED``. Once, half way, people's taste
changes: from then on the score is ``KEPT`` of the old one and the rest of a new one. Or it turns on
a day of its own: what was liked of ``TURNED`` is disliked from then on, and the other way about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from geminivideo.learning_records import CreativeFeatures
from geminivideo.ml.creative import CTA_TYPES, FIRST_FRAMES, GRADES
from geminivideo.records import HookType

from emulators.market import truth as hidden
from emulators.market.draws import CREATIVE, TASTE, generator
from emulators.market.market import Market
from emulators.market.truth import AdTruth, Change, Columns

EXPLAINED = (0.40, 0.70)  # of the variance of ln ctr
KEPT = 0.60  # the correlation of the score after the change of taste with that before
LEAN = 0.35  # by which the effects of what the heuristic looks at are positive in the mean
UNKNOWN = 0.03  # of measures were not taken
_CTR, _SPREAD = 0.012, 0.55  # as that of the other markets (``truth``)
_DEAL_RATE = 0.025
_OWN_DEALS = 0.4  # what follows a click is mostly the offer's, which an account's ads share
_SAMPLE = 1000  # creatives by which scores are brought to mean 0 and variance 1
_SAMPLE_FROM = 1_000_000
_BATCH = 1000
_HOOKS = tuple(kind.value for kind in HookType)
_KINDS = {"hook_type": _HOOKS, "cta_type": CTA_TYPES, "grade": GRADES, "first_frame": FIRST_FRAMES}
_KIND_SPREADS = {"hook_type": 1.0, "cta_type": 0.4, "grade": 0.4, "first_frame": 0.8}
_NUMBERS = ("motion", "quality", "brightness", "cuts_per_s", "duration_s", "words_per_s", "faces")
_TRUTHS = ("has_speech", "has_music", "hook_has_number")
_LEANING = ("motion", "quality")
TURNED = ("hook_type", "first_frame", *_NUMBERS)  # whose effects change their signs in a drift
_MEASURES = (*_NUMBERS, "sharpness", "contrast", "saturation", "loudness_lufs", "object_kinds")


@lru_cache(maxsize=50_000)
def features_of(seed: int, candidate: int) -> CreativeFeatures:
    """What a candidate of the Director's is made of; all of it known."""
    rng = generator(seed, CREATIVE, candidate)

    def one(kinds: Sequence[str]) -> str:
        return str(kinds[int(rng.integers(len(kinds)))])

    duration = float(rng.uniform(8, 45))
    return CreativeFeatures(
        hook_type=one(_HOOKS),
        hook_words=int(rng.integers(3, 11)),
        hook_has_number=bool(rng.random() < 0.25),
        cta_type=one(CTA_TYPES),
        grade=one(GRADES),
        first_frame=one(FIRST_FRAMES),
        duration_s=duration,
        opening_shot_s=float(min(duration, rng.gamma(2.0, 1.2))),
        cuts_per_s=float(rng.lognormal(math.log(0.45), 0.5)),
        words_per_s=float(rng.uniform(0, 3.2)),
        letters_per_s=float(rng.gamma(2.0, 1.5)),
        has_speech=bool(rng.random() < 0.7),
        has_music=bool(rng.random() < 0.6),
        motion=float(rng.beta(2, 4)),
        sharpness=float(rng.lognormal(5.0, 0.6)),
        quality=float(rng.beta(5, 3)),
        brightness=float(rng.uniform(0.25, 0.75)),
        contrast=float(rng.uniform(0.10, 0.35)),
        saturation=float(rng.uniform(0.10, 0.60)),
        loudness_lufs=float(rng.normal(-16, 2)),
        object_kinds=float(rng.poisson(2.5)),
        faces=float(rng.poisson(0.8)),
    )


@lru_cache(maxsize=50_000)
def known_of(seed: int, candidate: int) -> CreativeFeatures:
    """The features as they are known: a few measures were not taken."""
    found = features_of(seed, candidate)
    lost = generator(seed, CREATIVE, candidate + 2 * _SAMPLE_FROM).random(len(_MEASURES)) < UNKNOWN
    gone: dict[str, Any] = {n: None for n, out in zip(_MEASURES, lost, strict=True) if out}
    return replace(found, **gone)


@dataclass(frozen=True)
class Taste:
    """What people like at a time: effects of kinds, of measures, and one interaction."""

    kinds: dict[str, dict[str, float]]
    numbers: dict[str, float]
    truths: dict[str, float]
    hook: str
    together: float

    def raw(self, features: CreativeFeatures) -> float:
        """The sum of the effects, on a scale of its own."""
        total = sum(found[str(getattr(features, name))] for name, found in self.kinds.items())
        total += sum(w * _standard(name, features) for name, w in self.numbers.items())
        total += sum(w * float(getattr(features, name)) for name, w in self.truths.items())
        meets = features.hook_type == self.hook
        return total + self.together * _standard("cuts_per_s", features) * (1.0 if meets else -0.2)


def turned(taste: Taste) -> Taste:
    """The taste with the signs of the effects of ``TURNED`` changed, and the interaction's."""
    return replace(
        taste,
        kinds={
            name: {kind: -effect for kind, effect in found.items()} if name in TURNED else found
            for name, found in taste.kinds.items()
        },
        numbers={name: -weight for name, weight in taste.numbers.items()},
        together=-taste.together,
    )


def _standard(name: str, features: CreativeFeatures) -> float:
    """A measure by its usual mean and spread."""
    mean, spread = _SCALES[name]
    value = float(getattr(features, name))
    return ((math.log(value) if name == "cuts_per_s" else value) - mean) / spread


_SCALES = {
    "motion": (0.333, 0.178),
    "quality": (0.625, 0.161),
    "brightness": (0.50, 0.144),
    "cuts_per_s": (math.log(0.45), 0.5),
    "duration_s": (26.5, 10.7),
    "words_per_s": (1.6, 0.92),
    "faces": (0.8, 0.894),
}


def taste_of(seed: int, number: int) -> Taste:
    """The taste before (0) or that which comes in (1)."""
    rng = generator(seed, TASTE, number)

    def drawn(spread: float, mean: float = 0.0) -> float:
        return float(rng.normal(mean, spread))

    return Taste(
        kinds={n: {k: drawn(_KIND_SPREADS[n]) for k in kinds} for n, kinds in _KINDS.items()},
        numbers={n: drawn(0.5, LEAN if n in _LEANING else 0.0) for n in _NUMBERS},
        truths={n: drawn(0.6) for n in _TRUTHS},
        hook=_HOOKS[int(rng.integers(len(_HOOKS)))],
        together=drawn(0.3, 0.6),
    )


@dataclass(frozen=True)
class _Scored:
    """A taste with what brings its scores to mean 0 and variance 1."""

    taste: Taste
    mean: float
    spread: float

    def score(self, features: CreativeFeatures) -> float:
        return (self.taste.raw(features) - self.mean) / self.spread


@dataclass(frozen=True)
class Catalogue:
    """Every candidate of a seed: features, hidden truth, and the change of taste at ``at``.

    With ``turns`` the taste that comes in is the old one turned round (``turned``), and nothing of
    the old one is kept.
    """

    seed: int
    at: float
    cent: float = 1.0
    turns: bool = False

    @cached_property
    def explained(self) -> float:
        """The share of the variance of ln ctr that features explain."""
        return float(generator(self.seed, TASTE, 9).uniform(*EXPLAINED))

    @cached_property
    def _scored(self) -> tuple[_Scored, _Scored, float]:
        sample = [features_of(self.seed, _SAMPLE_FROM + n) for n in range(_SAMPLE)]
        found = []
        first = taste_of(self.seed, 0)
        for taste in (first, turned(first) if self.turns else taste_of(self.seed, 1)):
            raw = np.array([taste.raw(one) for one in sample])
            found.append(_Scored(taste, float(raw.mean()), float(raw.std())))
        before, new = found
        mixed = [self._mixed(before, new, one) for one in sample]
        return before, new, float(np.std(mixed))

    def _mixed(self, before: _Scored, new: _Scored, features: CreativeFeatures) -> float:
        kept = 0.0 if self.turns else KEPT
        return kept * before.score(features) + math.sqrt(1 - kept**2) * new.score(features)

    def score(self, candidate: int, at: float) -> float:
        """What features tell of ln ctr, in its standard deviations."""
        before, new, spread = self._scored
        features = features_of(self.seed, candidate)
        if at < self.at:
            return before.score(features)
        return self._mixed(before, new, features) / spread

    def ctr(self, candidate: int, at: float) -> float:
        """The CTR at a time, before fatigue."""
        luck = float(generator(self.seed, CREATIVE, candidate + 4 * _SAMPLE_FROM).normal())
        told = math.sqrt(self.explained) * self.score(candidate, at)
        return _CTR * math.exp(_SPREAD * (told + math.sqrt(1 - self.explained) * luck))

    def truth(self, candidate: int, at: float = 0.0) -> AdTruth:
        """All that is hidden of a candidate: what is not its CTR is drawn as for every ad."""
        drawn = hidden.draw(self.seed, candidate, self.cent, False)
        deals = _DEAL_RATE * (drawn.deal_rate / _DEAL_RATE) ** _OWN_DEALS
        return replace(drawn, ctr=self.ctr(candidate, at), deal_rate=deals)

    def batch(self, number: int, size: int) -> list[int]:
        """The candidates that the Director proposes together."""
        return [number * _BATCH + place for place in range(size)]


@dataclass(frozen=True, eq=False)
class CreativeMarket(Market):
    """A market that grows by the candidates that are launched, in their order.

    ``launched`` may only grow, and must name an ad's candidate before the ad is made. ``ads`` is
    how many there are at the start. Taste turns on ``drift_day``; without one it changes half way.
    """

    launched: list[int] = field(default_factory=list)
    drift_day: float | None = None

    @cached_property
    def catalogue(self) -> Catalogue:
        """The candidates; taste changes once."""
        day = self.days / 2 if self.drift_day is None else self.drift_day
        return Catalogue(
            self.seed, self.start + day * 86_400.0, self.cent, self.drift_day is not None
        )

    @cached_property
    def changed(self) -> tuple[Change, ...]:
        """The one change is that of taste."""
        return ()

    def truth(self, ad: int) -> AdTruth:
        """What is hidden of an ad before taste changes."""
        return self._known(ad)[0]

    def truth_at(self, at: float, ads: int | None = None) -> Columns:
        """The truths of the first ``ads`` ads at a moment, fatigue not applied."""
        count = self.ads if ads is None else ads
        period = int(at >= self.catalogue.at)
        found = self._columns.get((period, count))
        if found is None:
            truths = [self._known(ad)[period] for ad in range(count)]
            found = self._columns[period, count] = hidden.columns(truths)
        return found

    def spec(self) -> dict[str, Any]:
        """The members of its ``Market``."""
        return {f.name: getattr(self, f.name) for f in fields(Market)}

    @cached_property
    def _columns(self) -> dict[tuple[int, int], Columns]:
        return {}

    @cached_property
    def _truths(self) -> dict[int, tuple[AdTruth, AdTruth]]:
        return {}

    def _known(self, ad: int) -> tuple[AdTruth, AdTruth]:
        if ad not in self._truths:
            candidate, at = self.launched[ad], self.catalogue.at
            before, after = (self.catalogue.truth(candidate, when) for when in (at - 1.0, at))
            self._truths[ad] = (before, after)
        return self._truths[ad]

    __eq__ = object.__eq__
    __hash__ = object.__hash__
