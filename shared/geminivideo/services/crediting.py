"""Crediting deals to ads: whatever is learned of a deal, in whatever order, ends at one credit.

A ``Reading`` is one thing learned (HubSpot's own record, a caller's flat form, a deletion). It is
merged into ``deals/{portal}-{deal}``, the merged history is folded to a value, the evidence leads
to an ad, and the difference to what was credited before goes to the ads, with one feedback event
each, all in one transaction. Deliveries that are repeated or disordered change nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from geminivideo import money
from geminivideo.budget import revenue
from geminivideo.budget.attribution import Attribution, Click, Touch, attribute
from geminivideo.budget.revenue import Credit, StageMap, StageValue
from geminivideo.cloud.documents import Query
from geminivideo.events import DealsTouched
from geminivideo.policy import AttributionPolicy, Policy, RevenuePolicy
from geminivideo.records import (
    Account,
    AdState,
    ChangeType,
    Deal,
    FeedbackEvent,
    PendingChange,
    StageSeen,
    TrackedClick,
    Unattributed,
)
from geminivideo.runtime.policies import policy_of

if TYPE_CHECKING:
    import logging

    from geminivideo.cloud.documents import Documents, Transaction

NO_INSIGHTS = "no-insights"  # of an ad state: Meta has told nothing of this ad yet
MAX_CLICKS = 100  # that one piece of evidence is looked up in, newest first
_MOST_IN = 30  # values of one "in" filter of Firestore
EVIDENCE = ("click_id", "fbclid", "utm_content", "fingerprint", "ip", "user_agent")


Fold = Callable[[Iterable[StageSeen]], Credit]
Clicks = dict[tuple[str, str], list[TrackedClick]]  # by name and value of their evidence
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What was learned of a deal at ``at``; times are UTC epoch seconds.

    ``touch`` (members of ``EVIDENCE``) is None when the reading says nothing about evidence;
    ``gone``: the deal is not there any more. ``named_ad`` is an ad that the caller names.
    ``modified_at`` is the deal's last change by the CRM's clock.
    """

    portal_id: int
    deal_id: str
    at: float
    history: tuple[StageSeen, ...] = ()
    touch: Mapping[str, str] | None = None
    began_at: float | None = None
    modified_at: float | None = None
    named_ad: str | None = None
    gone: bool = False
    verified: bool = True
    degraded: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """The deal's document."""
        return f"deals/{deal_id_of(self.portal_id, self.deal_id)}"


@dataclass(frozen=True, kw_only=True)
class Settled:
    """A deal after a reading, and what changes because of it.

    ``by_ad`` is the change of each ad's credit (minor units) and count of deals;
    ``unattributed`` the same of what no ad is credited with.
    """

    deal: Deal
    credit: Credit
    attribution: Attribution
    events: tuple[FeedbackEvent, ...] = ()
    by_ad: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    unattributed: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    @property
    def increment(self) -> int:
        """By how much the deal's value changed (minor units), before attribution."""
        return sum(int(event.members["value_change"]) for event in self.events[-1:])


def gone(portal_id: int, deal_id: str, at: float) -> Reading:
    """That a deal is not there any more: deleted, or merged into another."""
    return Reading(portal_id=portal_id, deal_id=deal_id, at=at, gone=True)


def deal_id_of(portal_id: int, deal_id: str) -> str:
    """The id of a deal's document."""
    return f"{portal_id}-{deal_id}"


# Stage maps ----------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def stage_name(stage: str) -> str:
    """A stage id as maps compare it: ``appointment_scheduled`` is ``appointmentscheduled``."""
    return "".join(c for c in stage.lower() if c.isalnum())


def default_stages(policy: RevenuePolicy, currency: str) -> StageMap:
    """The stage map of an account that has none of its own."""
    whole = money.minor(policy.deal_value, currency)

    def key(stage: str) -> str:
        return revenue.stage_key(policy.pipeline, stage)

    return StageMap(
        currency=currency,
        stages={
            key(stage): StageValue(value=round(whole * share), confidence=confidence)
            for stage, share, confidence in policy.stages
        },
        won=frozenset(map(key, policy.won)),
        lost=frozenset(map(key, policy.lost)),
    )


