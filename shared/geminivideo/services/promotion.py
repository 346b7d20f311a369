"""Loop 5: winners get more, through the gate and the SafeExecutor; losers are told, never killed.

A cycle's check is stored whole before anything comes of it, and a delivery that comes again goes on
from what is stored: it decides nothing anew and queues nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from geminivideo.budget.reasons import NO_VALUE
from geminivideo.cloud.documents import Query
from geminivideo.degraded import PROMOTIONS_LEFT
from geminivideo.learning import promotion
from geminivideo.learning.promotion import CheckRecord, CheckRequest, Comparison, Contender
from geminivideo.learning_records import PromotionState
from geminivideo.policy import Policy
from geminivideo.records import Account
from geminivideo.runtime.failures import Permanent
from geminivideo.runtime.http import Api, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import promotion_evidence as evidence
from geminivideo.services import promotion_raises
from geminivideo.services import variations as varied
from geminivideo.services.learning_loops import LoopContext, LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.services.promotion_evidence import Standpoint

INSUFFICIENT, COMPLETE = "insufficient", "complete"
KEEP_S = 90 * 86400.0  # how long a check can be replayed


@dataclass(frozen=True, kw_only=True)
class KeptCheck:
    """``promotion_checks/{cycle_id}``: a check but for its ads, which are written before it."""

    id: str
    account_id: str
    at: float
    seed: int
    policy: Policy
    paused: str
    dispersion: float
    ads: int
    expire_at: float
    freedom: float = 0.0


@dataclass(frozen=True, kw_only=True)
class KeptAd:
    """``promotion_checks/{cycle_id}/contenders/{id}``: one, its comparison and what became."""

    id: str
    contender: Contender
    comparison: Comparison | None
    promotion: promotion.Promotion
    expire_at: float


def check_path(cycle_id: str) -> str:
    """``promotion_checks/{cycle_id}``."""
    return f"promotion_checks/{cycle_id}"


def promote(context: LoopContext) -> LoopResult:
    """Check every budget of the account, and queue what its winners get."""
    documents, policy, cycle_id = context.documents, context.policy, context.cycle.id
    account = documents.get(f"accounts/{context.account_id}", Account)
    if account is None:
        raise Permanent(f"no account {context.account_id}")
    stand = evidence.look(documents, account, policy, context.now, cycle_id)
    record = load(documents, cycle_id) or _decided(documents, stand, policy, cycle_id)
    _keep_looks(documents, record, cycle_id)
    done = _Done(stand=stand, record=record, policy=policy)
    raising = promotion_raises.raises(documents, context.step.outlet, stand, policy, cycle_id)
    wanting = varied.wanting(documents, context.step.outlet, account, policy, cycle_id, stand)
    for one in _best_first(record):
        if context.late:
            done.left += 1
            continue
        done.promoted(one, raising.queue(one), wanting.want(one))
    return LoopResult(done.members(), done.degraded())


def _best_first(record: CheckRecord) -> list[promotion.Promotion]:
    """The promoted, surest first: the account's growth is theirs before it is the others'."""
    chosen = [one for one in record.promotions if one.promoted]
    return sorted(chosen, key=lambda one: (one.doubt is not None, one.doubt or 0.0, one.id))


def _decided(documents: Documents, stand: Standpoint, policy: Policy, cycle_id: str) -> CheckRecord:
    overrides = evidence.overrides_of(documents, stand.found.account_id)
    record = promotion.check(evidence.request_of(stand, overrides, policy, cycle_id))
    _keep(documents, record, cycle_id)
    return record


def _keep(documents: Documents, record: CheckRecord, cycle_id: str) -> None:
    """The ads first: where the check's own document is, all of them are."""
    compared = {one.id: one for one in record.comparisons}
    rows = zip(record.request.contenders, record.promotions, strict=True)
    path, until = check_path(cycle_id), record.request.at + KEEP_S
    documents.set_many(
        (
            f"{path}/contenders/{one.id}",
            KeptAd(
                id=one.id,
                contender=one,
                comparison=compared.get(one.id),
                promotion=became,
                expire_at=until,
            ),
        )
        for one, became in rows
    )
    asked = record.request
    kept = KeptCheck(
        id=cycle_id, account_id=asked.account_id, at=asked.at, seed=asked.seed,
        policy=asked.policy, paused=asked.paused, dispersion=asked.dispersion,
        ads=len(asked.contenders), expire_at=until, freedom=asked.freedom,
    )  # fmt: skip
    documents.set(path, kept)


