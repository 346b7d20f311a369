"""Deals in another currency than the ad account's: HubSpot's own conversion, or none at all."""

from decimal import Decimal

import pytest
from geminivideo.crm.deals import HOME_VALID_S, Deals, HubSpotUnavailableError
from geminivideo.policy import RevenuePolicy
from geminivideo.records import Account
from geminivideo.services.crediting import default_stages, fold
from geminivideo.services.deals import home_currency, reading_of

from emulators.hubspot import Currencies

ACCOUNT = "GET /account-info/*"


def account(currency="USD"):
    return Account(
        id="acc", ad_account_id="act_1", page_id="1", link_url="https://e.com", currency=currency
    )


@pytest.fixture
def portal(start):
    """A double of a company that counts in dollars, and the product's reader on it."""
    dollars = Currencies("USD", {"EUR": Decimal("1.10"), "JPY": Decimal("0.0065")})
    server = start(currencies=dollars)
    return server, Deals("pat", server.url)


def read(reader, deal_id, currency="USD", now=5.0):
    owner, deal = account(currency), reader.read(deal_id, [])
    home = home_currency(reader, deal, owner, now)
    return reading_of(deal, 7, owner, RevenuePolicy(), 5.0, home)


def worth(reading, currency="USD"):
    return fold(reading.history, default_stages(RevenuePolicy(), currency)).value


def test_a_won_deal_is_worth_what_hubspot_converted(portal):
    """100.05 EUR at 1.10 are 110.06 USD, labelled; in the account's own currency nothing is."""
    server, reader = portal
    euros = server.create(dealstage="closedwon", amount="100.05", deal_currency_code="EUR")
    one = read(reader, euros)
    assert (worth(one), one.degraded) == (110_06, ("deal-currency-converted:EUR",))
    dollars = server.create(dealstage="closedwon", amount="99", deal_currency_code="USD")
    assert (worth(read(reader, dollars)), read(reader, dollars).degraded) == (99_00, ())
    yen = server.create(dealstage="closedwon", amount="10000", deal_currency_code="JPY")
    assert worth(read(reader, yen)) == 65_00


def test_a_rate_moves_open_deals_and_leaves_closed_ones(portal, clock):
    """The rate of the closing is what stands, whichever rates came before and come after."""
    server, reader = portal
    deal = server.create(dealstage="appointmentscheduled", amount="100", deal_currency_code="EUR")
    for rate in ("1.20", "1.30"):
        clock.advance(60.0)
        server.portal.set_rate("EUR", rate)
    before = read(reader, deal)
    assert worth(before) == worth(read(reader, deal)) != 130_00
    clock.advance(60.0)
    server.move(deal, "closedwon")
    clock.advance(60.0)
    server.portal.set_rate("EUR", "9.99")
    after = read(reader, deal)
    assert worth(after) == 130_00
    clock.advance(60.0)
    server.move(deal, "closedwon", amount="50")
    assert worth(read(reader, deal)) == 65_00
    every = {*before.history, *after.history, *read(reader, deal).history}
    assert fold(every, default_stages(RevenuePolicy(), "USD")).value == 65_00


@pytest.mark.parametrize("currencies", [Currencies("EUR", {"GBP": Decimal("1.2")}), Currencies()])
def test_what_is_converted_to_another_currency_is_not_ours(start, currencies):
    """The company counts in euros, or tells nothing: the stage map's value, labelled as such."""
    server = start(currencies=currencies)
    reader = Deals("pat", server.url)
    for code in ("EUR", "GBP"):
        deal = server.create(dealstage="closedwon", amount="100", deal_currency_code=code)
        one = read(reader, deal)
        assert {seen.amount for seen in one.history} == {None}
        assert one.degraded == (f"deal-currency:{code}",)
        assert worth(one) != 100_00


def test_an_app_that_may_not_ask_converts_nothing(portal):
    """403 is an answer: the deal is credited by its stage, and the label says why."""
    server, reader = portal
    deal = server.create(dealstage="closedwon", amount="100", deal_currency_code="EUR")
    server.fault(ACCOUNT, code=403)
    assert read(reader, deal).degraded == ("deal-currency:EUR",)


def test_a_hubspot_that_is_down_is_no_unknown_currency(portal):
    """Nothing is credited on a guess: the work comes back."""
    server, reader = portal
    deal = server.create(dealstage="closedwon", amount="100", deal_currency_code="EUR")
    server.fault(ACCOUNT, code=503)
    with pytest.raises(HubSpotUnavailableError):
        read(reader, deal)
    server.faults.clear()
    assert worth(read(reader, deal)) == 110_00


def test_the_company_is_asked_once_an_hour_and_only_when_it_matters(portal):
    """A deal that names the account's currency costs no call; a company that changes is seen."""
    server, reader = portal
    dollars = server.create(dealstage="closedwon", amount="5", deal_currency_code="USD")
    plain = server.create(dealstage="closedwon", amount="5")
    euros = server.create(dealstage="closedwon", amount="5", deal_currency_code="EUR")
    server.fault(ACCOUNT, code=500)
    assert worth(read(reader, dollars)) == 5_00
    server.faults.clear()
    assert worth(read(reader, plain, now=0.0)) == 5_00
    assert worth(read(reader, euros, now=0.0)) == 5_50
    server.portal.currencies.company = "CHF"
    assert worth(read(reader, euros, now=HOME_VALID_S - 1)) == 5_50
    assert read(reader, euros, now=HOME_VALID_S).degraded == ("deal-currency:EUR",)