def normalised(stages: StageMap) -> StageMap:
    """The map with its stages as ``stage_name`` writes them."""
    return StageMap(
        currency=stages.currency,
        stages={_key(key): value for key, value in stages.stages.items()},
        won=frozenset(map(_key, stages.won)),
        lost=frozenset(map(_key, stages.lost)),
    )


def _key(key: str) -> str:
    pipeline, _, stage = key.rpartition("/")
    return revenue.stage_key(pipeline.lower(), stage_name(stage))


def fold(history: Iterable[StageSeen], stages: StageMap) -> Credit:
    """``revenue.fold`` with stages and pipelines compared by name."""
    return folding(stages)(history)


def folding(stages: StageMap) -> Fold:
    """``fold`` by one stage map, for many deals."""
    named = normalised(stages)
    return lambda history: revenue.fold(by_name(history), named)


def by_name(history: Iterable[StageSeen]) -> Iterator[StageSeen]:
    """The sightings with their stages and pipelines as a ``normalised`` map has them."""
    for seen in history:
        yield StageSeen(
            pipeline=seen.pipeline.lower(),
            stage=stage_name(seen.stage),
            at=seen.at,
            amount=seen.amount,
        )


def stages_of(documents: Documents, account: Account, policy: RevenuePolicy) -> StageMap:
    """The account's stage map, or the policy's in the account's currency."""
    own = documents.get(f"stage_maps/{account.id}", StageMap)
    return own or default_stages(policy, account.currency)


# What a reading changes: pure ----------------------------------------------------------------


def merged(deal: Deal, reading: Reading) -> Deal:
    """The deal with what the reading adds; the same set of readings ends at the same deal."""
    history = tuple(sorted({*deal.history, *reading.history}, key=_order))
    member = "deleted_at" if reading.gone else "seen_at"
    seen: dict[str, Any] = {member: _latest(getattr(deal, member), reading.at)}
    return replace(
        deal,
        history=history,
        updated_at=max(deal.updated_at, reading.at),
        began_at=_earliest(deal.began_at, reading.began_at),
        modified_at=max(filter(None, (deal.modified_at, reading.modified_at)), default=None),
        **seen,
        **_newer_touch(deal, reading),
        **_newer_name(deal, reading),
    )


def _newer_touch(deal: Deal, reading: Reading) -> dict[str, Any]:
    if reading.touch is None:
        return {}
    new = (reading.at, sorted(reading.touch.items()))
    if deal.touched_at is not None and (deal.touched_at, sorted(deal.touch.items())) >= new:
        return {}
    return {"touch": dict(reading.touch), "touched_at": reading.at, "degraded": reading.degraded}


def _newer_name(deal: Deal, reading: Reading) -> dict[str, Any]:
    if reading.named_ad is None:
        return {}
    at = max((seen.at for seen in reading.history), default=reading.at)
    if deal.named_ad is not None and (deal.named_at or 0.0, deal.named_ad) >= (
        at,
        reading.named_ad,
    ):
        return {}
    return {"named_ad": reading.named_ad, "named_at": at}


def touch_of(deal: Deal) -> Touch:
    """The deal's evidence; a named ad is what ``utm_content`` is when the deal has none."""
    given = {name: deal.touch[name] for name in EVIDENCE if deal.touch.get(name)}
    if deal.named_ad and "utm_content" not in given:
        given["utm_content"] = deal.named_ad
    began = deal.began_at if deal.began_at is not None else deal.updated_at
    return Touch(at=began, **given)


