"""A shop over HTTP: the purchases that Meta reports are what its ads are judged by."""

import pytest
from geminivideo.records import Account, AdState, PerformanceDay

GATE = "/api/ml/decision-gate"
SELECT = "/api/ml/battle-hardened/select"
FEEDBACK = "/api/ml/battle-hardened/feedback"
INSIGHTS = "/api/meta/insights"
AD = "120000000000000001"
ROW = {"ad_id": AD, "impressions": 1000, "clicks": 50, "spend": 25.5}


@pytest.fixture
def shop(world):
    """A shop in dollars whose owner set the mode, as docs/accounts.md says."""
    return opened(world, "shop", "USD")


def opened(world, name, currency):
    account = Account(
        id=name, ad_account_id="act_55", page_id="7", link_url="https://x.test", currency=currency
    )
    world.documents.set(f"accounts/{name}", account)
    world.documents.set(f"policies/{name}", {"sampler": {"mode": "direct"}})
    return account


def seen(world, **members):
    """The ad's life so far: ten days, 500.00 spent."""
    now = world.api("gateway").ports.clock.now()
    told = {
        "id": AD, "account_id": "shop", "currency": "USD", "updated_at": now, "insights_at": now,
        "created_at": now - 10 * 86_400.0, "impressions": 20_000, "clicks": 400, "spend": 500_00,
    }  # fmt: skip
    world.documents.set(f"ad_states/{AD}", AdState(**(told | members)))


@pytest.mark.parametrize(
    ("cash", "pipeline", "budget"),
    [(2_500_00, 0, 60.0), (500_00, 0, 55.0), (500_00, 9_000_00, 55.0), (2_500_00, 1_00, 60.0)],
)
def test_a_shops_winner_may_be_raised_beyond_the_step(world, shop, cash, pipeline, budget):
    """By its cash ROAS above 3, whatever deals the ad has; else by 10 %."""
    seen(world, cash_revenue=cash, pipeline_value=pipeline)
    asked = {"ad_id": AD, "recommended_budget": 60.0, "current_budget": 50.0, "confidence": 0.9}
    answer = world.post("gateway", GATE, asked).json
    assert (answer["approved"], answer["adjusted_budget"]) == (True, budget)
    (scaled,) = (rule for rule in answer["rules"] if rule["rule"] == "scale")
    assert f"ROAS {cash / 500_00:.2f} " in scaled["reason"]


def test_money_goes_to_what_is_bought_and_no_deal_is_spoken_of(world, shop):
    """Of two ads with the same clicks the one whose clicks buy gets more, in its own words."""
    same = {"impressions": 20_000, "clicks": 400, "spend": 500.0, "age_hours": 240.0}
    ads = [
        {"ad_id": "buys", "cash_revenue": 2500.0, **same},
        {"ad_id": "looks", "cash_revenue": 250.0, "pipeline_value": 9000.0, **same},
    ]
    asked = {"account_id": "shop", "ad_states": ads, "total_budget": 100.0, "seed": 1}
    split = world.post("ml_service", SELECT, asked).json
    first, second = split["recommendations"]
    assert split["mode"] == "direct"
    assert first["recommended_budget"] > second["recommended_budget"]
    assert "by purchases (" in first["reason"]
    assert "deals" not in first["reason"]


@pytest.mark.parametrize(
    ("told", "cents"),
    [(199.99, 19999), ("199.99", 19999), (0, 0), (-20.5, -2050), ("-20.50", -2050), (None, 0)],
)
def test_what_a_day_sold_is_kept_to_the_cent(world, shop, told, cents):
    """Refunds may outweigh a day's sales; purchases may be told of without their worth."""
    row = ROW | {"account_id": "shop", "conversions": 2, "conversion_value": told}
    answer = world.post("gateway", INSIGHTS, row)
    assert (answer.status, answer.json["status"]) == (200, "recorded")
    state = world.documents.require(f"ad_states/{AD}", AdState)
    assert (state.spend, state.conversions, state.cash_revenue) == (2550, 2, cents)


