"""Which traits go with success: found under control of false discoveries, kept while confirmed.

Every trait with enough units on both sides, and every pair of traits, is compared (``comparing``
says what with what). Two tests look at it: the exact one of the winners' shares, when the account
has enough winners and others, and the permutation test of impressions-weighted click-through rates,
which needs no winner. The smaller p counts, doubled when both were made (Bonferroni). All
comparisons go through one weighted Benjamini-Hochberg procedure (Genovese, Roeder and Wasserman,
Biometrika 93:509, 2006): single traits and pairs have half of the weight each, so that many pairs
do not drown few traits. Comparisons of traits depend on each other; the rate that is really met on
noise is measured by the tests.

What is found is an association in the ads that ran, not an experiment: strata take out campaigns
and periods, a trait that hardly stands beside a stronger pattern is called confounded, and a pair
that does is dropped. Pure.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING

from geminivideo.learning import lifts
from geminivideo.learning.comparing import BETWEEN, CTR, DAY_S, WINNERS, WITHIN, Ad, Comparison
from geminivideo.learning.traits import PAIR, Trait, bands, traits_of
from geminivideo.learning_records import AudienceLift, Condition, WinningPattern
from geminivideo.policy import PatternPolicy

if TYPE_CHECKING:
    from geminivideo.learning.comparing import Sides
    from geminivideo.learning.lifts import Lift


@dataclass(frozen=True)
class Compared:
    """One trait, or a pair, with the sides it makes of the ads, and its tests."""

    traits: tuple[Trait, ...]
    sides: Sides
    p_value: float = 1.0
    basis: str = CTR
    q_value: float = 1.0

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What an ad must meet to have it."""
        return tuple(trait.condition for trait in self.traits)

    @property
    def name(self) -> str:
        """The traits' names."""
        return " & ".join(trait.name for trait in self.traits)

    @property
    def part(self) -> str:
        """The part of the ad, or ``pair``."""
        return self.traits[0].part if len(self.traits) == 1 else PAIR


@dataclass(frozen=True)
class Finding:
    """A comparison that stands, with its lift and the stronger findings that account for it."""

    compared: Compared
    lift: Lift
    confounded_by: tuple[str, ...] = ()


def find(ads: Iterable[Ad], policy: PatternPolicy, seed: int) -> list[Finding]:
    """The patterns in the ads, strongest evidence first; same ads and seed, same findings."""
    return findings_of(Comparison(ads, policy), seed)


def findings_of(comparison: Comparison, seed: int) -> list[Finding]:
    """The patterns of ads that are comparable already."""
    policy = comparison.policy
    tested = compare(comparison, seed)
    standing = [one for one in tested if one.q_value <= policy.false_discovery_rate]
    lifted = [(one, one.sides.lift(one.basis, policy.interval)) for one in standing]
    found = [Finding(one, lift) for one, lift in lifted if lift is not None]
    found.sort(key=_surest_first)
    return list(_guarded(found, comparison))[: policy.max_patterns]


def _surest_first(found: Finding) -> tuple[float, float, bool, str]:
    """Of a trait and its opposite, which are as sure, the one that raises."""
    size = round(abs(found.lift.log), 6)
    return (found.compared.p_value, -size, found.lift.value < 1, found.compared.name)


def compare(comparison: Comparison, seed: int) -> list[Compared]:
    """Every comparison that the ads support, with its p and q."""
    singles = list(_singles(comparison))
    pairs = _pairs(singles, comparison)
    return _controlled(_tested([*singles, *pairs], comparison, seed), len(singles))


def _singles(comparison: Comparison) -> Iterator[Compared]:
    policy = comparison.policy
    for trait in candidates(comparison.ads, policy):
        sides = comparison.sides(comparison.has([trait.condition]))
        if sides.least >= policy.min_support:
            yield Compared((trait,), sides)


def candidates(ads: Iterable[Ad], policy: PatternPolicy) -> list[Trait]:
    """The traits that the ads have, in the order of their names.

    Of a member with two values only one is a candidate: the other says the same again.
    """
    found = {trait.name: trait for ad in ads for trait in traits_of(ad.features, policy.traits)}
    return [found[name] for name in sorted(found) if not _mirrors(found[name], policy)]


def _mirrors(trait: Trait, policy: PatternPolicy) -> bool:
    if trait.condition.equals is not None:
        return trait.condition.equals is False
    return len(bands(trait.member, policy.traits)) == 2 and trait.condition.low is None


def _pairs(singles: Sequence[Compared], comparison: Comparison) -> list[Compared]:
    """The best supported pairs of traits of different members; outcomes are not looked at."""
    policy = comparison.policy
    made = []
    for one, other in combinations(singles, 2):
        if one.traits[0].member == other.traits[0].member:
            continue
        has = comparison.has((*one.conditions, *other.conditions))
        if int((has == 1).sum()) < policy.min_pair_support:
            continue
        sides = comparison.sides(has)
        if sides.least >= policy.min_pair_support:
            made.append(Compared((*one.traits, *other.traits), sides))
    return sorted(made, key=lambda pair: (-pair.sides.least, pair.name))[: policy.max_pairs]