def settle(
    before: Deal, after: Deal, attribution: Attribution, stages: StageMap, reading: Reading
) -> Settled:
    """What ``after`` (``before`` with a reading merged in) is worth, to whom, and what changes."""
    credit = fold(after.history, stages)
    value = 0 if after.is_deleted else credit.value
    credited = revenue.credited(value, attribution.confidence) if attribution.ad_id else 0
    deal = replace(
        after,
        value=value,
        ad_id=attribution.ad_id,
        attribution=str(attribution.method),
        attribution_confidence=attribution.confidence,
        clicked_at=attribution.clicked_at,
        credited=credited,
        degraded=tuple(dict.fromkeys([*_kept(after), *credit.warnings])),
    )
    by_ad = _by_ad(before, deal)
    events = _events(before, deal, by_ad, credit, attribution, reading)
    return Settled(
        deal=replace(deal, events=before.events + len(events)),
        credit=credit,
        attribution=attribution,
        events=events,
        by_ad=by_ad,
        unattributed=_loose(before, deal),
        warnings=tuple(w for w in deal.degraded if w not in before.degraded),
    )


def _kept(deal: Deal) -> list[str]:
    """What was degraded about the reading itself; the fold's warnings are made anew."""
    made = (revenue.UNKNOWN_STAGE, revenue.NO_AMOUNT)
    return [reason for reason in deal.degraded if not reason.startswith(made)]


def _by_ad(before: Deal, deal: Deal) -> dict[str, tuple[int, int]]:
    """Each ad's change: the old ad gives back all it had, the new one gets all there is.

    A deal that was lost is a deal too; one that was deleted is none.
    """
    changes: dict[str, tuple[int, int]] = {}
    for ad_id, credited, count in (
        (before.ad_id, -before.credited, -int(not before.is_deleted)),
        (deal.ad_id, deal.credited, int(not deal.is_deleted)),
    ):
        if ad_id is not None:
            value, deals = changes.get(ad_id, (0, 0))
            changes[ad_id] = (value + credited, deals + count)
    return {ad_id: change for ad_id, change in changes.items() if change != (0, 0)}


def _loose(before: Deal, deal: Deal) -> tuple[int, int]:
    """The change of what no ad is credited with: value (minor units) and deals."""

    def of(one: Deal) -> tuple[int, int]:
        known = bool(one.history) and one.ad_id is None and not one.is_deleted
        return (one.value, 1) if known else (0, 0)

    (value, deals), (value_before, deals_before) = of(deal), of(before)
    return value - value_before, deals - deals_before


def _events(
    before: Deal,
    deal: Deal,
    by_ad: Mapping[str, tuple[int, int]],
    credit: Credit,
    attribution: Attribution,
    reading: Reading,
) -> tuple[FeedbackEvent, ...]:
    """One event for each ad whose credit changes; one without an ad when only value does."""
    changed: list[tuple[str | None, int]] = [
        (ad_id, value) for ad_id, (value, _) in by_ad.items() if value
    ]
    if not changed and deal.value != before.value:
        changed = [(deal.ad_id, 0)]
    last = credit.changes[-1] if credit.changes else None
    return tuple(
        FeedbackEvent(
            id=f"{deal.id}-{before.events + number:04d}",
            kind="deal",
            account_id=deal.account_id,
            occurred_at=last.at if last and not deal.is_deleted else reading.at,
            received_at=reading.at,
            ad_id=ad_id,
            deal_id=deal.deal_id,
            stage_from=_stage_of(before),
            stage_to=None if deal.is_deleted else credit.stage,
            value=value,
            currency=deal.currency,
            attribution=deal.attribution,
            confidence=attribution.confidence,
            verified=reading.verified,
            members={
                "stage_value": deal.value,
                "stage_confidence": credit.confidence,
                "value_change": deal.value - before.value,
                "clicked_at": deal.clicked_at,
                "reason": "the deal was deleted" if deal.is_deleted else attribution.reason,
            },
        )
        for number, (ad_id, value) in enumerate(changed)
    )


def _stage_of(deal: Deal) -> str | None:
    if not deal.history or deal.is_deleted:
        return None
    last = max(deal.history, key=_order)
    return revenue.stage_key(last.pipeline.lower(), stage_name(last.stage))


