"""HubSpot's webhook: verified on its raw bytes, stored, and answered before anything is read.

The gateway and the public function ``hubspot_webhook`` serve the same handler. HubSpot's own array
of events becomes ``hubspot_events`` and ``DealsTouched``; the flat form of workflows and
scripts names ad, deal and stage and is credited at once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from geminivideo import money
from geminivideo.crm import signature
from geminivideo.crm.webhook import DealEvent, PayloadError
from geminivideo.crm.webhook import parse as parse_events
from geminivideo.records import Account, AdState, CrmEvent, StageSeen, TrackedClick
from geminivideo.runtime import outbox
from geminivideo.runtime.http import Api, ApiError, Call, identifier, parse, unavailable
from geminivideo.services import crediting
from geminivideo.topology import NOT_CONFIGURED, Need, variable_of

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "/api/webhook/hubspot"
SECRET = variable_of(Need.HUBSPOT_SECRET)
URLS = "GV_HUBSPOT_URL"  # the public URLs that HubSpot may have called, comma-separated
SCHEME = "GV_HUBSPOT_SIGNATURE"  # v3, or v1 by choice
PROFILE = "GV_PROFILE"  # "local" on a cloud of this machine, which alone sets it
DEFAULT_ACCOUNT = "default"
_MOST_EPOCH_S = 1e11  # a larger timestamp is milliseconds
_AHEAD_S = 86_400.0  # how far a caller's clock may be ahead


@dataclass(frozen=True, kw_only=True)
class StageChange:
    """The flat form; ``deal_value`` is in major units, ``timestamp`` epoch (s or ms) or ISO 8601.

    ``pipeline`` is HubSpot's id of it; without ``timestamp`` it happened now.
    """

    ad_id: str
    deal_id: str
    stage: str
    deal_value: float | str | None = None
    timestamp: float | str | None = None
    pipeline: str = "default"


@dataclass(frozen=True, kw_only=True)
class SyntheticRevenue:
    """What the deal is worth now, by how much this call changed that (major units), how sure."""

    value: float
    incremental: float
    confidence: float
    currency: str


@dataclass(frozen=True, kw_only=True)
class StageCredited:
    """The flat form's answer; ``pipeline_roas`` is null while the ad's spend is unknown.

    ``credited`` is what the ad has of the deal: value x attribution confidence (major units).
    """

    status: str
    deal_id: str
    ad_id: str | None
    stage: str | None
    synthetic_revenue: SyntheticRevenue
    credited: float
    pipeline_roas: float | None
    attribution: str
    attribution_confidence: float
    verified: bool
    degraded: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class EventsTaken:
    """How many events about deals were stored, and how many were about something else."""

    status: str
    events: int
    ignored: int
    verified: bool


@dataclass(frozen=True, kw_only=True)
class ClickSeen:
    """A click as the landing page saw it; ``timestamp`` as in the flat form, by default now."""

    ad_id: str
    click_id: str = ""
    fbclid: str = ""
    fingerprint: str = ""
    ip: str = ""
    user_agent: str = ""
    timestamp: float | str | None = None


@dataclass(frozen=True, kw_only=True)
class ClickRecorded:
    """The stored click; the same click sent again is the same one."""

    status: str
    id: str


def receive(call: Call) -> EventsTaken | StageCredited:
    """Take HubSpot's events, or credit one stage change of the flat form; 401 unless signed."""
    verified = _verified(call)
    if call.raw.lstrip()[:1] == b"[":
        return _taken(call, verified)
    return _credited(call, parse(call.raw, StageChange), verified)


# Whether it is HubSpot's ---------------------------------------------------------------------


def _verified(call: Call, environ: Mapping[str, str] = os.environ) -> bool:
    """True when HubSpot signed it, False when nobody could and that is allowed here.

    Raises 401, with a line in the security log, or 503 when no secret is configured.
    """
    secret = environ.get(SECRET, "")
    if secret in ("", NOT_CONFIGURED):
        if environ.get(PROFILE) == "local":
            return False
        raise ApiError(
            503,
            "webhooks cannot be verified: set the stack's hubspotSecret to the app's client secret",
        )
    reason = _refusal(call, secret, environ)
    if reason is None:
        return True
    call.ports.log.warning(
        "webhook refused: %s", reason, extra={"alert": "webhook-signature", "bytes": len(call.raw)}
    )
    raise ApiError(401, "the request is not signed by HubSpot; the security log says why")


