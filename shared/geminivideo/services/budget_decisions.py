"""What a decision over an account's budgets is made of, and where its record is kept."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import TYPE_CHECKING

from geminivideo import money
from geminivideo.budget import gathering, lag, revenue
from geminivideo.budget.decision import DecisionRecord, Request
from geminivideo.budget.gate import Outcome
from geminivideo.budget.gathering import Unit
from geminivideo.budget.lag import Delay
from geminivideo.budget.revenue import Rise, StageMap
from geminivideo.budget.signals import HOUR_S, AdSignals, LagCurve
from geminivideo.cloud.documents import Query
from geminivideo.policy import GatePolicy, Policy
from geminivideo.records import (
    Account,
    AccountReading,
    AdState,
    BoughtDay,
    BudgetVerdict,
    ChangeStatus,
    CreditedDeal,
    PendingChange,
    StageSeen,
)
from geminivideo.safe_executor.ledger import BudgetWindow, adset_window_path, reading_path
from geminivideo.services import crediting, prior_moves

if TYPE_CHECKING:
    from geminivideo.cloud.documents import Documents
    from geminivideo.cloud.files import Files
    from geminivideo.events import ObjectRef

PLAIN_UP_TO = 256 * 1024
_JSON, _GZIP = "application/json", "application/gzip"
Rises = Callable[[Iterable[StageSeen]], Sequence[Rise]]
_READ = tuple(member.name for member in fields(CreditedDeal))


@dataclass(frozen=True, kw_only=True)
class Found:
    """What is known of an account's budgets at ``now``, and the units nothing is decided for.

    ``beginnings`` are the times from clicks to the deals that came of them, ``bought`` how soon
    after their clicks people bought.
    """

    account_id: str
    now: float
    signals: tuple[AdSignals, ...]
    shared: dict[str, Unit]  # units of several ads, by id
    undecided: tuple[tuple[Unit, str], ...]
    beginnings: tuple[Delay, ...]
    bought: tuple[BoughtDay, ...] = ()


def verdict_path(flow_id: str, unit_id: str) -> str:
    """``budget_cycles/{flow}/verdicts/{unit}``."""
    return f"budget_cycles/{flow_id}/verdicts/{unit_id}"


def rising_by(stages: StageMap) -> Rises:
    """When a deal's value rose by one stage map; stages and pipelines are compared by name."""
    named = crediting.normalised(stages)
    return lambda history: revenue.rises(crediting.by_name(history), named)


def gather(
    documents: Documents,
    account: Account,
    policy: Policy,
    now: float,
    rising: Callable[[StageMap], Rises] = rising_by,
) -> Found:
    """Everything that one decision rests on, read in pages.

    ``rising`` makes the function that says when a deal's value rose by a stage map.
    """
    running = [("account_id", "==", account.id), ("status", "==", gathering.DELIVERING)]
    units = gathering.units_of(chain(*documents.pages(Query("ad_states", running), AdState)))
    deals = _deals(documents, account, policy, now)
    refused = [(unit, gathering.undecidable(unit)) for unit in units]
    decidable = [unit for unit, reason in refused if reason is None]
    ripening = _ripening(documents, account, deals, policy, now, rising)
    reading = documents.get(reading_path(account.id), AccountReading)
    signals = tuple(_signals(documents, account, decidable, deals, policy, now, ripening, reading))
    ads_of = {unit.id: unit.ad_ids for unit in decidable if len(unit.ads) > 1}
    return Found(
        account_id=account.id,
        now=now,
        signals=prior_moves.moved(documents, account.id, signals, ads_of, policy, now),
        shared={unit.id: unit for unit in units if len(unit.ads) > 1},
        undecided=tuple((unit, reason) for unit, reason in refused if reason is not None),
        beginnings=tuple(gathering.beginnings_of(deals, now, policy.lag.max_days)),
        bought=reading.bought if reading else (),
    )


def _deals(
    documents: Documents, account: Account, policy: Policy, now: float
) -> list[CreditedDeal]:
    """Those that may count, by id. Of one whose beginning is not known the click's time tells:
    null is found by no comparison."""
    of_account, since = ("account_id", "==", account.id), gathering.horizon(policy, now)
    unknown = ("began_at", "==", None)
    asked = (
        Query("deals", [of_account, ("began_at", ">=", since)], ["began_at"], members=_READ),
        Query(
            "deals", [of_account, unknown, ("clicked_at", ">=", since)], ["clicked_at"],
            members=_READ,
        ),
    )  # fmt: skip
    pages = chain(*(documents.pages(query, CreditedDeal) for query in asked))
    found = {deal.id: deal for page in pages for deal in page if deal.ad_id}
    return [found[deal_id] for deal_id in sorted(found)]


def _signals(
    documents: Documents,
    account: Account,
    units: list[Unit],
    deals: list[CreditedDeal],
    policy: Policy,
    now: float,
    ripening: LagCurve,
    reading: AccountReading | None,
) -> Iterable[AdSignals]:
    credits = gathering.credits_of(deals)
    windows = _windows(documents, account.id, units, policy, now)
    condense = len(units) > policy.insights.whole_days_up_to
    for unit in units:
        yield gathering.signals(
            unit,
            credits=credits,
            now=now,
            policy=policy,
            ripening=ripening,
            window_budget=windows.get(unit.adset_id or ""),
            min_budget=reading.min_daily_budget if reading else None,
            condense=condense,
        )


