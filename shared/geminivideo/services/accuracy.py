"""Loop 2: how good the predictions of an account were, by its actuals, and whether that changed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from geminivideo import degraded as why
from geminivideo.cloud.documents import Query
from geminivideo.learning import dispersion, drift
from geminivideo.learning.accuracy import Outcome, believable, score
from geminivideo.learning_records import AccuracyReport, AccuracyScore, Actual
from geminivideo.policy import Policy
from geminivideo.runtime.http import Api, Call, identifier
from geminivideo.runtime.policies import policy_of
from geminivideo.services import model_registry
from geminivideo.services.learning_loops import LoopContext, LoopResult

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents

DAY_S = 86400.0
COMPLETE, PARTIAL, INSUFFICIENT = "complete", "partial", "insufficient"
MOST_NAMED = 100  # excluded ads that a report names


def report_path(account_id: str, cycle_id: str) -> str:
    """``accuracy_reports/{account}-{cycle}``."""
    return f"accuracy_reports/{account_id}-{cycle_id}"


def track(context: LoopContext) -> LoopResult:
    """The work of loop 2: the report is stored, its figures are the loop's."""
    report = judge(
        context.documents, context.account_id, context.policy, context.now, context.cycle.id
    )
    context.step.put(report_path(context.account_id, context.cycle.id), report)
    return LoopResult(members_of(report), degraded_of(report))


def judge(
    documents: Documents, account_id: str, policy: Policy, now: float, cycle_id: str
) -> AccuracyReport:
    """The account's report from its stored actuals; everything is unknown where there are none."""
    report_id = f"{account_id}-{cycle_id}"
    seed = int.from_bytes(hashlib.sha256(report_id.encode()).digest()[:6])
    actuals = recent(documents, account_id, policy, now)
    champion = model_registry.champion_of(documents)
    in_use = champion.version if champion else None
    report = report_of(actuals, policy, seed, now, in_use)
    return replace(report, id=report_id, account_id=account_id)


def recent(documents: Documents, account_id: str, policy: Policy, now: float) -> list[Actual]:
    """The account's ads of the policy's window, the latest first."""
    rules = policy.accuracy
    since = now - rules.window_days * DAY_S
    where = [("account_id", "==", account_id), ("first_shown_at", ">=", since)]
    latest = Query("actuals", where, order=["-first_shown_at"], limit=rules.max_ads)
    return documents.query(latest, Actual)


def report_of(
    actuals: Sequence[Actual], policy: Policy, seed: int, now: float, champion: str | None
) -> AccuracyReport:
    """The report over some actuals of one account; ``champion`` is the model now in use.

    A model is judged by all that it predicted before the ads were shown, in use or on trial. The
    account's accuracy is that of the champion once enough of its ads are known, and drift is looked
    for in its errors alone: a model that was replaced must not make the new one be retrained.
    """
    rules = policy.accuracy
    every = list(_outcomes(actuals))
    days = (dispersion.Dispersion(one.day_dispersion, one.day_pairs) for one in actuals)
    wider = dispersion.pooled(days, rules.min_dispersion_pairs)
    by_model: dict[str, list[Outcome]] = {}
    for version, outcome, _ in every:
        by_model.setdefault(version, []).append(outcome)
    models = {
        version: score(found, rules, seed, wider) for version, found in sorted(by_model.items())
    }
    used = [outcome for _, outcome, in_use in every if in_use]
    judged = champion if _told(models.get(champion or "")) else None
    overall = models[judged] if judged else score(used, rules, seed, wider)
    excluded = {one.ad_id for _, one, _ in every if not believable(one)}
    return AccuracyReport(
        id="",
        account_id="",
        at=now,
        overall=overall,
        drift=drift.look(by_model.get(champion or _busiest(actuals), ()), rules, seed),
        seed=seed,
        model_version=judged,
        models=models,
        excluded=tuple(sorted(excluded)[:MOST_NAMED]),
        partial_ads=sum(bool(one.partial) for one in actuals),
        policy_version=policy.version,
    )


def _told(found: AccuracyScore | None) -> bool:
    return found is not None and found.accuracy is not None


def _busiest(actuals: Sequence[Actual]) -> str:
    """The version that predicted most, while none is in use: errors of several are no drift."""
    counted = Counter(a.model_version for a in actuals if a.predicted_ctr is not None)
    return max(counted, key=lambda version: (counted[version], str(version)), default=None) or ""