def _order(seen: StageSeen) -> tuple[float, str, str, int]:
    return (seen.at, seen.pipeline, seen.stage, -1 if seen.amount is None else seen.amount)


def _latest(one: float | None, other: float) -> float:
    return other if one is None else max(one, other)


def _earliest(one: float | None, other: float | None) -> float | None:
    given = [at for at in (one, other) if at is not None]
    return min(given) if given else None


# The transaction -----------------------------------------------------------------------------


def credit(
    documents: Documents,
    account: Account,
    reading: Reading,
    now: float,
    policy: Policy | None = None,
) -> Settled:
    """``credit_all`` of one reading."""
    (settled,) = credit_all(documents, account, [reading], now, policy)
    return settled


def credit_all(
    documents: Documents,
    account: Account,
    readings: Sequence[Reading],
    now: float,
    policy: Policy | None = None,
) -> list[Settled]:
    """Merge, fold, attribute and write, all or nothing; a reading seen before changes nothing.

    ``policy`` is the account's, read here when it is not given.
    """
    policy = policy or policy_of(documents, account.id)
    stages = stages_of(documents, account, policy.revenue)
    clicks = _clicks_ahead(documents, readings)

    def body(transaction: Transaction) -> list[Settled]:
        transaction.read_ahead(*_needed(readings))
        ledger = _Ledger(transaction, account, clicks, now)
        settled = [_credited(ledger, one, stages, policy.attribution) for one in readings]
        ledger.write()
        return settled

    return documents.transact(body)


class _Ledger:
    """What one transaction read and will write: each document once, however many deals move it."""

    def __init__(
        self, transaction: Transaction, account: Account, clicks: Clicks, now: float
    ) -> None:
        self.transaction = transaction
        self.account = account
        self.clicks = clicks
        self.now = now
        self._known: dict[str, Any] = {}
        self._changed: dict[str, None] = {}
        self._events: list[FeedbackEvent] = []

    def get(self, path: str, kind: type[R]) -> R | None:
        """The document as it will be."""
        if path not in self._known:
            self._known[path] = self.transaction.get(path, kind)
        found: R | None = self._known[path]
        return found

    def put(self, path: str, record: Any) -> None:
        """How it will be."""
        self._known[path] = record
        self._changed[path] = None

    def tell(self, events: Iterable[FeedbackEvent]) -> None:
        """New events."""
        self._events += events

    def write(self) -> None:
        """Hand everything to the transaction, which reads no more."""
        for path in self._changed:
            self.transaction.set(path, self._known[path])
        for event in self._events:
            self.transaction.create(f"feedback_events/{event.id}", event)


def _credited(
    ledger: _Ledger, reading: Reading, stages: StageMap, policy: AttributionPolicy
) -> Settled:
    known = ledger.get(reading.path, Deal)
    before = known or _new_deal(ledger.account, reading)
    after = merged(before, reading)
    settled = settle(before, after, _attributed(ledger, after, policy), stages, reading)
    if known is None and reading.gone:
        return settled
    ledger.put(reading.path, settled.deal)
    ledger.tell(replace(event, received_at=ledger.now) for event in settled.events)
    for ad_id, by in settled.by_ad.items():
        _move(ledger, ad_id, by)
    _loosen(ledger, settled.unattributed)
    return settled


def _needed(readings: Iterable[Reading]) -> list[str]:
    """The documents that a crediting most likely reads: deals, and the ads that they name.

    In one order for all, so that two batches of the same ads wait for each other and no more.
    """
    named = {(reading.touch or {}).get("utm_content", "") for reading in readings}
    states = {f"ad_states/{ad_id}" for ad_id in named if ad_id and "/" not in ad_id}
    return sorted({*(reading.path for reading in readings), *states})


def _new_deal(account: Account, reading: Reading) -> Deal:
    return Deal(
        id=deal_id_of(reading.portal_id, reading.deal_id),
        portal_id=reading.portal_id,
        deal_id=reading.deal_id,
        account_id=account.id,
        currency=account.currency,
        updated_at=reading.at,
    )