def _windows(
    documents: Documents, account_id: str, units: list[Unit], policy: Policy, now: float
) -> dict[str, int]:
    """The budget at the velocity window's start of every ad set that was changed since.

    A change that leaves the window within ``window_patience_s`` does not count: what is decided
    now waits for that. Else a cycle as long as the window, whose changes are a few seconds late,
    would have half of each step taken away by the one before.
    """
    rules = policy.executor
    since = now + rules.window_patience_s - rules.budget_window_hours * HOUR_S
    query = Query(
        "pending_ad_changes", [("account_id", "==", account_id), ("finished_at", ">", since)]
    )
    changed = {
        adset_window_path(str(change.payload["adset_id"])): str(change.payload["adset_id"])
        for change in documents.query(query, PendingChange)
        if change.status is ChangeStatus.COMPLETED and change.payload.get("adset_id")
    }
    windows = documents.get_many(changed, BudgetWindow)
    live = {adset_window_path(unit.adset_id or ""): unit.ads[0].daily_budget for unit in units}
    started = {
        changed[path]: window_start(window, since, live.get(path))
        for path, window in windows.items()
    }
    return {adset: budget for adset, budget in started.items() if budget is not None}


def window_start(window: BudgetWindow, since: float, live: int | None = None) -> int | None:
    """The budget before the first change since; ``None`` without one.

    A change that somebody else made begins a new history, as it does for the executor: one that
    was found there, or that shows in a ``live`` budget which is not our last.
    """
    recent = [entry for entry in window.entries if entry.open or entry.at > since]
    foreign = [number for number, entry in enumerate(recent) if entry.foreign]
    ours = recent[foreign[-1] + 1 :] if foreign else recent
    if not ours or (live is not None and not ours[-1].open and ours[-1].after != live):
        return None
    return ours[0].before


def _ripening(
    documents: Documents,
    account: Account,
    deals: list[CreditedDeal],
    policy: Policy,
    now: float,
    rising: Callable[[StageMap], Rises],
) -> LagCurve:
    """How a deal's value comes after its beginning, learned from the account's deals."""
    rises = rising(crediting.stages_of(documents, account, policy.revenue))
    delays = gathering.ripenings_of(
        deals, lambda deal: rises(deal.history), now, policy.ripening.max_days
    )
    return lag.learn(delays, policy.ripening)


def has_foreign_thresholds(account: Account, policy: Policy) -> bool:
    """Whether amounts that were set for cents decide in a currency without them.

    100.00 before a cut and 200.00 before a stop would be 10,000 and 20,000 whole units there: much
    in yen, and less than a dollar in dong.
    """
    default = GatePolicy()
    ours = (policy.gate.ignorance_spend, policy.gate.kill_spend)
    return money.decimals(account.currency) == 0 and ours == (
        default.ignorance_spend,
        default.kill_spend,
    )


def request_of(found: Found, policy: Policy, flow_id: str) -> Request:
    """The decision's request; its seed is the flow's, so that each cycle draws anew."""
    direct = policy.sampler.mode == "direct"
    return Request(
        account_id=found.account_id,
        decided_at=found.now,
        ads=found.signals,
        lag=_buying(found, policy) if direct else lag.learn(found.beginnings, policy.lag),
        seed=seed_of(flow_id),
        policy=gathering.deciding_policy(policy, found.signals),
        total=policy.allocation.daily_total,
    )


def _buying(found: Found, policy: Policy) -> LagCurve:
    """How long after their clicks people buy, by what Meta told of the last weeks."""
    soon = sum(day.within_day for day in found.bought)
    every = sum(day.within_week for day in found.bought)
    return lag.learn_purchases(min(soon, every), every, policy.purchasing)


def seed_of(text: str) -> int:
    """A seed that anybody can derive again."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6])


def keep_units(documents: Documents, flow_id: str, found: Found) -> None:
    """What the gate's verdict needs to know: which ads share a budget, and why none is decided."""
    known = {
        unit.id: _verdict(unit, "scored, and not decided yet") for unit in found.shared.values()
    }
    known |= {unit.id: _verdict(unit, reason) for unit, reason in found.undecided}
    documents.set_many((verdict_path(flow_id, id_), verdict) for id_, verdict in known.items())


def _verdict(unit: Unit, reason: str) -> BudgetVerdict:
    """A budget that stays as it is."""
    live = unit.ads[0].daily_budget
    return BudgetVerdict(
        id=unit.id,
        ad_id=unit.id,
        adset_id=unit.adset_id,
        outcome=Outcome.HELD,
        current_budget=live,
        recommended_budget=live or 0,
        approved_budget=None,
        confidence=0.0,
        reason=reason,
        ads=unit.ad_ids,
    )


def store(files: Files, bucket: str, account_id: str, record: DecisionRecord) -> ObjectRef:
    """The record as an object named by its content; a large one is compressed."""
    body = record.encode()
    digest = hashlib.sha256(body).hexdigest()
    name = f"decisions/{account_id}/{digest}.json"
    if len(body) <= PLAIN_UP_TO:
        return files.write(body, bucket, name, _JSON)
    small = gzip.compress(body, compresslevel=3, mtime=0)
    return files.write(small, bucket, f"{name}.gz", _GZIP)


def load(files: Files, ref: ObjectRef) -> DecisionRecord:
    """A stored record."""
    body = files.read(ref)
    return DecisionRecord.decode(gzip.decompress(body) if ref.name.endswith(".gz") else body)