def _outcomes(actuals: Sequence[Actual]) -> Iterator[tuple[str, Outcome, bool]]:
    """(model, outcome, whether that model was in use) of every prediction that said a rate."""
    for actual in actuals:
        if actual.predicted_ctr is not None and actual.model_version:
            yield actual.model_version, _outcome(actual, actual.predicted_ctr), True
        for shadow in actual.shadows:
            if shadow.model_version != actual.model_version:
                yield shadow.model_version, _outcome(actual, shadow.ctr), False


def _outcome(actual: Actual, predicted: float) -> Outcome:
    return Outcome(
        ad_id=actual.ad_id,
        predicted=predicted,
        impressions=actual.impressions,
        clicks=actual.clicks,
        at=actual.first_shown_at,
    )


# What is shown -------------------------------------------------------------------------------


def members_of(report: AccuracyReport) -> dict[str, Any]:
    """The members of the loop's route.

    ``drift`` is true, false, or null while unknown; ``drift_evidence`` is the test's.
    """
    overall = report.overall
    return {
        "accuracy": overall.accuracy,
        "rmse": overall.rmse,
        "mae": overall.mae,
        "r_squared": overall.r_squared,
        "n": overall.n,
        "data_status": status_of(report),
        "model_version": report.model_version,
        "intervals": {name: list(bounds) for name, bounds in overall.intervals.items()},
        "accuracy_as_seen": overall.accuracy_as_seen,
        "counting_error": overall.counting_error,
        "calibration": [asdict(one) for one in overall.calibration],
        "per_model": {version: _short(one) for version, one in report.models.items()},
        "drift": report.drift.found,
        "drift_evidence": asdict(report.drift),
    }


def _short(one: AccuracyScore) -> dict[str, Any]:
    bounds = one.intervals.get("accuracy")
    return {
        "accuracy": one.accuracy,
        "interval": list(bounds) if bounds else None,
        "rmse": one.rmse,
        "mae": one.mae,
        "r_squared": one.r_squared,
        "bias": one.bias,
        "n": one.n,
    }


def status_of(report: AccuracyReport) -> str:
    """complete, partial (some actuals lack something), or insufficient: nothing can be said."""
    if report.overall.accuracy is None:
        return INSUFFICIENT
    return PARTIAL if report.partial_ads or report.excluded else COMPLETE


def degraded_of(report: AccuracyReport) -> tuple[str, ...]:
    """What the figures lack."""
    earlier = report.overall.accuracy is not None and report.model_version is None
    excluded = len(report.excluded)
    return (
        *([why.OTHER_MODELS] if earlier else []),
        *([f"{why.ACTUALS_UNBELIEVABLE}:{excluded}"] if excluded else []),
    )


# The route -----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class AccuracyAsked:
    """The account whose predictions are judged."""

    account_id: str


@dataclass(frozen=True, kw_only=True)
class AccuracyShown:
    """How good predictions were; every figure is null while ``data_status`` is insufficient.

    ``accuracy`` (0-1) leaves out what counting clicks makes (``counting_error``); ``intervals`` go
    with each figure; ``model_version`` is null when several models' predictions are judged
    together. ``drift``: whether errors changed over time, null while unknown.
    """

    accuracy: float | None
    rmse: float | None
    mae: float | None
    r_squared: float | None
    n: int
    data_status: str
    model_version: str | None
    intervals: dict[str, list[float]]
    accuracy_as_seen: float | None
    counting_error: float | None
    calibration: list[dict[str, Any]]
    per_model: dict[str, dict[str, Any]]
    drift: bool | None
    drift_evidence: dict[str, Any]
    degraded: list[str] = field(default_factory=list)


def calculate_accuracy(call: Call) -> AccuracyShown:
    """Judge the account's predictions by its stored actuals, as loop 2 does; nothing is stored."""
    asked: AccuracyAsked = call.body
    account_id = identifier(asked.account_id, "account_id")
    policy = policy_of(call.ports.documents, account_id)
    report = judge(call.ports.documents, account_id, policy, call.ports.clock.now(), "asked")
    return AccuracyShown(**members_of(report), degraded=list(degraded_of(report)))


def serve(api: Api) -> None:
    """The route of loop 2."""
    api.post("/api/ml/accuracy/calculate", body=AccuracyAsked, answer=AccuracyShown)(
        calculate_accuracy
    )