def _tested(made: list[Compared], comparison: Comparison, seed: int) -> list[Compared]:
    policy = comparison.policy
    by_rates = _rates_p(made, policy, seed)
    counted = min(comparison.judged) >= policy.min_winners
    return [_judged(one, by_rates[place], counted) for place, one in enumerate(made)]


def _judged(one: Compared, rates_p: float, counted: bool) -> Compared:
    """The better of the two tests, paid for by doubling it; one alone costs nothing."""
    winners_p = one.sides.winners_p() if counted else None
    if winners_p is None:
        return replace(one, p_value=rates_p, basis=CTR)
    basis = WINNERS if winners_p < rates_p else CTR
    return replace(one, p_value=min(1.0, 2 * min(winners_p, rates_p)), basis=basis)


def _rates_p(made: Sequence[Compared], policy: PatternPolicy, seed: int) -> Mapping[int, float]:
    shuffles = math.ceil(4 * len(made) / policy.false_discovery_rate)
    shuffles = min(policy.max_shuffles, max(policy.shuffles, shuffles))
    found: dict[int, float] = {}
    for design in (WITHIN, BETWEEN):
        places = [place for place, one in enumerate(made) if one.sides.design == design]
        if not places:
            continue
        units = made[places[0]].sides.units
        rows = [made[place].sides.has for place in places]
        ps = lifts.permutation_p(rows, units.rates, units.strata, shuffles, seed)
        found |= {place: float(p) for place, p in zip(places, ps, strict=True)}
    return found


def _controlled(tested: list[Compared], singles: int) -> list[Compared]:
    """Weighted Benjamini-Hochberg: each kind of comparison has half of the weight."""
    pairs = len(tested) - singles
    both = bool(singles and pairs)
    weights = {
        1: len(tested) / (2 * singles) if both else 1.0,
        2: len(tested) / (2 * pairs) if both else 1.0,
    }
    weighted = [min(1.0, one.p_value / weights[len(one.traits)]) for one in tested]
    q_values = lifts.false_discovery_q(weighted)
    return [replace(one, q_value=q) for one, q in zip(tested, q_values, strict=True)]


def _guarded(found: Sequence[Finding], comparison: Comparison) -> Iterator[Finding]:
    """Each finding with the stronger ones beside which it hardly stands; no such pairs."""
    for place, one in enumerate(found):
        pair = len(one.compared.traits) > 1
        if pair and not all(_adds_to(trait, one, comparison) for trait in one.compared.traits):
            continue
        stronger = [other for other in found[:place] if _accounts_for(other, one, comparison)]
        if not (pair and stronger):
            yield replace(one, confounded_by=tuple(other.compared.name for other in stronger))


def _adds_to(trait: Trait, pair: Finding, comparison: Comparison) -> bool:
    """Whether a pair says more than one of its traits: among ads with that, the other counts."""
    left = _beside((trait.condition,), pair, comparison)
    return left is not None and (left.low > 1 if pair.lift.value > 1 else left.high < 1)


def _accounts_for(other: Finding, one: Finding, comparison: Comparison) -> bool:
    """Whether little of a finding is left among units that are equal in another one."""
    left = _beside(other.compared.conditions, one, comparison)
    if left is None:
        return True
    return left.log / one.lift.log < comparison.policy.kept_share if one.lift.log else True


def _beside(conditions: Sequence[Condition], one: Finding, comparison: Comparison) -> Lift | None:
    """A finding's lift among units that are equal in other conditions."""
    mine = one.compared.sides
    theirs = comparison.sides_in(mine.design, comparison.has(conditions), whole=True)
    return mine.lift(one.compared.basis, comparison.policy.interval, beside=theirs)


