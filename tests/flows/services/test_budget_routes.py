"""The budget routes: insights in, the gate as a question, splits, stage values, Meta's objects."""

import pytest
from geminivideo.policy import ExecutionMode, ExecutorPolicy, InsightsPolicy, Policy
from geminivideo.records import (
    Account,
    AdState,
    Campaign,
    ChangeStatus,
    ChangeType,
    FeedbackEvent,
    PendingChange,
    PerformanceDay,
)
from geminivideo.runtime.clock import Clock

from emulators.meta import AdDay, Pace
from emulators.meta import Server as Meta

INSIGHTS = "/api/meta/insights"
GATE = "/api/ml/decision-gate"
SELECT = "/api/ml/battle-hardened/select"
FEEDBACK = "/api/ml/battle-hardened/feedback"
REVENUE = "/api/ml/synthetic-revenue/calculate"
NOON = 1_795_348_800.0
ROW = {
    "ad_id": "120000000000000001",
    "impressions": 1000,
    "clicks": 50,
    "spend": 25.5,
    "conversions": 2,
    "timestamp": "2026-11-21T10:00:00Z",
}


class Fixed(Clock):
    """A clock that stands."""

    def now(self):
        return NOON


@pytest.fixture
def account(world):
    given = Account(id="default", ad_account_id="act_55", page_id="7", link_url="https://x.test")
    world.documents.set("accounts/default", given)
    return given


@pytest.fixture
def noon(world):
    for name in ("gateway", "ml_service", "meta_publisher"):
        world.api(name).ports.clock = Fixed()
    return NOON


# Insights in ---------------------------------------------------------------------------------


def test_a_row_becomes_an_event_a_day_and_the_ads_state(world, account, noon):
    """1,000 impressions, 50 clicks and 25.50 are kept as such, in cents."""
    answer = world.post("gateway", INSIGHTS, ROW)
    assert (answer.status, answer.json["status"]) == (200, "recorded")
    day = world.documents.require(f"performance_metrics/{ROW['ad_id']}-2026-11-21", PerformanceDay)
    assert (day.impressions, day.clicks, day.spend, day.conversions) == (1000, 50, 2550, 2)
    state = world.documents.require(f"ad_states/{ROW['ad_id']}", AdState)
    assert (state.impressions, state.clicks, state.spend) == (1000, 50, 2550)
    path = f"feedback_events/{answer.json['event_id']}"
    assert world.documents.require(path, FeedbackEvent).verified is False


def test_a_day_is_set_to_its_latest_row(world, account, noon):
    """A later row of the day replaces it, an earlier one is kept as an event only."""
    world.post("gateway", INSIGHTS, ROW)
    assert world.post("gateway", INSIGHTS, ROW).json["status"] == "duplicate"
    later = ROW | {"impressions": 1500, "timestamp": "2026-11-21T18:00:00Z"}
    assert world.post("gateway", INSIGHTS, later).json["status"] == "recorded"
    early = ROW | {"impressions": 10, "timestamp": "2026-11-21T01:00:00Z"}
    assert world.post("gateway", INSIGHTS, early).json["status"] == "outdated"

    other = ROW | {"timestamp": "2026-11-20T10:00:00Z"}
    world.post("gateway", INSIGHTS, other)
    assert world.documents.require(f"ad_states/{ROW['ad_id']}", AdState).impressions == 2500


def test_a_row_from_a_clock_that_is_ahead_is_no_fresher_than_now(world, account, noon):
    """A caller's time of tomorrow neither keeps stale signals fresh nor shuts out later rows."""
    ahead = ROW | {"timestamp": "2026-11-23T08:00:00Z"}
    assert world.post("gateway", INSIGHTS, ahead).json["status"] == "recorded"
    state = world.documents.require(f"ad_states/{ROW['ad_id']}", AdState)
    assert state.insights_at == state.updated_at
    again = ahead | {"impressions": 1200, "timestamp": "2026-11-23T07:00:00Z"}
    assert world.post("gateway", INSIGHTS, again).json["status"] == "recorded"
    state = world.documents.require(f"ad_states/{ROW['ad_id']}", AdState)
    assert state.impressions == 1200