def _attributed(ledger: _Ledger, deal: Deal, policy: AttributionPolicy) -> Attribution:
    touch = touch_of(deal)
    ads = _own_ads(ledger, touch.utm_content, deal.named_ad)
    return attribute(touch, _clicks(ledger, touch), ads, policy)


def _clicks(ledger: _Ledger, touch: Touch) -> list[Click]:
    """Tracked clicks that share a piece of evidence with the touch, and came before it."""
    asked: list[list[tuple[str, str, object]]] = [
        [(name, "==", getattr(touch, name))]
        for name in ("click_id", "fbclid", "fingerprint")
        if getattr(touch, name)
    ]
    if touch.ip and touch.user_agent:
        asked.append([("ip", "==", touch.ip), ("user_agent", "==", touch.user_agent)])
    found: dict[str, TrackedClick] = {}
    for where in asked:
        known = ledger.clicks.get((where[0][0], str(where[0][2])))
        found |= _before(touch.at, known) if known is not None else _asked(ledger, where, touch.at)
    return [_click(one) for one in found.values() if one.account_id == ledger.account.id]


def _before(at: float, clicks: Iterable[TrackedClick]) -> dict[str, TrackedClick]:
    past = [click for click in clicks if click.at <= at]
    return {click.id: click for click in past[:MAX_CLICKS]}


def _asked(
    ledger: _Ledger, where: list[tuple[str, str, object]], at: float
) -> dict[str, TrackedClick]:
    query = Query("clicks", [*where, ("at", "<=", at)], order=["-at"], limit=MAX_CLICKS)
    return {click.id: click for click in ledger.transaction.query(query, TrackedClick)}


def _clicks_ahead(documents: Documents, readings: Sequence[Reading]) -> Clicks:
    """The clicks of many deals' click ids, in a few queries before the transaction.

    A click that comes meanwhile is one that came after the reading. What finds more clicks than it
    may show is left to be asked deal by deal.
    """
    found: Clicks = {}
    for name in ("click_id", "fbclid") if len(readings) > 1 else ():
        values = {str(one.touch[name]) for one in readings if one.touch and one.touch.get(name)}
        for some in _pieces(sorted(values), _MOST_IN):
            found |= _clicks_by(documents, name, some)
    return found


def _pieces(whole: Sequence[R], most: int) -> list[Sequence[R]]:
    return [whole[at : at + most] for at in range(0, len(whole), most)]


def _clicks_by(documents: Documents, name: str, values: Sequence[str]) -> Clicks:
    query = Query("clicks", [(name, "in", list(values))], order=["-at"], limit=MAX_CLICKS)
    clicks = documents.query(query, TrackedClick)
    if len(clicks) == MAX_CLICKS:
        return {}
    found: Clicks = {(name, value): [] for value in values}
    for click in clicks:
        found[name, getattr(click, name)].append(click)
    return found


def _click(one: TrackedClick) -> Click:
    return Click(
        ad_id=one.ad_id, at=one.at, click_id=one.click_id, fbclid=one.fbclid,
        fingerprint=one.fingerprint, ip=one.ip, user_agent=one.user_agent,
    )  # fmt: skip


def _own_ads(ledger: _Ledger, utm_content: str, named_ad: str | None) -> Sequence[str]:
    """The ad that the deal names, if it is the account's; a named one may be unknown so far."""
    if not utm_content or "/" in utm_content:
        return ()
    state = ledger.get(f"ad_states/{utm_content}", AdState)
    if state is not None:
        return (utm_content,) if state.account_id == ledger.account.id else ()
    made = Query("pending_ad_changes", [("meta_id", "==", utm_content)], limit=5)
    of_ours = any(
        change.account_id == ledger.account.id and change.change_type is ChangeType.CREATE_AD
        for change in ledger.transaction.query(made, PendingChange)
    )
    return (utm_content,) if of_ours or utm_content == named_ad else ()


