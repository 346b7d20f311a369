"""HubSpot's payloads in both dialects."""

import json
from typing import Any

import pytest
from geminivideo.crm.webhook import MAX_EVENTS, PayloadError, parse

OLD = {
    "objectId": 1246965, "propertyName": "dealstage", "propertyValue": "appointmentscheduled",
    "changeSource": "CRM_UI", "eventId": 3816279340, "subscriptionId": 25, "portalId": 33,
    "appId": 1160452, "occurredAt": 1462216307945, "subscriptionType": "deal.propertyChange",
    "attemptNumber": 0,
}  # fmt: skip
NEW = {key: value for key, value in OLD.items() if key != "subscriptionType"} | {
    "eventType": "object.propertyChange", "objectTypeId": "0-3",
}  # fmt: skip


def body(*events: dict[str, Any]) -> bytes:
    return json.dumps(events).encode()


@pytest.mark.parametrize("dialect", [OLD, NEW, NEW | {"subscriptionType": "object.propertyChange"}])
def test_both_dialects_say_the_same(dialect: dict[str, Any]) -> None:
    """Old and new apps tell of a stage in different words."""
    (event,) = parse(body(dialect)).events
    assert (event.portal_id, event.deal_id, event.value) == (33, "1246965", "appointmentscheduled")
    assert event.occurred_at == 1462216307.945
    assert event.changes_stage


def test_a_repeated_delivery_is_the_same_event() -> None:
    """Neither the event's id nor the attempt makes it another one."""
    again = OLD | {"eventId": 99, "attemptNumber": 3}
    payload = parse(body(OLD, again))
    assert len(payload.events) == 1
    assert parse(body(again)).events[0].key == payload.events[0].key


@pytest.mark.parametrize(
    "change",
    [
        {"portalId": 34},
        {"objectId": 7},
        {"occurredAt": 1462216307946},
        {"propertyValue": "closedwon"},
        {"subscriptionId": 26},
        {"propertyName": "amount"},
    ],
)
def test_what_differs_is_another_event(change: dict[str, Any]) -> None:
    """Portal, object, time, value, subscription and property each make a difference."""
    first, second = parse(body(OLD, OLD | change)).events
    assert first.key != second.key


def test_other_objects_are_ignored_and_counted() -> None:
    """Contacts, and new types that nobody knows yet, are no error."""
    contact = OLD | {"subscriptionType": "contact.propertyChange"}
    company = NEW | {"objectTypeId": "0-2"}
    renamed = OLD | {"subscriptionType": "deal.associationChange"}
    payload = parse(body(OLD, contact, company, renamed))
    assert (len(payload.events), payload.ignored) == (1, 3)


@pytest.mark.parametrize(
    "kind",
    [
        {"subscriptionType": "deal.merge"},
        {"objectTypeId": "0-3", "subscriptionType": "object.merge"},
    ],
)
def test_a_merge_is_about_each_of_its_deals(kind: dict[str, Any]) -> None:
    """Those that ended and the one they live on in are all to be read again."""
    merge = {k: v for k, v in OLD.items() if not k.startswith("property") and k != "objectId"}
    ids = {"primaryObjectId": 7, "mergedObjectIds": [8, 9], "newObjectId": 10}
    payload = parse(body(merge | ids | kind))
    assert [event.deal_id for event in payload.events] == ["7", "10", "8", "9"]
    assert payload.ignored == 0


def test_a_new_deal_has_a_stage_too() -> None:
    """Creation carries no property and still asks for the deal to be read."""
    created = {k: v for k, v in OLD.items() if not k.startswith("property")}
    (event,) = parse(body(created | {"subscriptionType": "deal.creation"})).events
    assert event.changes_stage
    (amount,) = parse(body(OLD | {"propertyName": "amount"})).events
    assert not amount.changes_stage


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "not a list"),
        (b"{}", "not a list"),
        (b"[1]", "not a list"),
        (b"\xff", "not a list"),
        (body({k: v for k, v in OLD.items() if k != "objectId"}), "objectId"),
        (body(OLD | {"occurredAt": "yesterday"}), "occurredAt"),
        (b"[" * 5000, "not a list"),
    ],
)
def test_what_is_no_webhook_is_refused_by_name(raw: bytes, named: str) -> None:
    """The member that differs stands in the error."""
    with pytest.raises(PayloadError, match=named):
        parse(raw)


def test_more_than_a_hundred_events_are_not_hubspots() -> None:
    """The documented batch size is a bound."""
    assert len(parse(body(*[OLD | {"objectId": n} for n in range(MAX_EVENTS)])).events) == 100
    with pytest.raises(PayloadError, match="101 events"):
        parse(body(*[OLD] * 101))
