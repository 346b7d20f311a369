"""Who is promoted: an ad that surely beats the others of its set, and is a winner by itself.

The posteriors are the sampler's: a Beta of the CTR, and a Gamma of what a click is worth against
the account's, which counts for more as the ad grows older. An ad beats its set when the next unit
of money returns more on it than on the set's other ads, weighted by their budgets. A set is the
ad's campaign; with too few ads in it of which enough is known, the account.

Among many ads, and at many looks, some ad always seems to win. What is left of the doubt (1 - the
probability) is therefore multiplied by j (j + 1) at an ad's j-th look, of which the reciprocals sum
up to 1, and the false discovery rate over all ads of a check is held at 1 - ``min_probability``
(Benjamini and Hochberg 1995). Of equal ads, over all looks that they ever get, some one is promoted
with at most that probability, as far as the posteriors are calibrated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from geminivideo.decoding import learned
from geminivideo.learning.winners import HOUR_S, Standing, standing
from geminivideo.learning_records import Actual
from geminivideo.policy import Policy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]
    Column = NDArray[np.float64]

FORMAT = 1
CAMPAIGN, ACCOUNT = "campaign", "account"
_CHUNK = 2_000_000  # numbers drawn at once


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """One budget and what is known of it: an ad set with its ads (nearly always one).

    CTR ~ Beta(``ctr_alpha``, ``ctr_beta``); a click's value against the account's ~
    Gamma(``value_shape``, ``value_rate``), the clicks alone counting with ``click_weight``.
    ``scale`` makes of both what the next unit of money returns; ``budget`` and ``spend`` are minor
    units. It had ``looks`` before, the last at ``clicks_looked_at``. ``excluded``, ``forced`` and
    ``waits`` say why, where it is so.
    """

    id: str
    adset_id: str
    ad_ids: tuple[str, ...]
    campaign_id: str | None
    currency: str
    ctr_alpha: float
    ctr_beta: float
    value_shape: float
    value_rate: float
    click_weight: float
    scale: float
    budget: int
    age_hours: float
    impressions: int
    clicks: int
    spend: int
    pipeline_value: int
    cash_revenue: int = 0
    looks: int = 0
    clicks_looked_at: int = 0
    excluded: str = ""
    forced: str = ""
    waits: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """Everything that a check rests on; ``paused`` says why nothing is promoted, if so.

    ``dispersion`` is by how much more than by chance the account's days differ: so many clicks
    tell as much as one. It is known as by ``freedom`` degrees of freedom (0: exactly), and drawn.
    """

    account_id: str
    at: float
    seed: int
    policy: Policy
    contenders: tuple[Contender, ...]
    paused: str = ""
    dispersion: float = 1.0
    freedom: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One contender against the ``others`` of its ``among`` (campaign or account).

    ``probability`` is the share of the draws in which it returns more than they do; ``doubt`` is
    the rest, or the tail of a lognormal through the draws where that is larger (no number of draws
    shows a small rest). ``lead`` is the median of its return by theirs.
    """

    id: str
    among: str
    others: int
    probability: float
    doubt: float
    lead: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Promotion:
    """What becomes of one contender: promoted, or held by ``rule``, and why.

    ``look`` is which look this was, if it was one, and ``doubt`` what is left after allowance for
    all ads and looks. ``losing``: its set surely beats it; that is told and nothing more.
    """

    id: str
    ad_ids: tuple[str, ...]
    promoted: bool
    rule: str
    reason: str
    probability: float | None = None
    doubt: float | None = None
    look: int | None = None
    losing: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRecord:
    """A check with all it rests on: ``replay`` makes the same bytes of it."""

    format: int
    request: CheckRequest
    comparisons: tuple[Comparison, ...]
    promotions: tuple[Promotion, ...]

    def encode(self) -> bytes:
        """The record as JSON; the same record gives the same bytes."""
        return msgspec.json.encode(self.decode(msgspec.json.encode(self)))

    @classmethod
    def decode(cls, body: bytes) -> CheckRecord:
        """Read a record; raises ``msgspec.ValidationError`` naming the member."""
        return msgspec.json.decode(body, type=learned(cls))


