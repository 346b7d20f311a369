"""Whether an account shares, what it contributes, and what it receives; nothing is released here.

Releases are the learning cycle's (``services/sharing.py``): only its function holds the noise.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from geminivideo.cloud.documents import Query
from geminivideo.degraded import NOTHING_SHARED, PRIVACY_BUDGET_SPENT
from geminivideo.learning import privacy, sharing
from geminivideo.learning_records import (
    Actual,
    Contribution,
    PrivacyLedger,
    SharedRelease,
    SharingConsent,
)
from geminivideo.policy import SharingPolicy
from geminivideo.records import Account
from geminivideo.runtime.http import Api, ApiError, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services.hearing import consent_path, opted_in

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents, Transaction

DEPLOYMENT = "_deployment"
RELEASES = "cross_account_patterns"
_INSUFFICIENT, _KNOWN = "insufficient", "known"
_ALL_TOGETHER = "all-businesses-together"
_QUARTER = re.compile(r"[Qq][1-4]")
_DAYS = {"last_week": 7.0, "last_month": 31.0, "last_quarter": 92.0, "last_year": 366.0}
_CTR_METRICS, _LIFT_METRICS = ("ctr", "avg_ctr", "average_ctr"), ("lift", "patterns", "hooks")


def ledger_path(account_id: str) -> str:
    """The document path of an account's privacy ledger."""
    return f"privacy_ledger/{privacy.ledger_id(account_id)}"


def release_path(slot_id: str) -> str:
    """The document path of a slot's release."""
    return f"{RELEASES}/{slot_id}"


def sharing_policy(documents: Documents) -> SharingPolicy:
    """The deployment's; no account has one of its own."""
    return policy_of(documents, DEPLOYMENT).sharing


def standing(documents: Documents) -> SharedRelease | None:
    """The last release that was let out; it stands until the next one is."""
    last = documents.query(Query(RELEASES, order=["-released_at"], limit=1), SharedRelease)
    return last[0] if last and last[0].released_at is not None else None


def received(documents: Documents, account_id: str) -> SharedRelease | None:
    """The release that an account may use: the standing one, if it takes part itself."""
    return standing(documents) if opted_in(documents, account_id) else None


def opt(
    documents: Documents, account_id: str, *, into: bool, by: str, now: float
) -> SharingConsent:
    """Opt in or out. Out: the contribution is gone with the same write, before the next release.

    Raises ``ApiError`` 404 when an account that is not known opts in.
    """
    known = not into or documents.get(f"accounts/{account_id}", Account) is not None
    if not known:
        raise ApiError(404, f"no account {account_id}: make it first")

    def body(transaction: Transaction) -> SharingConsent:
        found = transaction.get(consent_path(account_id), SharingConsent)
        if found is not None and found.opted_in == into:
            return found
        made = SharingConsent(id=account_id, opted_in=into, changed_at=now, by=by)
        transaction.set(consent_path(account_id), made)
        return made

    return documents.transact(body)


def contribute(documents: Documents, account_id: str, now: float) -> SharingConsent | None:
    """Put the account's vector of now where the next release finds it; only if it takes part."""
    if not opted_in(documents, account_id):
        return documents.get(consent_path(account_id), SharingConsent)
    policy = sharing_policy(documents)
    of_account = Query("actuals", [("account_id", "==", account_id)])
    actuals = (ad for page in documents.pages(of_account, Actual) for ad in page)
    made = sharing.contribute(actuals, policy, now)

    def body(transaction: Transaction) -> SharingConsent | None:
        found = transaction.get(consent_path(account_id), SharingConsent)
        if found is None or not found.opted_in:
            return found
        given = replace(found, contribution=made)
        transaction.set(consent_path(account_id), given)
        return given

    return documents.transact(body)


def members(consent: SharingConsent | None, release: SharedRelease | None) -> dict[str, Any]:
    """The members of the loop's result and of its route."""
    taking_part = consent is not None and consent.opted_in
    contribution = consent.contribution if consent and taking_part else None
    patterns = release.patterns if release and taking_part else ()
    return {
        "status": "active",
        "patterns_shared": len(contribution.lifts) if contribution else 0,
        "global_patterns_received": len(patterns),
        "opted_in": taking_part,
    }


