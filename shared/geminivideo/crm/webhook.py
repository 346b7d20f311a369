"""HubSpot's webhook payloads: up to a hundred events, in the dialects of old and new apps.

Deliveries are repeated and come in any order, ``eventId`` is not unique and ``attemptNumber``
counts deliveries: an event is the same event when portal, subscription, object, property, time and
value are.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from geminivideo.decoding import learned

MAX_EVENTS = 100
DEAL_STAGE = "dealstage"
_DEALS = "0-3"  # HubSpot's object type id of deals, as apps of the new platform name it
_KINDS = ("propertyChange", "creation", "deletion", "restore", "merge")
_OLD_TYPES = frozenset(f"deal.{kind}" for kind in _KINDS)
_NEW_TYPES = frozenset(f"object.{kind}" for kind in _KINDS)


class PayloadError(ValueError):
    """The body is no webhook of HubSpot; the message says where it differs."""


@dataclass(frozen=True, kw_only=True)
class DealEvent:
    """One event about a deal: its ``member`` is ``value`` since ``occurred_at`` (epoch s)."""

    portal_id: int
    deal_id: str
    member: str
    value: str
    occurred_at: float
    subscription_id: int
    kind: str
    source: str = ""

    @property
    def key(self) -> str:
        """The same for every delivery of the same event; fit for a document id."""
        parts = (
            self.portal_id, self.subscription_id, self.deal_id,
            self.member, round(self.occurred_at * 1000), self.value,
        )  # fmt: skip
        return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]

    @property
    def changes_stage(self) -> bool:
        """Whether it tells of a stage (a new deal has one too)."""
        return self.member == DEAL_STAGE or self.kind.endswith(".creation")


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The deals' events of one call, each once, and how many others were ignored."""

    events: tuple[DealEvent, ...]
    ignored: int


class _Event(msgspec.Struct, rename="camel"):
    """An event as HubSpot writes it; both names of its type are in use."""

    portal_id: int
    occurred_at: int
    object_id: int | None = None
    subscription_id: int = 0
    subscription_type: str = ""
    event_type: str = ""
    object_type_id: str = ""
    property_name: str = ""
    property_value: Any = ""
    change_source: str = ""
    primary_object_id: int | None = None
    new_object_id: int | None = None
    merged_object_ids: tuple[int, ...] = ()

    @property
    def kind(self) -> str:
        return self.subscription_type or self.event_type

    @property
    def about_a_deal(self) -> bool:
        of_deals = self.kind in _NEW_TYPES and self.object_type_id == _DEALS
        return self.kind in _OLD_TYPES or of_deals

    @property
    def deals(self) -> tuple[int, ...]:
        """The deals that it is about: a merge ends some and makes or changes another."""
        named = (self.object_id, self.primary_object_id, self.new_object_id)
        found = tuple(dict.fromkeys(i for i in (*named, *self.merged_object_ids) if i is not None))
        if not found:
            raise PayloadError(f"not a list of HubSpot events: a {self.kind} without `objectId`")
        return found


def parse(body: bytes) -> Payload:
    """The events of a webhook call; raises ``PayloadError`` naming the member.

    Events about other objects, and types that are not known, are ignored and counted: HubSpot is
    told 200 for them.
    """
    try:
        found = msgspec.json.decode(body, type=learned(list[_Event]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"not a list of HubSpot events: {error}") from error
    if len(found) > MAX_EVENTS:
        raise PayloadError(f"too long: {len(found)} events, HubSpot sends up to {MAX_EVENTS}")
    about_deals = [event for event in found if event.about_a_deal]
    told = [_deal_event(event, deal) for event in about_deals for deal in event.deals]
    return Payload(events=tuple(dict.fromkeys(told)), ignored=len(found) - len(about_deals))


def _deal_event(event: _Event, deal_id: int) -> DealEvent:
    value = event.property_value
    return DealEvent(
        portal_id=event.portal_id,
        deal_id=str(deal_id),
        member=event.property_name,
        value="" if value is None else str(value),
        occurred_at=event.occurred_at / 1000,
        subscription_id=event.subscription_id,
        kind=event.kind,
        source=event.change_source,
    )
