"""What the product reads of deals: ``crm.deals`` and the poll, over HubSpot's own client."""

import pytest
from geminivideo.crm import deals
from geminivideo.crm.deals import Deals, HubSpotRefusedError, HubSpotUnavailableError, moments
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account
from geminivideo.services.deals import reading_of

from emulators.hubspot import Rates

MANY = Rates(calls=10_000, searches=10_000)


@pytest.fixture
def portal(start):
    """The double, and the product's reader on it."""
    server = start(rates=MANY)
    return server, Deals("pat", server.url)


def account(currency="USD"):
    return Account(
        id="acc", ad_account_id="act_1", page_id="1", link_url="https://e.com", currency=currency
    )


def test_stage_and_amount_are_put_together_by_their_times(portal, clock):
    """An amount that comes later is a moment of its own, in the stage of that time."""
    server, reader = portal
    begun = clock.now()
    deal = server.create(dealstage="appointmentscheduled")
    clock.advance(10.0)
    server.move(deal, "appointmentscheduled", amount="1200.50")
    clock.advance(10.0)
    server.move(deal, "closedwon", pipeline="second")
    way = moments(reader.read(deal, []))
    assert [(m.pipeline, m.stage, m.amount) for m in way] == [
        ("default", "appointmentscheduled", None),
        ("default", "appointmentscheduled", "1200.50"),
        ("second", "closedwon", "1200.50"),
    ]
    assert [m.at for m in way] == pytest.approx([begun, begun + 10, begun + 20], abs=0.002)


def test_a_reading_has_minor_units_and_evidence(portal):
    """Amounts in the account's currency; evidence from the properties that the policy names."""
    server, reader = portal
    deal = server.create(dealstage="closedwon", amount="1234", utm_content="ad-1")
    found = reader.read(deal, ["utm_content"])
    for currency, amount in (("USD", 123400), ("JPY", 1234)):
        one = reading_of(found, 7, account(currency), RevenuePolicy(), 5.0)
        assert one.history[-1].amount == amount
        assert one.touch == {"utm_content": "ad-1"}


def test_an_amount_in_another_currency_is_not_taken_for_ours(portal):
    """Degraded by name, and without an amount."""
    server, reader = portal
    deal = server.create(dealstage="closedwon", amount="99", deal_currency_code="EUR")
    one = reading_of(reader.read(deal, []), 7, account("USD"), RevenuePolicy(), 5.0)
    assert (one.history[-1].amount, one.degraded) == (None, ("deal-currency:EUR",))


def test_a_deleted_deal_is_none(portal):
    """404 is an answer, not an error."""
    server, reader = portal
    deal = server.create(dealstage="lead")
    server.archive(deal)
    assert reader.read(deal, []) is None


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"code": 429}, HubSpotUnavailableError),
        ({"code": 503}, HubSpotUnavailableError),
        ({"drop": "before"}, HubSpotUnavailableError),
        ({"code": 403}, HubSpotRefusedError),
    ],
)
def test_what_fails_is_told_apart(portal, fault, error):
    """Limits, outages and cut lines pass; a refusal needs a person. No token in the message."""
    server, reader = portal
    deal = server.create(dealstage="lead")
    for call in (lambda: reader.read(deal, []), lambda: list(reader.modified_since(0.0))):
        server.fault("* /crm/*", **fault)
        with pytest.raises(error) as told:
            call()
        assert "pat" not in str(told.value)


def test_a_wrong_token_says_what_to_set(portal):
    """The message names the secret."""
    with pytest.raises(HubSpotRefusedError, match="hubspot-token"):
        Deals("other", portal[0].url).read("1", [])


def test_a_poll_goes_on_where_a_search_ends(portal, clock, monkeypatch):
    """Beyond the limit of one search the window moves; every change is told once, in order."""
    monkeypatch.setattr(deals, "SEARCH_LIMIT", 6)
    monkeypatch.setattr(deals, "PAGE", 3)
    server, reader = portal
    made = []
    for number in range(17):
        if number % 2:
            clock.advance(1.0)
        made.append(server.create(dealstage="lead"))
    begun = clock.now() - 8.0
    found = [one.deal_id for one in reader.modified_since(begun - 0.5)]
    assert sorted(found) == made
    assert len(set(found)) == len(found) == 17


def test_a_poll_that_cannot_go_on_says_so(portal, monkeypatch):
    """More changes in one millisecond than a search answers."""
    monkeypatch.setattr(deals, "SEARCH_LIMIT", 4)
    monkeypatch.setattr(deals, "PAGE", 2)
    server, reader = portal
    for _ in range(6):
        server.create(dealstage="lead")
    with pytest.raises(HubSpotRefusedError, match="same millisecond"):
        list(reader.modified_since(0.0))