def load(documents: Documents, cycle_id: str) -> CheckRecord | None:
    """A cycle's check as it was stored."""
    path = check_path(cycle_id)
    kept = documents.get(path, KeptCheck)
    if kept is None:
        return None
    ads = [ad for page in documents.pages(Query(f"{path}/contenders"), KeptAd) for ad in page]
    ads.sort(key=lambda ad: ad.id)
    request = CheckRequest(
        account_id=kept.account_id,
        at=kept.at,
        seed=kept.seed,
        policy=kept.policy,
        contenders=tuple(ad.contender for ad in ads),
        paused=kept.paused,
        dispersion=kept.dispersion,
        freedom=kept.freedom,
    )
    return CheckRecord(
        format=promotion.FORMAT,
        request=request,
        comparisons=tuple(ad.comparison for ad in ads if ad.comparison is not None),
        promotions=tuple(ad.promotion for ad in ads),
    )


def _keep_looks(documents: Documents, record: CheckRecord, cycle_id: str) -> None:
    """Count this cycle's looks; the same cycle again counts the same look again."""
    rows = zip(record.request.contenders, record.promotions, strict=True)
    looked = [(one, became.look) for one, became in rows if became.look is not None]
    account = record.request.account_id
    documents.set_many(
        (
            (
                evidence.state_path(one.adset_id),
                PromotionState(
                    id=one.adset_id, account_id=account, looks=number, clicks=one.clicks,
                    clicks_before=one.clicks_looked_at, cycle_id=cycle_id,
                ),
            )
            for one, number in looked
        ),
        members=("id", "account_id", "looks", "clicks", "clicks_before", "cycle_id"),
    )  # fmt: skip


@dataclass(kw_only=True)
class _Done:
    """What came of a check, as the loop tells it."""

    stand: Standpoint
    record: CheckRecord
    policy: Policy
    increases: int = 0
    variations: int = 0
    winners: int = 0
    left: int = 0
    refused: list[dict[str, Any]] = field(default_factory=list)

    def promoted(
        self,
        one: promotion.Promotion,
        raised: promotion_raises.Raised,
        wanted: varied.Wanted,
    ) -> None:
        """Count what a winner got, and say what it did not get."""
        self.winners += bool(raised.change or wanted.request)
        self.increases += raised.change is not None
        self.variations += wanted.request is not None
        if raised.change is None:
            self.refused.append(_shown(one, "budget_increase", raised.reason))
        if wanted.request is None:
            self.refused.append(_shown(one, "new_variations", wanted.reason))

    def members(self) -> dict[str, Any]:
        """As the route answers."""
        held = [*self.refused, *map(_shown, _all_held(self.stand, self.record))]
        return {
            "total_checked": len(self.record.promotions) + len(self.stand.undecided),
            "promoted_count": self.winners,
            "budget_increases": self.increases,
            "new_variations": self.variations,
            "held": held[: self.policy.promotion.shown_held],
        }

    def degraded(self) -> tuple[str, ...]:
        """That clicks alone decided, that there was no time for every winner."""
        left = (f"{PROMOTIONS_LEFT}:{self.left}",) if self.left else ()
        return (*_degraded(self.stand), *left)


def _degraded(stand: Standpoint) -> tuple[str, ...]:
    posterior = stand.posterior
    blind = posterior is not None and evidence.by_clicks_alone(posterior)
    return (NO_VALUE,) if blind else ()


def _all_held(stand: Standpoint, record: CheckRecord) -> list[promotion.Promotion]:
    return [*promotion.held(record.promotions), *stand.undecided]