def degraded(documents: Documents, account_id: str, now: float) -> tuple[str, ...]:
    """Why an account that takes part gets or gives less than it could."""
    policy = sharing_policy(documents)
    found = [] if standing(documents) else [NOTHING_SHARED]
    ledger = documents.get(ledger_path(account_id), PrivacyLedger)
    slot = privacy.slot_of(now, policy)
    in_slot = any(loss.release == slot.id for loss in ledger.losses) if ledger else False
    if not in_slot and not privacy.affords(ledger, slot, policy):
        found.append(PRIVACY_BUDGET_SPENT)
    return tuple(found)


# Over HTTP -------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ShareRequest:
    """``anonymize`` false is refused: there is no sharing without it."""

    account_id: str
    anonymize: bool = True


@dataclass(frozen=True, kw_only=True)
class Shared:
    """``patterns_shared`` are the traits in the account's contribution to the next release."""

    status: str
    patterns_shared: int
    global_patterns_received: int
    opted_in: bool
    data_status: str
    degraded: list[str] = field(default_factory=list)


def share_now(call: Call) -> Shared:
    """Renew the account's contribution and say what it receives; releases are the cycle's."""
    asked: ShareRequest = call.body
    if not asked.anonymize:
        raise ApiError(422, "anonymize must be true: nothing is shared but noise-protected sums")
    account = identifier(asked.account_id, "account_id")
    documents, now = call.ports.documents, call.ports.clock.now()
    consent = contribute(documents, account, now)
    release = standing(documents) if consent and consent.opted_in else None
    told = members(consent, release)
    return Shared(
        **told,
        data_status=_KNOWN if told["patterns_shared"] or release else _INSUFFICIENT,
        degraded=list(degraded(documents, account, now)) if told["opted_in"] else [],
    )


@dataclass(frozen=True, kw_only=True)
class GlobalQuestion:
    """``metric`` ctr or lift; ``time_period`` last_week/month/quarter/year, Q1-Q4, or none."""

    business_type: str | None = None
    time_period: str | None = None
    metric: str = "ctr"


@dataclass(frozen=True, kw_only=True)
class GlobalAnswer:
    """What accounts told each other. ``accounts`` is the noisy count, or "withheld".

    ``aggregate`` is null when nothing was let out, else of ``ctr``: value and interval (90 %); of
    ``lift``: the patterns. ``noise`` is the mechanism with its privacy.
    """

    aggregate: dict[str, Any] | None
    accounts: int | str
    noise: dict[str, Any]
    data_status: str
    business_type: str | None = None
    released_at: float | None = None
    degraded: list[str] = field(default_factory=list)


def query(call: Call) -> GlobalAnswer:
    """The standing release's word on a metric; accounts do not say their business."""
    asked: GlobalQuestion = call.body
    documents = call.ports.documents
    policy, release = sharing_policy(documents), standing(documents)
    if release is not None and not _within(release, asked.time_period, call.ports.clock.now()):
        release = None
    aggregate = _aggregate(release, asked.metric) if release else None
    if release is None or aggregate is None:
        return GlobalAnswer(
            aggregate=None,
            accounts="withheld",
            noise=_noise(policy),
            data_status=_INSUFFICIENT,
            degraded=[NOTHING_SHARED] if release is None else [],
        )
    return GlobalAnswer(
        aggregate=aggregate,
        accounts=release.accounts or policy.min_accounts,
        noise=_noise_of(release),
        data_status=_KNOWN,
        released_at=release.released_at,
        degraded=[_ALL_TOGETHER] if asked.business_type else [],
    )


def _within(release: SharedRelease, period: str | None, now: float) -> bool:
    """Whether a release stood in the period asked for; 422 for a period that is none."""
    if period is None or _QUARTER.fullmatch(period):
        return period is None or _quarter_of(release.at) == period.upper()
    if period not in _DAYS:
        raise ApiError(422, f"time_period must be Q1-Q4 or one of {', '.join(_DAYS)}")
    return release.until_at > now - _DAYS[period] * privacy.DAY_S


def _quarter_of(at: float) -> str:
    from datetime import UTC, datetime

    return f"Q{(datetime.fromtimestamp(at, UTC).month + 2) // 3}"


def _aggregate(release: SharedRelease, metric: str) -> dict[str, Any] | None:
    wanted = metric.lower()
    if wanted in _CTR_METRICS:
        return {"ctr": release.base_ctr, "interval": release.base_interval}
    if wanted in _LIFT_METRICS:
        return {"patterns": [_pattern(one) for one in release.patterns]}
    return None