def test_contradicting_numbers_are_kept_and_named(world, account, noon):
    """More clicks than impressions and a CTR that is not theirs: accepted, with both warnings."""
    answer = world.post("gateway", INSIGHTS, ROW | {"clicks": 2000, "ctr": 0.9})
    assert answer.status == 200
    assert [w.partition(":")[0] for w in answer.json["warnings"]] == [
        "clicks-exceed-impressions",
        "ctr-contradicts-counts",
    ]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"impressions": -1}, "impressions"),
        ({"spend": "a lot"}, "spend"),
        ({"spend": -3}, "spend"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1e10}, "timestamp"),
        ({"ad_id": "a/b"}, "ad_id"),
    ],
)
def test_a_row_that_is_not_understood_is_refused_by_member(world, noon, changes, named):
    """422 names what cannot be read."""
    answer = world.post("gateway", INSIGHTS, ROW | changes)
    assert answer.status == 422
    assert named in answer.json["error"]


# The gate ------------------------------------------------------------------------------------

ASKED = {
    "ad_id": "120000000000000001", "recommended_budget": 55.0, "confidence": 0.85,
    "current_budget": 50.0, "check_ignorance_zone": True, "check_confidence": True,
    "check_velocity": True,
}  # fmt: skip


def test_a_sure_and_small_raise_is_approved(world, account):
    """Every rule answers, and the budget is as it was asked for."""
    answer = world.post("gateway", GATE, ASKED).json
    assert (answer["approved"], answer["adjusted_budget"]) == (True, 55.0)
    assert {rule["rule"] for rule in answer["rules"]} >= {"confidence", "velocity"}


def test_a_raise_beyond_the_limits_is_approved_clamped(world, account):
    """Asked for twice the budget, the gate approves no more than 20 % above it."""
    answer = world.post("gateway", GATE, ASKED | {"recommended_budget": 100.0}).json
    assert answer["approved"] is True
    assert 50.0 < answer["adjusted_budget"] <= 60.0


def test_an_unsure_move_is_held_unless_nobody_asks(world, account):
    """The confidence rule holds at 0.4, and is not asked when the caller leaves it out."""
    assert world.post("gateway", GATE, ASKED | {"confidence": 0.4}).json["approved"] is False
    free = ASKED | {"confidence": 0.4, "check_confidence": False}
    assert world.post("gateway", GATE, free).json["approved"] is True


def test_a_cut_of_an_ad_nobody_knows_is_held(world, account):
    """Nothing is known of the ad, so it is in the ignorance zone."""
    answer = world.post("gateway", GATE, ASKED | {"recommended_budget": 45.0}).json
    assert (answer["approved"], answer["outcome"]) == (False, "HELD")
    assert "ignorance_zone" in answer["reason"]


# Splits --------------------------------------------------------------------------------------


def totals(number, days, *, ctr, value_per_click, spend=50.0):
    impressions = 2000 * days
    clicks = int(impressions * ctr)
    return {
        "ad_id": f"ad{number}", "impressions": impressions, "clicks": clicks,
        "spend": spend * days, "age_hours": 24.0 * days,
        "pipeline_value": round(clicks * value_per_click, 2),
    }  # fmt: skip