def check(request: CheckRequest) -> CheckRecord:
    """Compare every contender of which enough is known, and say what becomes of each of all."""
    return _record(request, compare(request))


def replay(record: CheckRecord) -> CheckRecord:
    """The check again, from the comparisons that its record stores."""
    return _record(record.request, record.comparisons)


def _record(request: CheckRequest, comparisons: tuple[Comparison, ...]) -> CheckRecord:
    return CheckRecord(
        format=FORMAT,
        request=request,
        comparisons=comparisons,
        promotions=_judged(request, {one.id: one for one in comparisons}),
    )


# Comparing -----------------------------------------------------------------------------------


def in_ignorance_zone(contender: Contender, policy: Policy) -> bool:
    """Too young, or too little spent, to be judged at all."""
    gate = policy.gate
    return contender.age_hours < gate.ignorance_hours or contender.spend < gate.ignorance_spend


def winner(contender: Contender, at: float, policy: Policy) -> Standing:
    """The one definition of a winner, on the contender's totals."""
    actual = Actual(
        id=contender.id,
        ad_id=contender.id,
        account_id="",
        currency=contender.currency,
        impressions=contender.impressions,
        clicks=contender.clicks,
        spend=contender.spend,
        pipeline_value=contender.pipeline_value,
        cash_revenue=contender.cash_revenue,
        first_shown_at=at - contender.age_hours * HOUR_S,
        until_at=at,
        linked_at=at,
    )
    return standing(actual, policy)


def _known(contender: Contender, request: CheckRequest) -> bool:
    """Whether enough is known of it to compare it with others, and others with it."""
    if in_ignorance_zone(contender, request.policy):
        return False
    return winner(contender, request.at, request.policy).is_winner is not None


def compare(request: CheckRequest) -> tuple[Comparison, ...]:
    """Every contender of which enough is known, against its set; seeded by the request."""
    known = [one for one in request.contenders if _known(one, request)]
    least = request.policy.promotion.min_others
    if len(known) <= least:
        return ()
    of_campaign = Counter(one.campaign_id or "" for one in known)
    del of_campaign[""]
    ordered = sorted(known, key=lambda one: (one.campaign_id or "", one.id))
    local = [of_campaign[one.campaign_id or ""] > least for one in ordered]
    others = [
        (of_campaign[one.campaign_id or ""] if near else len(known)) - 1
        for one, near in zip(ordered, local, strict=True)
    ]
    rows = zip(ordered, local, others, *_drawn(ordered, local, request), strict=True)
    return tuple(_comparison(*row) for row in rows)


def _comparison(
    one: Contender, near: bool, others: int, wins: float, mean: float, spread: float
) -> Comparison:
    tail = 0.5 * math.erfc(mean / max(spread, 1e-12) / math.sqrt(2.0))
    return Comparison(
        id=one.id,
        among=CAMPAIGN if near else ACCOUNT,
        others=others,
        probability=wins,
        doubt=max(1.0 - wins, tail),
        lead=math.exp(mean),
    )


