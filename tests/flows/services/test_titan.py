"""Titan Core: the Director's plans and the three shapes of the Council's evaluation."""

import pytest

EVALUATE, GENERATE = "/council/evaluate", "/director/generate"


def titan(world, path, body):
    return world.post("titan_core", path, body)


def test_script_shape(world):
    """A script gets a score, a verdict and a breakdown of the members that judge by words."""
    answer = titan(world, EVALUATE, {"script": "Wait for it: duck"})
    assert answer.status == 200
    assert set(answer.json["breakdown"]) == {"hook-critic", "evidence-critic"}
    assert answer.json["approved"] is (answer.json["verdict"] == "APPROVED")
    assert 0 <= answer.json["final_score"] <= 100
    assert answer.json["degraded"] == ["default-strategy"]


def test_features_that_no_member_judges_by_are_named(world):
    """Visual features beside a script change no score, and the answer says that they did not."""
    script = {"script": "Wait for it: duck"}
    plain = titan(world, EVALUATE, script).json
    seen = titan(world, EVALUATE, script | {"visual_features": {"motion": 0.9}}).json
    assert seen["final_score"] == plain["final_score"]
    assert seen["degraded"] == [*plain["degraded"], "visual-features-unused"]


@pytest.mark.parametrize("script", ["", " \n", "x" * 500])
def test_bad_scripts_are_not_approved(world, script):
    """An empty script, or one whose first line nobody can read in a second, is not approved."""
    answer = titan(world, EVALUATE, {"script": script})
    assert (answer.status, answer.json["approved"]) == (200, False)


def test_breakdown_explains_the_score(world):
    """The final score is the weighted mean of the breakdown: nothing else enters it."""
    answer = titan(world, EVALUATE, {"script": "THIS HOOK SHOUTS AND HAS MANY MANY WORDS IN IT"})
    members = answer.json["breakdown"]
    mean = (0.4 * members["hook-critic"] + 0.2 * members["evidence-critic"]) / 0.6
    assert answer.json["final_score"] == pytest.approx(mean, abs=0.01)


def test_blueprints_shape(world):
    """Given scores are compared with the threshold, plans without one are judged by words."""
    plans = [
        {"id": "a", "hook_text": "Hi", "council_score": 0.92},
        {"id": "b", "hook_text": "Hi", "council_score": 84.9},
        {"id": "c", "hook_text": "Have you seen this?"},
        {"id": "d", "hook_text": ""},
    ]
    answer = titan(world, EVALUATE, {"blueprints": plans, "approval_threshold": 0.85})
    found = {one["id"]: one for one in answer.json["evaluations"]}
    assert [found[i]["verdict"] for i in "abd"] == ["APPROVED", "REJECTED", "REJECTED"]
    assert found["a"]["council_score"] == pytest.approx(92)
    assert found["a"]["reasons"] == ["score as given"]
    assert found["c"]["council_score"] is not None
    assert all(one["reasons"] for one in found.values())


def test_threshold_moves_the_verdict(world):
    """The same plan passes a low threshold (as fraction or points) and fails a high one."""
    plans = [{"id": "a", "hook_text": "x", "council_score": 70}]
    verdicts = [
        titan(world, EVALUATE, {"blueprints": plans, "approval_threshold": bar}).json
        for bar in (0.6, 60, 0.8, 80)
    ]
    found = [answer["evaluations"][0]["verdict"] for answer in verdicts]
    assert found == ["APPROVED", "APPROVED", "REJECTED", "REJECTED"]


def test_no_plans_given_is_an_empty_answer(world):
    """An empty list of plans is understood: nothing to judge."""
    answer = titan(world, EVALUATE, {"blueprints": []})
    assert (answer.status, answer.json["evaluations"]) == (200, [])