def _shown(one: promotion.Promotion, rule: str = "", reason: str = "") -> dict[str, Any]:
    return asdict(
        HeldAd(
            ad_id=one.ad_ids[0] if len(one.ad_ids) == 1 else one.id,
            rule=rule or one.rule,
            reason=reason or one.reason,
            probability=one.probability,
            losing=one.losing,
        )
    )


# HTTP ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class PromotionQuestion:
    """Whose ads are to be checked."""

    account_id: str = "default"


@dataclass(frozen=True, kw_only=True)
class HeldAd:
    """An ad that is not promoted, or what a winner did not get, by which rule and why.

    ``probability`` that it beats its set, where that could be told. ``losing``: its set surely
    beats it; nothing is done to it for that.
    """

    ad_id: str
    rule: str
    reason: str
    probability: float | None = None
    losing: bool = False


@dataclass(frozen=True, kw_only=True)
class WinningAd:
    """An ad that the next cycle would promote, as things stand."""

    ad_id: str
    reason: str
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class PromotionChecked:
    """A check as of now. It queues nothing: a learning cycle does.

    ``promoted_count``, ``budget_increases`` and ``new_variations`` are what the last cycle's
    promotions came to (``cycle_id``; null before the first).
    """

    total_checked: int
    promoted_count: int | None
    budget_increases: int | None
    new_variations: int | None
    held: list[HeldAd]
    winners: list[WinningAd]
    data_status: str
    cycle_id: str | None = None
    degraded: list[str] = field(default_factory=list)


def check_now(call: Call) -> PromotionChecked:
    """Check an account's ads on what is stored of them; nothing is queued."""
    account_id, documents = identifier(call.body.account_id, "account_id"), call.ports.documents
    account = documents.get(f"accounts/{account_id}", Account)
    if account is None:
        return _answer(None, (), (), 0, ())
    policy, now = policy_of(documents, account_id), call.ports.clock.now()
    stand = evidence.look(documents, account, policy, now, "")
    overrides = evidence.overrides_of(documents, account_id)
    record = promotion.check(evidence.request_of(stand, overrides, policy, f"asked/{now}"))
    checked = len(record.promotions) + len(stand.undecided)
    held = _all_held(stand, record)[: policy.promotion.shown_held]
    winning = [one for one in record.promotions if one.promoted]
    last = last_result(documents, account_id)
    return _answer(last, winning, held, checked, _degraded(stand))


def _answer(
    last: tuple[str, dict[str, Any]] | None,
    winning: Iterable[promotion.Promotion],
    held: Iterable[promotion.Promotion],
    checked: int,
    degraded: Iterable[str],
) -> PromotionChecked:
    cycle_id, result = last or (None, {})
    return PromotionChecked(
        total_checked=checked,
        promoted_count=result.get("promoted_count"),
        budget_increases=result.get("budget_increases"),
        new_variations=result.get("new_variations"),
        held=[HeldAd(**_shown(one)) for one in held],
        winners=[
            WinningAd(ad_id=one.id, reason=one.reason, probability=one.probability)
            for one in winning
        ],
        data_status=COMPLETE if checked else INSUFFICIENT,
        cycle_id=cycle_id,
        degraded=list(degraded),
    )


def last_result(documents: Documents, account_id: str) -> tuple[str, dict[str, Any]] | None:
    """(cycle, what its promotion came to) of the latest cycle that got so far."""
    from geminivideo.learning_records import LearningCycle

    query = Query(
        "learning_cycles", [("account_id", "==", account_id)], order=["-started_at"], limit=5
    )
    for cycle in documents.query(query, LearningCycle):
        for run in cycle.steps.values():
            if run.name == "promote" and run.result:
                return cycle.id, run.result
    return None


def serve(api: Api) -> None:
    """The route of ml_service and of meta_publisher."""
    route = "/api/ml/auto-promote/check"
    api.post(route, body=PromotionQuestion, answer=PromotionChecked)(check_now)