@pytest.mark.parametrize("service", ["ml_service", "meta_publisher"])
def test_the_total_is_split_with_reasons(world, account, service):
    """The parts sum to the total; each says how sure it is and why."""
    ads = [totals(n, 5, ctr=0.02, value_per_click=v) for n, v in enumerate((9.0, 3.0, 1.0))]
    answer = world.post(service, SELECT, {"ad_states": ads, "total_budget": 300.0})
    assert answer.status == 200
    found = answer.json["recommendations"]
    assert sum(r["recommended_budget"] for r in found) == pytest.approx(300.0)
    assert answer.json["num_ads"] == 3
    assert all(r["reason"] and 0 <= r["confidence"] <= 1 for r in found)
    best, _, worst = sorted(found, key=lambda r: r["ad_id"])
    assert best["recommended_budget"] > worst["recommended_budget"]
    assert best["change_percentage"] == pytest.approx(
        100 * (best["recommended_budget"] / best["current_budget"] - 1), abs=0.01
    )


def test_calls_of_every_day_are_remembered_as_days(world, account):
    """A caller who sends totals only gets decisions on days; an ad that wore out is noticed."""
    steady = {"impressions": 0, "clicks": 0, "spend": 0.0}
    worn = dict(steady)
    for day in range(1, 9):
        for ad, ctr in ((steady, 0.02), (worn, 0.04 if day <= 4 else 0.002)):
            ad["impressions"] += 5000
            ad["clicks"] += int(5000 * ctr)
            ad["spend"] += 50.0
        ads = [
            {"ad_id": name, "age_hours": 24.0 * day, **ad}
            for name, ad in (("steady", steady), ("worn", worn))
        ]
        answer = world.post("ml_service", SELECT, {"ad_states": ads, "total_budget": 100.0})
    by_ad = {r["ad_id"]: r for r in answer.json["recommendations"]}
    assert worn["clicks"] > steady["clicks"]
    assert by_ad["steady"]["recommended_budget"] > by_ad["worn"]["recommended_budget"]


@pytest.mark.parametrize(("counts", "told"), [(None, True), ("day", False)])
def test_each_days_own_counts_are_decided_on_as_days(world, account, counts, told):
    """Who sends what each day brought is understood: the ad with ROAS 3 leads that with 0.2."""
    worth = {"good": 150.0, "bad": 10.0}
    for day in range(1, 13):
        clicks = 50 + 3 * (-1) ** day
        ads = [
            {"ad_id": name, "impressions": 2000, "clicks": clicks, "spend": 50.0 + (-1) ** day,
             "age_hours": 24.0 * day, "pipeline_value": value, "current_budget": None}
            for name, value in worth.items()
        ]  # fmt: skip
        body = {"ad_states": ads, "total_budget": 100.0, "counts": counts, "seed": 7}
        answer = world.post("ml_service", SELECT, body).json
    share = {one["ad_id"]: one["recommended_budget"] for one in answer["recommendations"]}
    assert share["good"] > 3 * share["bad"]
    assert ("counts-taken-as-days" in answer["degraded"]) is told


def test_a_shops_cash_of_every_day_is_decided_on(world, account):
    """Purchases instead of deals, told as totals each day: the ad with ROAS 3 leads that with 0.5,
    and what is expected of them lies between what each brought and what both did."""
    roas = {"shop-good": 3.0, "shop-bad": 0.5}
    for day in range(1, 11):
        ads = [
            {"ad_id": name, "impressions": 2000 * day, "clicks": 40 * day, "spend": 50.0 * day,
             "age_hours": 24.0 * day, "cash_revenue": 50.0 * day * worth}
            for name, worth in roas.items()
        ]  # fmt: skip
        body = {"ad_states": ads, "total_budget": 100.0, "seed": 7}
        answer = world.post("ml_service", SELECT, body).json
    assert answer["mode"] == "direct"
    by_ad = {one["ad_id"]: one for one in answer["recommendations"]}
    good, bad = (by_ad[name] for name in roas)
    assert good["recommended_budget"] > 2 * bad["recommended_budget"]
    assert 2.0 < good["metrics"]["expected_roas"] < 3.3
    assert 0.4 < bad["metrics"]["expected_roas"] < 1.5