def _move(ledger: _Ledger, ad_id: str, by: tuple[int, int]) -> None:
    value, deals = by
    path = f"ad_states/{ad_id}"
    state = ledger.get(path, AdState) or AdState(
        id=ad_id,
        account_id=ledger.account.id,
        currency=ledger.account.currency,
        updated_at=ledger.now,
        degraded=(NO_INSIGHTS,),
    )
    moved = replace(
        state,
        pipeline_value=state.pipeline_value + value,
        deals=state.deals + deals,
        updated_at=ledger.now,
    )
    ledger.put(path, moved)


def with_insights(state: AdState) -> AdState:
    """The state of an ad that Meta or a caller has told something of by now."""
    left = tuple(reason for reason in state.degraded if reason != NO_INSIGHTS)
    return replace(state, degraded=left)


def _loosen(ledger: _Ledger, by: tuple[int, int]) -> None:
    if by == (0, 0):
        return
    value, deals = by
    account, path = ledger.account, f"unattributed/{ledger.account.id}"
    total = ledger.get(path, Unattributed) or Unattributed(
        id=account.id, currency=account.currency, updated_at=ledger.now
    )
    moved = replace(
        total, value=total.value + value, deals=total.deals + deals, updated_at=ledger.now
    )
    ledger.put(path, moved)


def warn(log: logging.Logger, settled: Settled) -> None:
    """Tell a person, once per deal and reason, of a stage that is worth nothing unknowingly."""
    for warning in settled.warnings:
        log.warning(
            "deal %s: %s", settled.deal.id, warning, extra={"alert": "stage-map", "why": warning}
        )


# What wakes it -------------------------------------------------------------------------------


def touches(portal_id: int, causes: Mapping[str, str]) -> list[DealsTouched]:
    """The messages about deals of a portal: ``causes`` says what each was touched by.

    The same causes, however often they come, are the same messages.
    """
    told = _pieces(sorted(causes.items()), DealsTouched.MOST)
    return [_touched(portal_id, dict(some)) for some in told]


def _touched(portal_id: int, causes: Mapping[str, str]) -> DealsTouched:
    told = list(causes.items())
    cause = told[0][1] if len(told) == 1 else hashlib.sha256(repr(told).encode()).hexdigest()[:32]
    return DealsTouched(portal_id=portal_id, deal_ids=tuple(causes), cause=cause)


# Whose deal it is ----------------------------------------------------------------------------


def accounts_of_portal(documents: Documents, portal_id: int) -> list[Account]:
    """The ad accounts whose deals a portal holds, in the order of their ids."""
    query = Query("accounts", [("hubspot_portal_id", "==", portal_id)])
    return sorted(documents.query(query, Account), key=lambda account: account.id)


def whose(documents: Documents, accounts: Sequence[Account], reading: Reading) -> Account:
    """Of a portal's accounts the one that the deal is counted to, once and for all: its first
    reading's, which is that of the ad it names, or else the first."""
    if len(accounts) == 1:
        return accounts[0]
    known = documents.get(reading.path, Deal)
    named = known.account_id if known else ""
    utm = (reading.touch or {}).get("utm_content", "")
    if not named and utm and "/" not in utm:
        found = account_of_ad(documents, utm)
        named = found.id if found else ""
    return next((account for account in accounts if account.id == named), accounts[0])


def account_of_ad(documents: Documents, ad_id: str) -> Account | None:
    """The account of an ad that we know from Meta or made ourselves."""
    state = documents.get(f"ad_states/{ad_id}", AdState)
    account_id = state.account_id if state else _maker_account(documents, ad_id)
    return documents.get(f"accounts/{account_id}", Account) if account_id else None


def _maker_account(documents: Documents, ad_id: str) -> str:
    made = Query("pending_ad_changes", [("meta_id", "==", ad_id)], limit=5)
    for change in documents.query(made, PendingChange):
        if change.change_type is ChangeType.CREATE_AD:
            return change.account_id
    return ""