def _drawn(
    ordered: Sequence[Contender], local: Sequence[bool], request: CheckRequest
) -> tuple[list[float], list[float], list[float]]:
    """(share of draws won, mean and spread of the log of its return by the others'), by row."""
    import numpy as np

    draws = request.policy.promotion.draws
    seeds = np.random.SeedSequence(request.seed)
    generator = np.random.Generator(np.random.SFC64(seeds))
    sets = _Sets.of(ordered, local)
    wins, total, squares = (np.zeros(len(ordered)) for _ in range(3))
    left = draws
    while left > 0:
        some = min(left, max(1, _CHUNK // len(ordered)))
        ahead = _ahead(_returns(ordered, some, generator, request), sets)
        wins += (ahead > 0).sum(0)
        total += ahead.sum(0)
        squares += (ahead**2).sum(0)
        left -= some
    mean = total / draws
    spread = np.sqrt(np.maximum(squares / draws - mean**2, 0.0))
    return (wins / draws).tolist(), mean.tolist(), spread.tolist()


def _returns(
    ordered: Sequence[Contender], draws: int, generator: np.random.Generator, request: CheckRequest
) -> Matrix:
    """[draws, ads]: what the next unit of money returns, drawn from the posteriors."""
    import numpy as np

    def column(name: str) -> Column:
        return np.fromiter((getattr(one, name) for one in ordered), np.float64, len(ordered))

    shape = (draws, len(ordered))
    returns = generator.standard_gamma(column("value_shape"), shape)
    returns /= column("value_rate")
    weight = column("click_weight")
    returns *= 1.0 - weight
    returns += weight
    dispersion = _dispersions(draws, generator, request)
    alpha, beta = (column(name) / dispersion for name in ("ctr_alpha", "ctr_beta"))
    returns *= generator.beta(alpha, beta, shape)
    returns *= np.exp(generator.normal(0.0, request.policy.sampler.model_spread, shape))
    returns *= column("scale")
    return returns


def _dispersions(
    draws: int, generator: np.random.Generator, request: CheckRequest
) -> Matrix | float:
    """[draws, 1]: how much days differ, from its posterior: a scaled inverse chi-squared.

    After two days an estimate is as often half of the truth as not, and taken for the truth it
    promotes by chance; drawn, what clicks tell has the tails of a Student's t instead.
    """
    freedom = request.freedom
    if freedom <= 0:
        return request.dispersion
    import numpy as np

    drawn = request.dispersion * freedom / generator.chisquare(freedom, (draws, 1))
    return np.maximum(drawn, 1.0)


@dataclass(frozen=True)
class _Sets:
    """Where each campaign begins in the order, which one each row is of, and who looks at it."""

    starts: NDArray[np.int64]
    of_row: NDArray[np.int64]
    local: NDArray[np.bool_]
    weight: Column

    @classmethod
    def of(cls, ordered: Sequence[Contender], local: Sequence[bool]) -> _Sets:
        import numpy as np

        names = [one.campaign_id or "" for one in ordered]
        begins = [at for at, name in enumerate(names) if at == 0 or name != names[at - 1]]
        starts = np.array(begins, np.int64)
        lengths = np.diff(np.append(starts, len(names)))
        return cls(
            starts=starts,
            of_row=np.repeat(np.arange(len(starts)), lengths),
            local=np.array(local, bool),
            weight=np.fromiter((max(one.budget, 1) for one in ordered), np.float64, len(names)),
        )


def _ahead(returns: Matrix, sets: _Sets) -> Matrix:
    """The log of each ad's return by the budget-weighted mean of its set's others."""
    import numpy as np

    money = returns * sets.weight
    near = np.add.reduceat(money, sets.starts, axis=1)[:, sets.of_row]
    near_weight = np.add.reduceat(sets.weight, sets.starts)[sets.of_row]
    whole = np.where(sets.local, near, money.sum(1, keepdims=True))
    weight = np.where(sets.local, near_weight, sets.weight.sum())
    others = (whole - money) / (weight - sets.weight)
    return np.log(np.maximum(returns, 1e-300)) - np.log(np.maximum(others, 1e-300))


# Judging -------------------------------------------------------------------------------------


def _judged(request: CheckRequest, comparisons: Mapping[str, Comparison]) -> tuple[Promotion, ...]:
    looked = [one for one in request.contenders if _looked_at(one, comparisons, request)]
    spent = {one.id: _spent(one, comparisons[one.id]) for one in looked}
    doubts = false_discovery_rates(spent)
    return tuple(
        _promotion(one, comparisons.get(one.id), doubts.get(one.id), request)
        for one in request.contenders
    )


def _looked_at(
    one: Contender, comparisons: Mapping[str, Comparison], request: CheckRequest
) -> bool:
    """Whether this check is a look at it: nothing else holds it, and it has grown since."""
    blocked = bool(request.paused or one.excluded or one.waits or one.forced)
    return not blocked and one.id in comparisons and _grown(one, request.policy)


def _grown(one: Contender, policy: Policy) -> bool:
    return one.clicks >= one.clicks_looked_at * (1.0 + policy.promotion.look_growth)


def _spent(one: Contender, found: Comparison) -> float:
    look = one.looks + 1
    return min(1.0, found.doubt * look * (look + 1))


def false_discovery_rates(doubts: Mapping[str, float]) -> dict[str, float]:
    """The least rate (0-1) of false discoveries at which each one is among the discoveries."""
    ordered = sorted(doubts.items(), key=lambda item: (item[1], item[0]))
    found: dict[str, float] = {}
    least = 1.0
    for rank, (name, doubt) in reversed(list(enumerate(ordered, start=1))):
        least = min(least, doubt * len(ordered) / rank)
        found[name] = least
    return found


def _promotion(
    one: Contender, found: Comparison | None, doubt: float | None, request: CheckRequest
) -> Promotion:
    rule, reason = _rule(one, found, doubt, request)
    sure = request.policy.promotion.min_probability
    return Promotion(
        id=one.id,
        ad_ids=one.ad_ids,
        promoted=not rule,
        rule=rule,
        reason=reason,
        probability=found.probability if found else None,
        doubt=doubt,
        look=one.looks + 1 if doubt is not None else None,
        losing=found is not None and 1.0 - found.probability >= sure,
    )


def _rule(
    one: Contender, found: Comparison | None, doubt: float | None, request: CheckRequest
) -> tuple[str, str]:
    """(the rule that holds it, empty for a winner; why)."""
    if request.paused:
        return "paused", request.paused
    if one.excluded:
        return "excluded", one.excluded
    if one.waits:
        return "waits", one.waits
    if in_ignorance_zone(one, request.policy):
        gate = request.policy.gate
        return "ignorance_zone", (
            f"{one.age_hours:.0f} of {gate.ignorance_hours:g} hours old, spent {one.spend} of "
            f"{gate.ignorance_spend} (minor units)"
        )
    if one.forced:
        return "", one.forced
    return _rule_of_evidence(one, found, doubt, request)


def _rule_of_evidence(
    one: Contender, found: Comparison | None, doubt: float | None, request: CheckRequest
) -> tuple[str, str]:
    judged, policy = winner(one, request.at, request.policy), request.policy.promotion
    if judged.is_winner is None:
        return "evidence", judged.reason
    if found is None:
        return "alone", f"fewer than {policy.min_others} other ads of which enough is known"
    words = (
        f"beats the {found.others} others of its {found.among} with probability "
        f"{found.probability:.3f} (returns {found.lead:.2f} times theirs)"
    )
    if doubt is None:
        return "look", (
            f"{words}; looked at again from {1 + policy.look_growth:g} times the "
            f"{one.clicks_looked_at} clicks of its last look"
        )
    left = f"{words}; {doubt:.4f} doubt is left at look {one.looks + 1} among all ads"
    if found.probability < policy.min_probability or doubt > 1.0 - policy.min_probability:
        return "probability", left
    if not judged.is_winner:
        return "winner", f"{words}, but is no winner: {judged.reason}"
    return "", f"{left}; {judged.reason}"


def held(promotions: Iterable[Promotion]) -> list[Promotion]:
    """What is held: the losers first, then by how near each is to a promotion."""
    waiting = [one for one in promotions if not one.promoted]
    return sorted(waiting, key=lambda one: (not one.losing, -(one.probability or 0.0), one.id))