def test_the_same_question_with_the_same_seed_has_the_same_answer(world, account):
    """The seed in an answer is enough to come to it again; another one draws anew."""
    ad = {"age_hours": 72.0, "impressions": 3000, "clicks": 60, "spend": 150.0}
    body = {"ad_states": [ad | {"ad_id": f"same-{n}"} for n in range(3)], "total_budget": 99.999}

    def ask(**members):
        answer = world.post("ml_service", SELECT, body | members).json
        shares = [r["recommended_budget"] for r in answer["recommendations"]]
        assert round(sum(shares), 2) == 99.99
        return answer["seed"], shares

    first = ask()
    assert ask() == first == ask(seed=first[0])
    assert ask(seed=first[0] + 1)[1] != first[1]


def test_a_total_below_what_the_bounds_allow_is_said(world, account):
    """Seven ads cannot have a dollar each of five: nothing is hidden about the two."""
    ads = [
        {"ad_id": f"ad-{n}", "age_hours": 72.0, "impressions": 3000, "clicks": 60, "spend": 150.0}
        for n in range(7)
    ]
    answer = world.post("ml_service", SELECT, {"ad_states": ads, "total_budget": 5.0}).json
    assert sum(r["recommended_budget"] for r in answer["recommendations"]) == 7.0
    assert answer["shortfall"] == -2.0
    assert "bounds-exceed-total:2.00 USD" in answer["degraded"]


def test_a_given_budget_moves_no_further_than_the_limit(world, account):
    """With the live budgets said, every share stays within 20 % of them."""
    ads = [
        totals(n, 5, ctr=0.02, value_per_click=v) | {"current_budget": 50.0}
        for n, v in enumerate((9.0, 3.0))
    ]
    answer = world.post("ml_service", SELECT, {"ad_states": ads, "total_budget": 100.0})
    shares = [r["recommended_budget"] for r in answer.json["recommendations"]]
    assert all(40.0 <= share <= 60.0 for share in shares)


def test_impossible_totals_are_decided_on_and_named(world, account):
    """Clicks beyond impressions and no spend at all: an answer with warnings, never an error."""
    ads = [
        {"ad_id": "x", "impressions": 10, "clicks": 90, "spend": 0, "age_hours": 0, "ctr": 9},
        {"ad_id": "y", "impressions": 0, "clicks": 0, "spend": 0, "age_hours": 0},
    ]
    answer = world.post("ml_service", SELECT, {"ad_states": ads, "total_budget": 10})
    assert answer.status == 200
    first, second = answer.json["recommendations"]
    assert first["warnings"]
    assert second["recommended_budget"] > 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"ad_states": [], "total_budget": 1}, "ad_states"),
        ({"ad_states": [totals(1, 1, ctr=0.1, value_per_click=1)], "total_budget": 0}, "total"),
        ({"ad_states": [totals(1, 1, ctr=0.1, value_per_click=1)] * 2, "total_budget": 9}, "ad1"),
        ({"ad_states": [{"ad_id": "x"}], "total_budget": 9}, "impressions"),
    ],
)
def test_a_selection_that_is_not_understood_is_refused(world, body, named):
    """422 names the member."""
    answer = world.post("ml_service", SELECT, body)
    assert answer.status == 422
    assert named in answer.json["error"]


def test_actuals_count_in_the_next_selection(world, account):
    """Reported pipeline value stands in for what the caller's totals leave out."""
    body = {"ad_id": "ad0", "actual_pipeline_value": 900.0, "actual_spend": 300.0}
    answer = world.post("ml_service", FEEDBACK, body).json
    assert (answer["status"], answer["actual_roas"]) == ("feedback_registered", 3.0)
    assert (answer["sampler_updated"], answer["model_updated"]) == (True, False)
    ad = totals(0, 5, ctr=0.02, value_per_click=1)
    ad.pop("pipeline_value")
    answer = world.post("ml_service", SELECT, {"ad_states": [ad], "total_budget": 50.0}).json
    assert answer["recommendations"][0]["metrics"]["pipeline_roas"] == pytest.approx(900 / 250)