def _refusal(call: Call, secret: str, environ: Mapping[str, str]) -> str | None:
    """Why no public URL of ours fits the signature, or None: one does."""
    urls = [url.strip() for url in environ.get(URLS, "").split(",") if url.strip()]
    if not urls:
        return f"{URLS} is not set: nothing can be compared with the signature"
    requests = [
        signature.SignedRequest(method="POST", uri=url, body=call.raw, headers=call.headers)
        for url in urls
    ]
    if environ.get(SCHEME) == "v1":
        return signature.refusal_v1(requests[0], secret)
    now = call.ports.clock.now()
    reasons = [signature.refusal(request, secret, now) for request in requests]
    return None if None in reasons else reasons[-1]


# HubSpot's array -----------------------------------------------------------------------------


def _taken(call: Call, verified: bool) -> EventsTaken:
    """Store the events and what they wake in one commit; what is then not published is swept."""
    try:
        payload = parse_events(call.raw)
    except PayloadError as error:
        raise ApiError(422, f"the body is {error}") from error
    now = call.ports.clock.now()
    rows = _rows(payload.events, now)
    stored = {f"hubspot_events/{e.key}": _record(e, now, verified) for e in payload.events}
    if stored:
        call.ports.documents.set_all({**stored, **{row.path: row for row in rows}})
        _publish(call, rows)
    return EventsTaken(
        status="accepted", events=len(payload.events), ignored=payload.ignored, verified=verified
    )


def _rows(events: Iterable[DealEvent], now: float) -> list[outbox.OutboxRow]:
    """What wakes the crediting; the same events, however often they come, wake it once."""
    keys: dict[int, dict[str, list[str]]] = {}
    for event in events:
        keys.setdefault(event.portal_id, {}).setdefault(event.deal_id, []).append(event.key)
    touched = [
        one
        for portal_id, by_deal in keys.items()
        for one in crediting.touches(portal_id, {d: _cause(told) for d, told in by_deal.items()})
    ]
    return [outbox.row_of(one, f"hubspot:{one.key.replace('/', '-')}", 0, now) for one in touched]


def _cause(keys: list[str]) -> str:
    """One for all events of a deal."""
    whole = "".join(sorted(keys))
    return whole if len(keys) == 1 else hashlib.sha256(whole.encode()).hexdigest()[:32]


def _record(event: DealEvent, now: float, verified: bool) -> CrmEvent:
    return CrmEvent(
        id=event.key, portal_id=event.portal_id, deal_id=event.deal_id, member=event.member,
        value=event.value, occurred_at=event.occurred_at, received_at=now, kind=event.kind,
        subscription_id=event.subscription_id, source=event.source, verified=verified,
    )  # fmt: skip


def _publish(call: Call, rows: list[outbox.OutboxRow]) -> None:
    """HubSpot waits five seconds: what the bus does not take now, the sweeper publishes."""
    try:
        outbox.publish(call.ports.documents, call.ports, rows)
    except Exception as error:
        if unavailable(error) is None:
            raise
        call.ports.log.warning("%d deals wait in the outbox: %s", len(rows), type(error).__name__)


# The flat form -------------------------------------------------------------------------------


def _credited(call: Call, asked: StageChange, verified: bool) -> StageCredited:
    documents, now = call.ports.documents, call.ports.clock.now()
    ad_id = identifier(asked.ad_id, "ad_id")
    account = _account_of(call, ad_id)
    reading = _reading(asked, account, ad_id, now, verified)
    settled = crediting.credit(documents, account, reading, now)
    crediting.warn(call.ports.log, settled)
    return _answer(call, settled, account.currency, verified)


def _reading(
    asked: StageChange, account: Account, ad_id: str, now: float, verified: bool
) -> crediting.Reading:
    if not asked.stage.strip():
        raise ApiError(422, "stage must name a stage of the pipeline")
    at = now if asked.timestamp is None else epoch_of(asked.timestamp, "timestamp", now)
    seen = StageSeen(
        pipeline=asked.pipeline, stage=asked.stage, at=at, amount=_amount(asked, account.currency)
    )
    return crediting.Reading(
        portal_id=account.hubspot_portal_id or 0,
        deal_id=identifier(asked.deal_id, "deal_id"),
        at=now,
        history=(seen,),
        began_at=at,
        named_ad=ad_id,
        verified=verified,
    )