def _pattern(pattern: Any) -> dict[str, Any]:
    return {"trait": pattern.trait, "lift": pattern.lift, "interval": pattern.interval}


def _noise(policy: SharingPolicy) -> dict[str, Any]:
    return {
        "mechanism": privacy.MECHANISM,
        "epsilon": policy.epsilon,
        "delta": policy.delta,
        "sensitivity": privacy.sensitivity(policy),
        "min_accounts": policy.min_accounts,
    }


def _noise_of(release: SharedRelease) -> dict[str, Any]:
    return {
        "mechanism": release.mechanism,
        "epsilon": release.epsilon,
        "delta": release.delta,
        "sensitivity": release.sensitivity,
        "min_accounts": release.min_accounts,
    }


@dataclass(frozen=True, kw_only=True)
class Opting:
    """Who opts in or out."""

    by: str = ""


@dataclass(frozen=True, kw_only=True)
class SharingView:
    """How an account stands: its own contribution (lifts as ratios), its budget, what it receives.

    ``not_taken_back``: how many releases made with this account's data stand for good.
    """

    account_id: str
    opted_in: bool
    changed_at: float | None
    by: str | None
    contribution: dict[str, float] | None
    epsilon_per_release: float
    epsilon_spent: float
    epsilon_budget: float
    budget_days: float
    next_release_after: float
    not_taken_back: int
    received: list[dict[str, Any]]
    expected_ctr: float | None
    degraded: list[str] = field(default_factory=list)


def show(call: Call) -> SharingView:
    """How an account stands with sharing."""
    account = identifier(call.path["account"], "account")
    consent = call.ports.documents.get(consent_path(account), SharingConsent)
    return _view(call, account, consent)


def take_part(call: Call) -> SharingView:
    """Opt an account in: it gives bounded, noise-protected sums and uses those of all."""
    return _opted(call, into=True)


def leave(call: Call) -> SharingView:
    """Opt an account out: its contribution is deleted now; releases made with it stand."""
    return _opted(call, into=False)


def _opted(call: Call, *, into: bool) -> SharingView:
    account = identifier(call.path["account"], "account")
    by = call.caller or call.body.by or "unknown"
    documents, now = call.ports.documents, call.ports.clock.now()
    return _view(call, account, opt(documents, account, into=into, by=by, now=now))


def _view(call: Call, account: str, consent: SharingConsent | None) -> SharingView:
    documents, now = call.ports.documents, call.ports.clock.now()
    policy = sharing_policy(documents)
    slot = privacy.slot_of(now, policy)
    ledger = documents.get(ledger_path(account), PrivacyLedger)
    taking_part = consent is not None and consent.opted_in
    release = standing(documents) if taking_part else None
    return SharingView(
        account_id=account,
        opted_in=taking_part,
        changed_at=consent.changed_at if consent else None,
        by=consent.by if consent else None,
        contribution=_ratios(consent.contribution, policy) if consent else None,
        epsilon_per_release=policy.epsilon,
        epsilon_spent=privacy.spent(ledger, slot.from_at, policy),
        epsilon_budget=policy.budget_epsilon,
        budget_days=policy.budget_days,
        next_release_after=slot.until_at,
        not_taken_back=len(ledger.losses) if ledger else 0,
        received=[_pattern(one) for one in release.patterns] if release else [],
        expected_ctr=release.base_ctr if release else None,
        degraded=list(degraded(documents, account, now)) if taking_part else [],
    )


def _ratios(contribution: Contribution | None, policy: SharingPolicy) -> dict[str, float] | None:
    return None if contribution is None else sharing.ratios(contribution, policy)


def serve(api: Api) -> None:
    """The routes of ml_service and of meta_publisher."""
    api.post("/api/ml/cross-learn/share", body=ShareRequest, answer=Shared)(share_now)
    api.post("/api/ml/federated-learning/query", body=GlobalQuestion, answer=GlobalAnswer)(query)


def serve_consents(api: Api) -> None:
    """The gateway's routes: who takes part."""
    api.get("/api/sharing/{account}", answer=SharingView)(show)
    for word, handler in (("in", take_part), ("out", leave)):
        path = f"/api/sharing/{{account}}/{word}"
        api.post(path, body=Opting, answer=SharingView)(handler)
