"""The routes: people's overrides, the check as of now, wear, the Oracle and the doctor."""

from dataclasses import replace

import pytest
from geminivideo.learning_records import Actual, PredictionRecord
from geminivideo.ml import creative
from geminivideo.records import Prediction

CLEAR = (120, 60, 62)


def ask(world, route, body, service="ml_service"):
    status, answer = world.post(f"/api/ml/{route}", body, service)
    assert status == 200, answer
    return answer


# Overrides -----------------------------------------------------------------------------------


@pytest.mark.long
def test_an_excluded_ad_is_never_promoted_until_it_is_included(world, make):
    """Held with who said so and why; taken back, it is promoted in the next cycle."""
    best, *_ = world.seed(*CLEAR)
    said = {"ad_id": best, "by": "ana", "reason": "wrong price"}
    status, shown = world.post("/api/promotion/acme/exclude", said)
    assert (status, shown["excluded"][best]["by"]) == (200, "ana")
    assert world.promoted()["budget_increases"] == 0
    assert world.held()[best, "excluded"] == f"{best} is excluded by ana: wrong price"
    status, shown = world.post("/api/promotion/acme/include", {"ad_id": best, "by": "ana"})
    assert (status, shown["excluded"]) == (200, {})
    assert world.promoted("lc-2")["budget_increases"] == 1


@pytest.mark.long
def test_a_forced_ad_is_promoted_once_within_every_limit(world, make):
    """No winner, and raised all the same; the wish is fulfilled with that."""
    world.seed(60, 60, 60)
    plain = world.ads[1]
    world.post("/api/promotion/acme/force", {"ad_id": plain, "by": "ana"})
    assert world.promoted()["budget_increases"] == 1
    (change,) = world.raises()
    assert (change.ad_id, change.payload["new_budget"]) == (plain, 5500)
    assert "forced by ana" in change.reasoning
    world.settle()
    world.clock.sleep(25 * make.hour)
    world.seed(60, 60, 60, days=10)
    assert world.promoted("lc-2")["budget_increases"] == 0


@pytest.mark.long
def test_a_forced_ad_waits_in_the_ignorance_zone(world):
    """A person's wish does not let a young ad out of it."""
    world.seed(60, 60, 60, days=1)
    world.post("/api/promotion/acme/force", {"ad_id": world.ads[0], "by": "ana"})
    assert world.promoted()["budget_increases"] == 0
    assert (world.ads[0], "ignorance_zone") in world.held()


@pytest.mark.long
def test_a_paused_account_promotes_nothing_until_it_is_resumed(world):
    """Every ad is held by the pause; resumed, the winner is promoted."""
    world.seed(*CLEAR)
    world.post("/api/promotion/acme/pause", {"by": "ana", "reason": "budget freeze"})
    assert world.promoted()["promoted_count"] == 0
    assert {rule for _, rule in world.held()} == {"paused"}
    assert "budget freeze" in next(iter(world.held().values()))
    world.post("/api/promotion/acme/resume", {"by": "ana"})
    assert world.promoted("lc-2")["budget_increases"] == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("none/exclude", {"ad_id": "1", "by": "a"}, 404),
        ("acme/exclude", {"ad_id": "a/b", "by": "a"}, 422),
        ("acme/exclude", {"ad_id": "1"}, 422),
        ("acme/pause", {}, 422),
    ],
)
def test_what_cannot_be_decided_is_refused_by_name(world, path, body, status):
    """An unknown account, an id that is none, nobody who decides."""
    assert world.post(f"/api/promotion/{path}", body)[0] == status


@pytest.mark.long
def test_what_stands_is_listed_with_the_requests(world):
    """Overrides and requests of the account, in one answer."""
    world.seed(*CLEAR)
    world.make_here(world.ads[0])
    world.promoted()
    world.post("/api/promotion/acme/exclude", {"ad_id": world.ads[2], "by": "ana"})
    status, shown = world.call("gateway", "GET", "/api/promotion/acme")
    assert status == 200
    assert list(shown["excluded"]) == [world.ads[2]]
    assert [one["ad_id"] for one in shown["variations"]] == [world.ads[0]]