def _amount(asked: StageChange, currency: str) -> int | None:
    if asked.deal_value is None:
        return None
    try:
        amount = money.minor(asked.deal_value, currency)
    except money.AmountError as error:
        raise ApiError(422, f"deal_value: {error}") from error
    if amount < 0:
        raise ApiError(422, "deal_value must not be below 0")
    return amount


def _account_of(call: Call, ad_id: str) -> Account:
    found = crediting.account_of_ad(call.ports.documents, ad_id)
    account = found or call.ports.documents.get(f"accounts/{DEFAULT_ACCOUNT}", Account)
    if account is None:
        raise ApiError(
            404, f"nobody knows ad {ad_id[:80]}, and there is no accounts/{DEFAULT_ACCOUNT}"
        )
    return account


def _answer(call: Call, settled: crediting.Settled, currency: str, verified: bool) -> StageCredited:
    deal = settled.deal
    state = call.ports.documents.get(f"ad_states/{deal.ad_id}", AdState) if deal.ad_id else None
    return StageCredited(
        status="credited" if settled.events else "unchanged",
        deal_id=deal.deal_id,
        ad_id=deal.ad_id,
        stage=settled.credit.stage,
        synthetic_revenue=SyntheticRevenue(
            value=money.major(deal.value, currency),
            incremental=money.major(settled.increment, currency),
            confidence=settled.credit.confidence,
            currency=currency,
        ),
        credited=money.major(deal.credited, currency),
        pipeline_roas=round(state.pipeline_value / state.spend, 6)
        if state is not None and state.spend > 0
        else None,
        attribution=deal.attribution,
        attribution_confidence=deal.attribution_confidence,
        verified=verified,
        degraded=list(deal.degraded),
    )


# Clicks --------------------------------------------------------------------------------------


def record_click(call: Call) -> ClickRecorded:
    """Record a click on an ad, so that a deal that comes of it can be attributed."""
    seen: ClickSeen = call.body
    ad_id = identifier(seen.ad_id, "ad_id")
    if not (seen.click_id or seen.fbclid or seen.fingerprint or (seen.ip and seen.user_agent)):
        raise ApiError(422, "click_id, fbclid, fingerprint, or ip and user_agent must be given")
    now = call.ports.clock.now()
    at = now if seen.timestamp is None else epoch_of(seen.timestamp, "timestamp", now)
    click = TrackedClick(
        id=_click_id(seen, at), account_id=_account_of(call, ad_id).id, ad_id=ad_id, at=at,
        click_id=seen.click_id, fbclid=seen.fbclid, fingerprint=seen.fingerprint, ip=seen.ip,
        user_agent=seen.user_agent,
    )  # fmt: skip
    call.ports.documents.set(f"clicks/{click.id}", click)
    return ClickRecorded(status="recorded", id=click.id)


def _click_id(seen: ClickSeen, at: float) -> str:
    """The same click, sent twice, is one; a click id alone is enough to tell that."""
    named = seen.click_id or seen.fbclid
    same = (seen.ad_id, named) if named else (seen, round(at))
    return hashlib.sha256(msgspec.json.encode(same)).hexdigest()[:32]


def epoch_of(value: float | str, member: str, now: float) -> float:
    """A time of the outside as UTC epoch seconds; raises 422 naming the member.

    Nothing happened more than a day ahead of us: such a stage would stand for ever.
    """
    from datetime import UTC, datetime

    try:
        number = float(value)
    except ValueError:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError as error:
            raise ApiError(422, f"{member} is no time: {str(value)[:40]!r}") from error
        number = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 < number < _MOST_EPOCH_S * 1000:
        raise ApiError(422, f"{member} is no time: {str(value)[:40]!r}")
    at = number / 1000 if number >= _MOST_EPOCH_S else number
    if at > now + _AHEAD_S:
        raise ApiError(422, f"{member} {str(value)[:40]!r} is in the future")
    return at


def serve_webhook(api: Api, path: str) -> None:
    """The webhook alone: its body is read after its signature is checked."""
    types = {"body": StageChange, "parsed": False, "answer": (EventsTaken, StageCredited)}
    api.post(path, **types)(receive)


def serve(api: Api) -> None:
    """The routes of the gateway."""
    serve_webhook(api, PATH)
    api.post("/api/clicks", body=ClickSeen, answer=ClickRecorded)(record_click)