def test_a_stage_is_worth_what_its_map_says(world, account):
    """An appointment of the default map is worth 2,250.00; won is the deal's own amount."""
    answer = world.post("ml_service", REVENUE, {"stage": "appointment_scheduled"}).json
    assert (answer["synthetic_value"], answer["confidence"]) == (2250.0, 0.6)
    moved = {
        "stage_from": "appointment_scheduled", "stage_to": "closed_won", "deal_value": 12000.0
    }  # fmt: skip
    answer = world.post("meta_publisher", REVENUE, moved).json
    assert (answer["synthetic_value"], answer["calculated_value"]) == (12000.0, 9750.0)
    unknown = world.post("ml_service", REVENUE, {"stage": "tea with the boss"}).json
    assert (unknown["synthetic_value"], unknown["confidence"]) == (0.0, 0.0)


# Meta's objects ------------------------------------------------------------------------------


def test_a_campaign_becomes_a_change_of_the_executor(world, account):
    """Legacy objectives are mapped; nothing is written to Meta; it will be created paused."""
    body = {"name": "Spring", "objective": "CONVERSIONS", "status": "ACTIVE", "daily_budget": 5000}
    answer = world.post("meta_publisher", "/api/meta/campaigns", body)
    assert (answer.status, answer.json["status"]) == (200, "PENDING")
    assert answer.json["degraded"] == ["created-paused"]
    campaign = world.documents.require(f"campaigns/{answer.json['id']}", Campaign)
    assert campaign.plan["campaign"]["objective"] == "OUTCOME_SALES"
    assert campaign.plan["adset"]["daily_budget"] == 5000
    change = world.documents.require(
        f"pending_ad_changes/{answer.json['change_id']}", PendingChange
    )
    assert (change.change_type, change.campaign_id) == (ChangeType.CREATE_CAMPAIGN, campaign.id)


def test_an_ad_with_a_video_of_metas_becomes_a_change(world, account):
    """The payload names the ad set and the video that exist, and the words of the creative."""
    body = {
        "campaign_id": "120000000000000009", "adset_id": "120000000000000010",
        "creative": {"video_id": "9000", "title": "Look", "body": "At this"},
    }  # fmt: skip
    answer = world.post("meta_publisher", "/api/meta/ads", body)
    assert answer.status == 200
    change = world.documents.require(
        f"pending_ad_changes/{answer.json['change_id']}", PendingChange
    )
    assert (change.payload["adset_id"], change.payload["video_id"]) == (body["adset_id"], "9000")
    video = change.payload["creative"]["object_story_spec"]["video_data"]
    assert (video["title"], video["message"]) == ("Look", "At this")


def test_the_ads_of_a_campaign_share_its_budget(world, account):
    """Two ads never have more a day than their campaign; what a failed one had is free again."""
    made = world.post("meta_publisher", "/api/meta/campaigns", {"name": "s", "daily_budget": 5000})
    ad = {"campaign_id": made.json["id"], "creative": {"video_id": "9000", "title": "Look"}}

    def ask(**members):
        return world.post("meta_publisher", "/api/meta/ads", ad | members)

    def budget_of(answer):
        path = f"pending_ad_changes/{answer.json['change_id']}"
        return world.documents.require(path, PendingChange).payload["adset"]["daily_budget"]

    first, rest = ask(daily_budget=2000), ask()
    assert (budget_of(first), budget_of(rest)) == (2000, 3000)
    for more in ({}, {"daily_budget": 1}, {"daily_budget": -5}, {"daily_budget": 3000}):
        refused = ask(**more)
        assert (refused.status, "daily_budget" in refused.json["error"]) == (422, True)
    path = f"pending_ad_changes/{first.json['change_id']}"
    world.documents.update(path, {"status": ChangeStatus.FAILED})
    assert budget_of(ask()) == 2000


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/api/meta/campaigns", {"name": "x", "objective": "WORLD_PEACE"}, "objective"),
        ("/api/meta/campaigns", {"name": " "}, "name"),
        ("/api/meta/campaigns", {"name": "x", "account_id": "nobody"}, "nobody"),
        ("/api/meta/ads", {"campaign_id": "1", "creative": {"video_id": "2"}}, "adset_id"),
    ],
)
def test_an_object_that_cannot_be_planned_is_refused(world, account, path, body, named):
    """422 names what stands in the way."""
    answer = world.post("meta_publisher", path, body)
    assert answer.status == 422
    assert named in answer.json["error"]


