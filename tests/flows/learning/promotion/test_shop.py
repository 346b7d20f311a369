"""An e-commerce account: its winners are those that people bought of."""

from dataclasses import replace

import msgspec
import pytest
from geminivideo.budget import history
from geminivideo.learning_records import Actual
from geminivideo.policy import SamplerPolicy
from geminivideo.records import AdState

DOCTOR = "/api/ml/creative-doctor/generate"
CASH = (400_00, 60_00, 60_00)  # a day, of 50.00 spent: a ROAS of 8 against 1.2


def selling(world, make, *daily_cash, mode="direct", days=12):
    """Ads of the same 2 % CTR, each with its purchases a day (minor units)."""
    world.policy(replace(make.auto, sampler=SamplerPolicy(mode=mode)))
    ads = world.seed(*[40] * len(daily_cash), days=days)
    for ad, cash in zip(ads, daily_cash, strict=True):
        rows = history.days_of(world.documents.require(f"ad_states/{ad}", AdState))
        bought = [
            msgspec.structs.replace(row, cash_revenue=cash, conversions=4, purchases=4)
            for row in rows
        ]
        told = {"cash_revenue": cash * days, "purchases": 4 * days}
        world.state(ad, 40, days=days, **told)
        world.documents.update(f"ad_states/{ad}", {"days": history.packed(bought)})
    return ads


def test_a_shops_winner_is_promoted_by_what_was_bought(world, make):
    """The same clicks, sold for eight times the spend: raised, and the reason says by what."""
    best, *others = selling(world, make, *CASH)
    result = world.promoted()
    (change,) = world.raises()
    assert (result["promoted_count"], change.ad_id) == (1, best)
    assert "cash ROAS 8.00 is at least 3.0" in change.reasoning
    assert "pipeline" not in change.reasoning
    assert {ad for ad, _ in world.held()} >= set(others)


def test_purchases_make_no_winner_where_deals_are_what_counts(world, make):
    """The same ads of an account that sells through its CRM: nobody is promoted for them."""
    selling(world, make, *CASH, mode="pipeline")
    assert world.promoted()["promoted_count"] == 0
    assert world.raises() == []


@pytest.mark.parametrize(("mode", "told"), [("direct", "cash 8.00"), ("pipeline", "pipeline 0.00")])
def test_the_doctor_judges_by_the_value_that_counts(world, make, mode, told):
    """A shop's winner is no loser to its doctor."""
    kind, roas = told.split()
    best, *_ = selling(world, make, *CASH, mode=mode)
    world.make_here(best)
    actual = Actual(
        id=best, ad_id=best, account_id=make.account, currency="USD", impressions=24_000,
        clicks=480, spend=600_00, pipeline_value=0, cash_revenue=4_800_00,
        first_shown_at=world.clock.at - 12 * 86_400.0, until_at=world.clock.at,
        linked_at=world.clock.at,
    )  # fmt: skip
    world.documents.set(f"actuals/{best}", actual)
    body = {"creative_id": best, "issue": "", "variations": 1}
    status, answer = world.post(DOCTOR, body, "ml_service")
    assert status == 200
    facts = {one["source"]: one for one in answer["diagnosis"]["symptoms"]}
    assert f"{kind} ROAS {roas}" in facts["figures"]["fact"]
    assert f"{kind} ROAS {roas}" in facts["actuals"]["fact"]
    assert facts["actuals"]["wrong"] is (mode == "pipeline")