def test_flow_shape(world, analysed):
    """A flow's own plans come with the verdicts that stand in their records, best first."""
    campaign = world.post("gateway", "/api/campaigns", {"product_name": "Duck"}).json["id"]
    world.documents.update(f"campaigns/{campaign}", {"flow_id": analysed})
    for body in ({"asset_id": analysed}, {"campaign_id": campaign}):
        answer = titan(world, EVALUATE, body)
        assert [one["id"] for one in answer.json["blueprints"]] == [
            f"{analysed}-bp01",
            f"{analysed}-bp00",
        ]
        assert [one["verdict"] for one in answer.json["blueprints"]] == ["APPROVED", "REJECTED"]
        assert answer.json["data_status"] == "complete"
    short = titan(world, EVALUATE, {"asset_id": analysed, "variations_count": 1})
    assert len(short.json["blueprints"]) == 1


@pytest.mark.parametrize("body", [{"asset_id": "cf-none"}, {"campaign_id": "ca-none"}])
def test_unknown_flow_is_insufficient(world, body):
    """An unknown asset or campaign is 200 with no verdicts and ``insufficient``."""
    answer = titan(world, EVALUATE, body)
    assert answer.status == 200
    assert answer.json["blueprints"] == []
    assert answer.json["data_status"] == "insufficient"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "give a script"),
        ({"approval_threshold": 0.85}, "give a script"),
        ({"blueprints": [{"id": "a"}], "approval_threshold": -1}, "approval_threshold"),
        ({"blueprints": [{"id": "a"}], "approval_threshold": 101}, "approval_threshold"),
        ({"blueprints": [{"id": "a", "council_score": 1e9}]}, "council_score"),
        ({"blueprints": [{"hook_text": "x"}]}, "id"),
        ({"asset_id": "a/b"}, "asset_id"),
        ({"asset_id": "a", "variations_count": 0}, "variations_count"),
        ({"script": 5}, "script"),
    ],
)
def test_none_of_the_three_shapes(world, body, said):
    """What is none of the shapes, or holds what cannot be, is a 422 naming it."""
    answer = titan(world, EVALUATE, body)
    assert answer.status == 422
    assert said in answer.json["error"]


def test_plans_for_an_asset(world, analysed):
    """The Director plans for an analysed video; the mode and the degraded reason are honest."""
    body = {"asset_id": analysed, "target_variations": 4, "product_name": "Duck Soup"}
    answer = titan(world, GENERATE, body)
    plans = answer.json["blueprints"]
    assert answer.status == 200
    assert answer.json["mode"] == "default"
    assert answer.json["degraded"] == ["default-strategy"]
    assert 0 < answer.json["variations_count"] == len(plans) <= 4
    assert all(plan["shots"] for plan in plans)
    assert all(plan["verdict"] in ("APPROVED", "REJECTED", "NEEDS_REVIEW") for plan in plans)
    assert "Duck Soup" in answer.json["battle_plan"]


def test_plans_of_words_alone(world):
    """A brief without footage gives opening lines; none is approved and the answer says why."""
    body = {
        "product_name": "Duck Soup",
        "offer": "20% off",
        "pain_points": ["bland soup"],
        "desires": ["taste"],
        "target_variations": 5,
    }
    answer = titan(world, GENERATE, body)
    plans = answer.json["blueprints"]
    assert answer.status == 200
    assert answer.json["degraded"] == ["default-strategy", "no-footage"]
    assert len(plans) == 5
    assert {plan["verdict"] for plan in plans} == {"NEEDS_REVIEW"}
    assert all(plan["shots"] == [] and plan["hook_text"] for plan in plans)
    assert "Tired of bland soup?" in {plan["hook_text"] for plan in plans}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"asset_id": "cf-none"}, 404),
        ({"campaign_id": "ca-none"}, 404),
        ({"asset_id": "a/b"}, 422),
        ({"asset_id": "cf-duck", "target_variations": 0}, 422),
        ({"asset_id": "cf-duck", "target_variations": 51}, 422),
    ],
)
def test_what_cannot_be_planned(world, analysed, body, status):
    """An asset that is not there is a 404, a request that cannot be understood a 422."""
    assert titan(world, GENERATE, body).status == status