@pytest.fixture
def meta(world, account, tmp_path, monkeypatch):
    double = Meta(
        state_dir=tmp_path, clock=Clock(), tokens={"w"}, read_tokens={"r"}, pace=Pace(review_s=0)
    )
    double.start()
    monkeypatch.setenv("META_READ_TOKEN", "r")
    monkeypatch.setenv("GV_META_GRAPH_URL", double.url)
    yield double
    double.stop()


def known_ad(world, ad):
    state = AdState(id=ad, account_id="default", currency="USD", updated_at=1.0)
    world.documents.set(f"ad_states/{ad}", state)


def test_an_ads_insights_are_read_live(world, meta):
    """The days are those that Meta shows now, money in major units."""
    from datetime import UTC, datetime

    (ad,) = meta.seed("act_55", 1, 5000)
    known_ad(world, ad)
    today = datetime.now(UTC).date()
    meta.set_insights("act_55", [AdDay(ad_id=ad, date=today, impressions=10, clicks=1, spend=155)])
    answer = world.get("meta_publisher", f"{INSIGHTS}?ad_id={ad}").json
    assert (answer["data_status"], answer["impressions"], answer["spend"]) == ("complete", 10, 1.55)


def test_an_unknown_ad_has_no_figures(world, account):
    """200 with nulls: nothing is invented."""
    answer = world.get("meta_publisher", f"{INSIGHTS}?ad_id=404")
    assert (answer.status, answer.json["data_status"]) == (200, "insufficient")
    assert answer.json["spend"] is None


def test_a_spent_read_budget_is_a_429_with_its_time(world, meta):
    """After the hour's reads the caller is told when to come again."""
    policy = Policy(insights=InsightsPolicy(reads_per_hour=2))
    world.documents.set("policies/default", policy)
    (ad,) = meta.seed("act_55", 1, 5000)
    known_ad(world, ad)
    found = [world.get("meta_publisher", f"{INSIGHTS}?ad_id={ad}") for _ in range(3)]
    assert [answer.status for answer in found] == [200, 200, 429]
    assert 0 < int(found[-1].headers["Retry-After"]) <= 3600


def test_metas_own_limit_is_a_429_too(world, meta):
    """The pause that Meta asked for is kept: the next call is not even sent."""
    (ad,) = meta.seed("act_55", 1, 5000)
    known_ad(world, ad)
    meta.fault(f"GET {ad}/insights", code=80000, times=1)
    for _ in range(2):
        answer = world.get("meta_publisher", f"{INSIGHTS}?ad_id={ad}")
        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) > 0


def test_without_a_token_the_stored_days_are_shown(world, account, noon):
    """What was recorded before is answered, and labelled."""
    world.post("gateway", INSIGHTS, ROW)
    answer = world.get("meta_publisher", f"{INSIGHTS}?ad_id={ROW['ad_id']}").json
    assert (answer["spend"], answer["degraded"]) == (25.5, ["stored-insights"])


def test_in_mode_auto_a_campaign_wakes_the_executor(world, account):
    """The account's policy decides whether a person is asked first."""
    auto = Policy(executor=ExecutorPolicy(mode=ExecutionMode.AUTO))
    world.documents.set("policies/default", auto)
    sent = []
    world.api("meta_publisher").ports.send = sent.extend
    world.post("meta_publisher", "/api/meta/campaigns", {"name": "Spring"})
    assert [row.queue for row in sent] == ["meta-changes"]