@pytest.mark.parametrize("told", ["nan", "inf", "twenty", 1e17])
def test_what_is_no_amount_of_sales_is_refused(world, shop, told):
    """422 names the member, and nothing of the row is kept."""
    answer = world.post("gateway", INSIGHTS, ROW | {"account_id": "shop", "conversion_value": told})
    assert answer.status == 422
    assert answer.json["error"].startswith("conversion_value: ")
    assert world.documents.get(f"ad_states/{AD}", AdState) is None


def test_yen_have_no_cents(world):
    """19,999 JPY stay 19,999; a fraction of a yen is rounded."""
    opened(world, "tokyo", "JPY")
    row = ROW | {"account_id": "tokyo", "spend": 2500, "conversion_value": 19_999.4}
    day = world.post("gateway", INSIGHTS, row).json["date"]
    kept = world.documents.require(f"performance_metrics/{AD}-{day}", PerformanceDay)
    assert (kept.currency, kept.spend, kept.conversion_value) == ("JPY", 2500, 19_999)


@pytest.mark.parametrize(
    ("service", "path", "body"),
    [
        ("gateway", INSIGHTS, ROW | {"account_id": "shop"}),
        ("gateway", GATE, {"ad_id": AD, "recommended_budget": 60.0, "confidence": 0.9}),
        ("ml_service", SELECT, {"total_budget": 9.0, "ad_states": []}),
    ],
)
def test_a_misspelt_mode_is_named_to_whoever_asks(world, shop, service, path, body):
    """409 with the document and its member; no default decides in the meantime."""
    world.documents.set("policies/shop", {"sampler": {"mode": "Direct"}})
    answer = world.post(service, path, body | {"account_id": "shop"})
    assert answer.status == 409
    assert "policies/shop cannot be used: sampler.mode is 'Direct'" in answer.json["error"]


# Feedback -----------------------------------------------------------------------------------------


SAME = {"impressions": 20_000, "clicks": 400, "spend": 500.0, "age_hours": 240.0}


def test_cash_that_was_reported_counts_in_the_next_split(world, shop):
    """It stands in for what the caller's totals leave out, and the answer says that it counts."""
    told = {"ad_id": "buys", "account_id": "shop", "actual_spend": 500.0}
    answer = world.post("ml_service", FEEDBACK, told | {"actual_cash_revenue": 2500.0}).json
    assert (answer["actual_roas"], answer["sampler_updated"]) == (5.0, True)
    ads = [{"ad_id": name, **SAME} for name in ("buys", "looks")]
    asked = {"account_id": "shop", "ad_states": ads, "total_budget": 100.0, "seed": 1}
    first, second = world.post("ml_service", SELECT, asked).json["recommendations"]
    assert first["metrics"]["cash_roas"] == pytest.approx(5.0)
    assert first["recommended_budget"] > 2 * second["recommended_budget"]


def test_pipeline_value_is_kept_of_a_shop_and_said_not_to_count(world, shop):
    """Nobody is told that the next split counts what it does not."""
    told = {"ad_id": "buys", "account_id": "shop", "actual_spend": 500.0}
    answer = world.post("ml_service", FEEDBACK, told | {"actual_pipeline_value": 2500.0}).json
    assert (answer["actual_roas"], answer["sampler_updated"]) == (None, False)


def test_feedback_without_a_value_is_refused(world, shop):
    """422 names both members that it may have."""
    answer = world.post("ml_service", FEEDBACK, {"ad_id": "buys", "actual_spend": 5.0})
    assert answer.status == 422
    assert "actual_pipeline_value or actual_cash_revenue" in answer.json["error"]


def test_one_report_of_pipeline_value_does_not_outvote_the_cash_that_is_sent(world):
    """Of an account that never chose: what the caller sends of its ads says what counts."""
    told = {"ad_id": "looks", "actual_spend": 500.0, "actual_pipeline_value": 2500.0}
    world.post("ml_service", FEEDBACK, told)
    ads = [
        {"ad_id": "buys", "cash_revenue": 2500.0, **SAME},
        {"ad_id": "looks", "cash_revenue": 250.0, **SAME},
    ]
    answer = world.post("ml_service", SELECT, {"ad_states": ads, "total_budget": 100.0, "seed": 1})
    assert answer.json["mode"] == "direct"
    first, second = answer.json["recommendations"]
    assert first["recommended_budget"] > second["recommended_budget"]
    assert answer.json["degraded"] == []