# What is kept --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """All patterns of an account after a look at its ads, and which of them are new."""

    patterns: tuple[WinningPattern, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Look:
    """One look at an account's ads: the comparison, its findings, and the time (epoch s)."""

    account_id: str
    comparison: Comparison
    findings: Sequence[Finding]
    now: float

    @cached_property
    def by_id(self) -> Mapping[str, Finding]:
        """The findings by the ids of their patterns."""
        return {pattern_id(one.compared.name): one for one in self.findings}


def look(account_id: str, ads: Iterable[Ad], policy: PatternPolicy, now: float) -> Look:
    """Look at the ads first shown in the policy's window."""
    since = now - policy.window_days * DAY_S
    comparison = Comparison([ad for ad in ads if ad.shown_at >= since], policy)
    seed = int.from_bytes(hashlib.sha256(account_id.encode()).digest()[:6], "big")
    return Look(account_id, comparison, findings_of(comparison, seed), now)


def pattern_id(name: str) -> str:
    """A stable id of a pattern's name, fit for a document's path."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def keep(stored: Iterable[WinningPattern], seen: Look, decays: bool = True) -> Kept:
    """The patterns that are known after a look; the same look twice changes nothing.

    What is found for the first time is added. A pattern that is known is confirmed when it is
    found again and the ads that are newer than its last confirmation point the same way; otherwise
    its strength decays (unless ``decays`` is False) with the newer ads' time, and below the floor
    it ends. An ended pattern comes back only as it would be confirmed.
    """
    known = {pattern.id: pattern for pattern in stored}
    added = [_new(one, seen) for id_, one in seen.by_id.items() if id_ not in known]
    kept = [_aged(pattern, seen, decays) for pattern in known.values()]
    back = [p.id for p in kept if known[p.id].ended_at is not None and p.ended_at is None]
    every = sorted([*kept, *added], key=lambda pattern: (-pattern.strength, pattern.id))
    return Kept(tuple(every), tuple([pattern.id for pattern in added] + back))


def _new(one: Finding, seen: Look) -> WinningPattern:
    return _evident(
        WinningPattern(
            id=pattern_id(one.compared.name), account_id=seen.account_id,
            pattern_type=one.compared.part, pattern=one.compared.name, support=0, winners=0,
            lift=1.0, interval=(1.0, 1.0), p_value=1.0, q_value=1.0, strength=0.0,
            found_at=seen.now, confirmed_at=seen.now,
        ),
        one,
        seen,
        confirmed=True,
    )  # fmt: skip


def _evident(pattern: WinningPattern, one: Finding, seen: Look, confirmed: bool) -> WinningPattern:
    """A pattern with the evidence of a finding."""
    compared = one.compared
    grown = replace(
        pattern,
        support=compared.sides.support,
        others=compared.sides.others,
        winners=compared.sides.winners(1),
        other_winners=compared.sides.winners(0),
        lift=one.lift.value,
        interval=(one.lift.low, one.lift.high),
        p_value=compared.p_value,
        q_value=compared.q_value,
        basis=compared.basis,
        design=compared.sides.design,
        conditions=compared.conditions,
        confounded_by=one.confounded_by,
        audiences=tuple(_by_audience(compared, seen.comparison)),
    )
    if not confirmed:
        return grown
    return replace(
        grown,
        strength=1.0 - compared.q_value,
        confirmed_strength=1.0 - compared.q_value,
        confirmed_at=seen.now,
        confirmed_through=seen.comparison.newest_at,
        ended_at=None,
        expire_at=None,
    )


def _by_audience(compared: Compared, comparison: Comparison) -> Iterator[AudienceLift]:
    """The lift among the ads for each audience with enough of them; described, not tested anew."""
    policy = comparison.policy
    for audience, apart in comparison.audiences.items():
        sides = apart.sides(apart.has(compared.conditions))
        lift = sides.lift(compared.basis, policy.interval)
        if lift is not None and sides.least >= policy.min_support:
            yield AudienceLift(
                audience=audience, support=sides.support, others=sides.others,
                lift=lift.value, interval=(lift.low, lift.high),
            )  # fmt: skip


def _aged(pattern: WinningPattern, seen: Look, decays: bool) -> WinningPattern:
    found = seen.by_id.get(pattern.id)
    if found is not None:
        if _confirmed(pattern, found, seen):
            counted = replace(pattern, confirmations=pattern.confirmations + 1)
            return _evident(counted, found, seen, confirmed=True)
        if pattern.ended_at is None:
            pattern = _evident(pattern, found, seen, confirmed=False)
    return decayed(pattern, seen) if decays and pattern.ended_at is None else pattern


def _confirmed(pattern: WinningPattern, found: Finding, seen: Look) -> bool:
    """Whether newer ads alone, enough of them, have a lift on the same side of 1."""
    policy = seen.comparison.policy
    newer = [ad for ad in seen.comparison.ads if ad.shown_at > pattern.confirmed_through]
    if len(newer) < 2 * policy.min_newer:
        return False
    alone = Comparison(newer, policy)
    sides = alone.sides(alone.has(found.compared.conditions))
    if sides.least < policy.min_newer:
        return False
    lift = sides.lift(CTR, policy.interval)
    return lift is not None and lift.log * found.lift.log > 0


def decayed(pattern: WinningPattern, seen: Look) -> WinningPattern:
    """A pattern that is not confirmed: half as strong each half-life of newer ads, or ended."""
    policy = seen.comparison.policy
    days = max(0.0, seen.comparison.newest_at - pattern.confirmed_through) / DAY_S
    strength = pattern.confirmed_strength * 0.5 ** (days / policy.half_life_days)
    if strength >= policy.floor:
        return replace(pattern, strength=strength)
    expire_at = seen.now + policy.kept_days * DAY_S
    return replace(pattern, strength=strength, ended_at=seen.now, expire_at=expire_at)