# The check -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "service", ["ml_service", pytest.param("meta_publisher", marks=pytest.mark.long)]
)
def test_the_check_shows_winners_and_queues_nothing(world, service):
    """Who would be promoted now; the counts are those of the last cycle, null before it."""
    world.seed(*CLEAR)
    answer = ask(world, "auto-promote/check", {"account_id": "acme"}, service)
    assert (answer["total_checked"], answer["data_status"]) == (3, "complete")
    assert [one["ad_id"] for one in answer["winners"]] == [world.ads[0]]
    assert answer["promoted_count"] is None
    assert len(answer["held"]) == 2
    assert world.raises() == []
    assert world.documents.get(f"promotion_states/{world.adsets[world.ads[0]]}", dict) is None


@pytest.mark.long
def test_the_check_tells_what_the_last_cycle_promoted(world):
    """After a cycle its counts and id are there, and the winner waits for its change."""
    world.seed(*CLEAR)
    world.promoted()
    answer = ask(world, "auto-promote/check", {"account_id": "acme"})
    assert (answer["promoted_count"], answer["budget_increases"]) == (1, 1)
    assert answer["cycle_id"] == "lc-1"
    assert answer["winners"] == []


@pytest.mark.long
@pytest.mark.parametrize("account", ["nobody", "acme"])
def test_an_account_without_ads_is_insufficient(world, account):
    """No figure is invented for who has nothing."""
    answer = ask(world, "auto-promote/check", {"account_id": account})
    assert (answer["total_checked"], answer["data_status"]) == (0, "insufficient")
    assert answer["promoted_count"] is None


# Wear ----------------------------------------------------------------------------------------


def test_wear_is_told_with_its_evidence_and_remedies(world):
    """A falling CTR is FATIGUING with its slope; an even one HEALTHY; a new one INSUFFICIENT."""
    world.seed(100, 100, 100, days=7, impressions=4000)
    falling, _, young = world.ads
    world.documents.update(
        f"ad_states/{falling}", {"days": world.daily([200, 160, 128, 102, 82, 66, 52], 4000)}
    )
    world.state(young, 100, days=2)
    body = {"status": "ACTIVE", "include_remediation": True, "account_id": "acme"}
    answer = ask(world, "fatigue/monitor", body)
    by_ad = {one["ad_id"]: one for one in answer["ads"]}
    assert [by_ad[ad]["state"] for ad in world.ads] == [
        "FATIGUING", "HEALTHY", "INSUFFICIENT_DATA",
    ]  # fmt: skip
    assert by_ad[falling]["evidence"]["ctr_slope"] == pytest.approx(-0.22, abs=0.03)
    assert by_ad[falling]["remediation"]
    assert by_ad[young]["evidence"]["ctr_slope"] is None
    assert answer["ads"][0]["ad_id"] == falling
    only = ask(world, "fatigue/monitor", {"status": "healthy", "account_id": "acme"})
    assert [one["ad_id"] for one in only["ads"]] == [world.ads[1]]
    assert only["ads"][0]["remediation"] is None


@pytest.mark.long
@pytest.mark.parametrize("body", [{}, {"ad_id": "unknown"}, {"account_id": "nobody"}])
def test_wear_of_nothing_is_insufficient(world, body):
    """Unknown ads and accounts are an empty answer that says so."""
    answer = ask(world, "fatigue/monitor", body)
    assert (answer["ads"], answer["data_status"]) == ([], "insufficient")


# The Oracle ----------------------------------------------------------------------------------


def recorded(world, make, plan, ad_id, ctr):
    made = creative.of_blueprint(plan, list(make.scenes("cf-source")), None)
    said = Prediction(
        score=0.6, ctr=ctr, interval=(0.01, 0.03) if ctr else None, model_version="ctr-1",
        sample_size=80,
    )  # fmt: skip
    record = PredictionRecord(
        id=f"{plan.id}-v", account_id="acme", at=5.0, features=made, predicted=said,
        variation_id=f"{plan.id}-v", blueprint_id=plan.id, ad_id=ad_id,
    )  # fmt: skip
    world.documents.set(f"predictions/{record.id}", record)


@pytest.mark.long
def test_the_oracle_answers_by_plan_variation_and_ad(world, make):
    """The same recorded prediction by each of the creative's ids, with what became of it."""
    world.seed(*CLEAR)
    ad = world.ads[0]
    plan = world.make_here(ad)
    recorded(world, make, plan, ad, 0.02)
    actual = Actual(
        id=ad, ad_id=ad, account_id="acme", currency="USD", impressions=1000, clicks=25,
        spend=100, pipeline_value=0, cash_revenue=0, first_shown_at=1.0, until_at=2.0,
        linked_at=2.0,
    )  # fmt: skip
    world.documents.set(f"actuals/{ad}", actual)
    kinds = {plan.id: "blueprint", f"{plan.id}-v": "variation", ad: "ad"}
    for creative_id, kind in kinds.items():
        answer = ask(world, "oracle/predict", {"creative_id": creative_id, "action": "publish"})
        assert (answer["kind"], answer["source"], answer["action"]) == (kind, "recorded", "publish")
        assert (answer["predicted_ctr"], answer["interval"]) == (0.02, [0.01, 0.03])
        assert (answer["model_version"], answer["sample_size"]) == ("ctr-1", 80)
        assert answer["actual_ctr"] == 0.025
        assert answer["band"] == "medium"


