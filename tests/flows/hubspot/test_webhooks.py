"""HubSpot's webhooks over the wire: what is refused, what is stored, what is credited."""

import json

import pytest

from emulators.faults.rules import Reorder

APPOINTMENT, SHOWN = 2250_00, 9000_00


def body_of(*events):
    return json.dumps(list(events), separators=(",", ":")).encode()


@pytest.fixture
def tampered(signed, event):
    """name -> (body, headers): each is wrong in one way."""
    now = signed.now()
    body = body_of(event("77", "closedwon", now))
    fine = signed.sign(body)
    return {
        "unsigned": (body, {}),
        "forged": (body, signed.sign(body, secret="someone-elses")),
        "replayed": (body, signed.sign(body, at=now - 360)),
        "future": (body, signed.sign(body, at=now + 360)),
        "re-serialised": (json.dumps(json.loads(body), indent=1).encode(), fine),
        "truncated": (body[:-20], fine),
        "other-url": (body, signed.sign(body, url="https://elsewhere.example/hook")),
        "not-ascii": (body, {**fine, "X-HubSpot-Signature-v3": "\xe9\xe9"}),
    }


@pytest.mark.parametrize(
    "how",
    [
        "unsigned", "forged", "replayed", "future", "re-serialised", "truncated", "other-url",
        "not-ascii",
    ],
)  # fmt: skip
def test_what_hubspot_did_not_send_is_refused_and_leaves_nothing(signed, tampered, how):
    """401, nothing stored, and one line for the security log; at both doors."""
    before = len(signed.events())
    body, headers = tampered[how]
    for door in ("hubspot-webhook", "gateway"):
        told = len(signed.alerts(door))
        status, answer = signed.post(body, headers, signed.url(door))
        assert (status, list(answer)) == (401, ["error"])
        signed.eventually(lambda door=door, told=told: len(signed.alerts(door)) == told + 1)
    assert len(signed.events()) == before


def test_a_valid_call_twice_is_stored_and_credited_once(signed, event):
    """The same events again: the same documents, no second credit."""
    signed.add_ad("ad-twice")
    deal = signed.hubspot.create(dealstage="appointmentscheduled", utm_content="ad-twice")
    credited = round(APPOINTMENT * 0.95)
    signed.eventually(lambda: signed.ad("ad-twice").pipeline_value == credited)
    body = body_of(event(deal, "appointmentscheduled", signed.now()))
    for door in ("hubspot-webhook", "gateway", "hubspot-webhook"):
        status, answer = signed.post(body, signed.sign(body), signed.url(door))
        assert (status, answer) == (
            200, {"status": "accepted", "events": 1, "ignored": 0, "verified": True},
        )  # fmt: skip
    signed.quiet()
    assert len([e for e in signed.events() if e.deal_id == deal]) == 2
    assert (signed.ad("ad-twice").pipeline_value, signed.ad("ad-twice").deals) == (credited, 1)
    (credit,) = signed.credits(deal)
    assert (credit.value, credit.attribution, credit.verified) == (credited, "utm_content", True)


def test_stages_out_of_order_end_at_the_last_one(signed):
    """Told backwards and doubled, the newest stage by its own time stands."""
    signed.add_ad("ad-mixed")
    signed.hubspot.fault("webhook hubspot", duplicate=2, reorder=Reorder(window_s=1.0), times=3)
    now = signed.now()
    deal = signed.hubspot.create(at=now - 300, dealstage="lead", utm_content="ad-mixed")
    signed.hubspot.move(deal, "showup", at=now - 100)
    signed.hubspot.move(deal, "appointmentscheduled", at=now - 200)
    wanted = round(SHOWN * 0.95)
    signed.eventually(lambda: signed.ad("ad-mixed").pipeline_value == wanted)
    signed.quiet()
    assert signed.ad("ad-mixed").pipeline_value == wanted
    assert sum(e.value for e in signed.credits(deal)) == wanted


def test_going_back_losing_and_deleting_take_the_credit_back(signed):
    """Regress, closedlost, deletion: the ad's sum is what the deal is worth, each time."""
    signed.add_ad("ad-back")
    deal = signed.hubspot.create(dealstage="showup", utm_content="ad-back")

    def stands(value):
        return lambda: signed.ad("ad-back").pipeline_value == round(value * 0.95)

    signed.eventually(stands(SHOWN))
    signed.hubspot.move(deal, "appointmentscheduled")
    signed.eventually(stands(APPOINTMENT))
    signed.hubspot.move(deal, "closedwon", amount="12000.50")
    signed.eventually(stands(12000_50))
    signed.hubspot.archive(deal)
    signed.eventually(stands(0))
    signed.hubspot.restore(deal)
    signed.eventually(stands(12000_50))
    signed.hubspot.move(deal, "closedlost")
    signed.eventually(stands(0))
    assert sum(event.value for event in signed.credits(deal)) == 0


def test_a_lost_webhook_is_found_by_the_poll(signed):
    """Every call is cut; the reconciliation credits the deal all the same, once."""
    signed.add_ad("ad-lost")
    signed.hubspot.fault("webhook hubspot", drop="before", times="forever", id="cut-all")
    deal = signed.hubspot.create(dealstage="appointmentscheduled", utm_content="ad-lost")
    signed.eventually(lambda: signed.hubspot.portal.events()[-1].attempt == 1)
    assert signed.deal(deal) is None
    try:
        signed.cloud.advance(1800.0)
        wanted = round(APPOINTMENT * 0.95)
        signed.eventually(lambda: signed.ad("ad-lost").pipeline_value == wanted)
    finally:
        signed.hubspot.faults.clear("cut-all")
    signed.cloud.advance(1800.0)
    signed.quiet()
    assert len(signed.credits(deal)) == 1


def test_a_hundred_events_are_answered_within_five_seconds(signed, event):
    """Stored in one commit, woken in one publish."""
    import time

    now = signed.now()
    body = body_of(*(event(str(5_000_000 + n), "closedwon", now) for n in range(100)))
    signed.post(b"[]", signed.sign(b"[]"))
    begun = time.monotonic()
    status, answer = signed.post(body, signed.sign(body))
    assert time.monotonic() - begun < 5.0
    assert (status, answer["events"]) == (200, 100)


def test_a_deal_of_nobody_is_counted_for_its_account(signed):
    """No evidence: no ad is credited, the account's unattributed total grows."""
    from geminivideo.records import Unattributed

    deal = signed.hubspot.create(dealstage="showup")
    found = signed.eventually(lambda: signed.deal(deal))
    assert (found.ad_id, found.attribution, found.value) == (None, "unattributed", SHOWN)
    total = signed.documents.require("unattributed/acc", Unattributed)
    assert total.value >= SHOWN


def test_a_tracked_click_leads_to_its_ad(signed):
    """POST /api/clicks, then a deal with the same click id: confidence 1."""
    signed.add_ad("ad-click")
    click = {"ad_id": "ad-click", "fbclid": "IwAR1", "timestamp": signed.now() - 60}
    status, answer = signed.post(click, url=signed.cloud.urls["gateway"] + "/api/clicks")
    assert (status, answer["status"]) == (200, "recorded")
    deal = signed.hubspot.create(dealstage="showup", hs_facebook_click_id="IwAR1")
    signed.eventually(lambda: signed.ad("ad-click").pipeline_value == SHOWN)
    assert signed.deal(deal).attribution == "click_id"
