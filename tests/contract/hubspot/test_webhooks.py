"""Webhooks of the double, checked by our verifier and by HubSpot's own."""

import hashlib

import pytest
from geminivideo.crm import signature, webhook
from hubspot.utils.signature import Signature

SECRET = "yyyyyyyy-yyyy-yyyy-yyyy-yyyyyyyyyyyy"


def test_a_call_is_signed_as_the_page_says(start, target, clock):
    """ "Validating requests", v3: our verifier and HubSpot's own helper both accept it."""
    start(target_url=target.url).create(dealstage="appointmentscheduled")
    call = target.wait(1)[0]
    request = signature.SignedRequest(
        method="POST", uri=target.url, body=call.body, headers=call.headers
    )
    assert signature.refusal(request, SECRET, clock.now()) is None
    # HubSpot's helper reads machine time, and this clock stands near it.
    assert Signature.is_valid(
        signature=call.headers["X-HubSpot-Signature-v3"],
        client_secret=SECRET,
        request_body=call.body.decode(),
        http_uri=target.url,
        http_method="POST",
        signature_version="v3",
        timestamp=call.headers["X-HubSpot-Request-Timestamp"],
    )


def test_private_apps_sign_with_v1(start, target):
    """ "Validating requests", v1: the hex SHA-256 of secret and body."""
    start(target_url=target.url, signature="v1").create(dealstage="appointmentscheduled")
    call = target.wait(1)[0]
    wanted = hashlib.sha256(SECRET.encode() + call.body).hexdigest()
    assert call.headers["X-HubSpot-Signature"] == wanted


@pytest.mark.parametrize(
    ("platform", "kinds"),
    [
        (False, ["deal.creation", "deal.propertyChange", "deal.deletion"]),
        (True, ["object.creation", "object.propertyChange", "object.deletion"]),
    ],
)
def test_both_dialects_tell_of_creation_change_and_deletion(start, target, platform, kinds):
    """Webhooks API: event types of old and new apps; our parser reads both."""
    server = start(target_url=target.url, platform=platform, batch=1)
    deal = server.create(dealstage="appointmentscheduled")
    server.move(deal, "contractsent")
    server.archive(deal)
    calls = target.wait(3)
    told = [event for call in calls for event in call.events]
    events = sorted(told, key=lambda event: kinds.index(event["subscriptionType"]))
    assert [e["subscriptionType"] for e in events] == kinds
    parsed = [webhook.parse(call.body) for call in calls]
    assert [(len(p.events), p.ignored) for p in parsed] == [(1, 0)] * 3
    assert (events[1]["propertyName"], events[1]["propertyValue"]) == ("dealstage", "contractsent")


def test_up_to_a_hundred_events_come_in_one_call(start, target):
    """Webhooks API: batches of at most 100."""
    server = start()
    for _ in range(130):
        server.create(dealstage="appointmentscheduled")
    server.webhooks.target_url = target.url
    server.webhooks.ring()
    calls = target.wait(2)
    assert sorted(len(call.events) for call in calls) == [30, 100]


def test_a_refused_call_is_made_again_within_a_day_and_then_lost(start, target, clock, eventually):
    """Webhooks API, "Retries": up to ten times over 24 hours, ``attemptNumber`` counts them."""
    target.statuses = [500] * 11
    server = start(target_url=target.url)
    server.create(dealstage="appointmentscheduled")
    begun = clock.now()
    for attempt in range(11):
        calls = target.wait(attempt + 1)
        assert calls[-1].events[0]["attemptNumber"] == attempt
        if attempt < 10:
            eventually(lambda n=attempt: server.portal.events()[0].attempt > n)
            clock.advance(server.portal.events()[0].due - clock.now() + 1)
            server.clock_moved()
    assert clock.now() - begun <= 24 * 3600 + 11
    eventually(lambda: server.portal.events()[0].state == "lost")


def test_a_script_doubles_and_drops_calls(start, target, clock, eventually):
    """ "Webhook events may be delivered more than once and out of order"."""
    server = start(target_url=target.url)
    server.fault("webhook hubspot", duplicate=2)
    server.create(dealstage="appointmentscheduled")
    first, second = target.wait(2)
    assert first.body == second.body
    server.fault("webhook hubspot", drop="before")
    server.create(dealstage="contractsent")
    eventually(lambda: server.portal.events()[1].attempt == 1)
    clock.advance(3600.0)
    server.clock_moved()
    assert target.wait(3)[2].events[0]["attemptNumber"] == 1


def test_a_value_that_stays_is_no_change(start, target):
    """A property that is written with the value it has wakes nobody."""
    server = start(target_url=target.url)
    deal = server.create(dealstage="contractsent")
    target.wait(1)
    server.move(deal, "contractsent")
    assert len(server.portal.events()) == 1
