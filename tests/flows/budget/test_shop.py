"""An account that sells both ways: its mode says which value decides, and nothing is mixed."""

from dataclasses import replace

import pytest
from geminivideo.budget.scoring import decide
from geminivideo.policy import SamplerPolicy
from geminivideo.records import Deal, StageSeen
from geminivideo.services import budget_decisions

from emulators.meta import Conversion

DAILY = (5, 1)  # purchases of 60.00 a day, by ad


@pytest.fixture
def both(world, make):
    """Two ads of five days: the first one sells in the shop, the second one through the CRM."""
    world.clock.at -= 5 * make.day
    ads = world.meta.seed(make.act, 2, 5000)
    world.clock.at += 5 * make.day
    return ads


def shown(world, ads, *daily, tick="t1"):
    """Meta's report, with so many purchases a day and ad; read by the step."""
    rows = [
        world.row(ad, back, clicks=40, spend=5000, conversions=bought(count))
        for ad, count in zip(ads, daily, strict=True)
        for back in range(5)
    ]
    world.show(*rows)
    world.read_through(tick)


def bought(count):
    sold = Conversion(action_type="purchase", count=count, value=count * 60_00)
    return (sold,) if count else ()


def credited(world, ads, *counts):
    """Deals of 600.00 of each ad, counted as the crediting step counts them."""
    at = world.clock.now() - 2 * 86_400.0
    for ad, count in zip(ads, counts, strict=True):
        for number in range(count):
            name = f"1-{ad[-3:]}{number}"
            seen = StageSeen(pipeline="default", stage="appointmentscheduled", at=at + 3600.0)
            deal = Deal(
                id=name, portal_id=1, deal_id=name, account_id="acme", currency="USD",
                updated_at=at, ad_id=ad, clicked_at=at, began_at=at + 3600.0, credited=600_00,
                value=600_00, history=(seen,),
            )  # fmt: skip
            world.documents.set(f"deals/{name}", deal)
        told = {"pipeline_value": count * 600_00, "deals": count}
        world.documents.update(f"ad_states/{ad}", told)


def decided(world, policy):
    """The decision on what is stored now; its seed is always the same."""
    found = budget_decisions.gather(world.documents, world.account(), policy, world.clock.now())
    record = decide(budget_decisions.request_of(found, policy, "bf-same"))
    made = record.recommendations
    return {one.ad_id: (one.recommended, one.confidence, one.reason) for one in made}


def test_a_shop_is_decided_on_the_same_with_deals_and_without(world, make, both):
    """Its purchases move money to the first ad, though the second has 4,800.00 of deals."""
    shop = replace(make.auto, sampler=SamplerPolicy(mode="direct"))
    world.policy(shop)
    shown(world, both, *DAILY)
    before = decided(world, shop)
    credited(world, both, 0, 8)
    assert decided(world, shop) == before
    assert before[both[0]][0] > 5000 > before[both[1]][0]


def test_a_service_is_decided_on_the_same_with_purchases_and_without(world, make, both):
    """Its deals move money to the second ad, though people bought of the first."""
    shown(world, both, 0, 0)
    credited(world, both, 0, 8)
    before = decided(world, make.auto)
    then = world.clock.at
    shown(world, both, *DAILY, tick="t2")
    world.clock.at = then
    assert world.state(both[0]).cash_revenue == 5 * 5 * 60_00
    assert decided(world, make.auto) == before
    assert before[both[1]][0] > 5000 > before[both[0]][0]