@pytest.mark.long
def test_the_oracle_knows_no_rate_without_a_model(world):
    """A plan's own score is told as the plan's; its CTR stays null."""
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    scored = Prediction(
        score=0.7, ctr=None, interval=None, model_version="heuristic", sample_size=0
    )
    world.documents.set(f"blueprints/{plan.id}", replace(plan, predicted=scored))
    answer = ask(world, "oracle/predict", {"creative_id": plan.id})
    assert (answer["source"], answer["score"], answer["predicted_ctr"]) == ("plan", 0.7, None)
    assert answer["data_status"] == "complete"


@pytest.mark.long
def test_the_oracle_says_insufficient_of_what_it_does_not_know(world):
    """Unknown ids, and creatives of which nobody predicted anything."""
    assert ask(world, "oracle/predict", {"creative_id": "x"})["data_status"] == "insufficient"
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    answer = ask(world, "oracle/predict", {"creative_id": plan.id})
    assert (answer["data_status"], answer["predicted_ctr"]) == ("insufficient", None)
    assert world.post("/api/ml/oracle/predict", {}, "ml_service")[0] == 422


# The doctor ----------------------------------------------------------------------------------


def test_the_doctor_diagnoses_by_facts_and_plans_what_the_issue_is_about(world):
    """Facts with their sources, what was not measured, and judged variations of the hook."""
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    body = {"creative_id": world.ads[0], "issue": "weak hook", "variations": 2}
    answer = ask(world, "creative-doctor/generate", body)
    assert (answer["data_status"], answer["mode"]) == ("complete", "default")
    assert answer["diagnosis"]["about"] == "hook"
    sources = {symptom["source"] for symptom in answer["diagnosis"]["symptoms"]}
    assert {"critic", "wear"} <= sources
    assert any("not rendered" in one for one in answer["diagnosis"]["not_measured"])
    assert 1 <= len(answer["variations"]) <= 2
    assert "default-strategy" in answer["degraded"]
    for one in answer["variations"]:
        assert one["id"].startswith(f"{plan.id}-alt")
        assert one["verdict"]
        assert "opening line" in one["title"] or "first shot" in one["title"]


@pytest.mark.long
def test_the_doctor_cuts_to_the_duration_that_is_asked_for(world):
    """Every variation lasts about that long."""
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    body = {"creative_id": plan.id, "issue": "", "variations": 3, "duration": 6.0}
    planned = ask(world, "creative-doctor/generate", body)["variations"]
    assert planned
    for one in planned:
        assert sum(s["end_s"] - s["start_s"] for s in one["shots"]) == pytest.approx(6.0, abs=0.9)


@pytest.mark.long
def test_the_doctor_says_when_it_does_not_understand_the_issue(world):
    """It is told, and every kind of change takes its turn."""
    world.seed(*CLEAR)
    plan = world.make_here(world.ads[0])
    body = {"creative_id": plan.id, "issue": "qwertz", "variations": 4}
    answer = ask(world, "creative-doctor/generate", body)
    assert answer["diagnosis"]["about"] is None
    assert "issue-not-recognised" in answer["degraded"]
    assert answer["variations"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"creative_id": "unknown"}, 200),
        ({"creative_id": "cf-source-bp00", "variations": 0}, 422),
        ({"creative_id": "cf-source-bp00", "duration": 600}, 422),
        ({"creative_id": "a/b"}, 422),
    ],
)
def test_the_doctor_refuses_only_what_cannot_be_understood(world, body, status):
    """An unknown creative is insufficient; impossible numbers are named."""
    world.seed(*CLEAR)
    world.make_here(world.ads[0])
    found, answer = world.post("/api/ml/creative-doctor/generate", body, "ml_service")
    assert found == status
    if status == 200:
        assert (answer["data_status"], answer["variations"]) == ("insufficient", [])
