"""Every learning route answers its documented members, of an account with data and of an empty one.

The members are those that users of the earlier system's API read.
"""

import pytest
from geminivideo.records import Account
from google.cloud import pubsub_v1

TOTALS = {"ad_id": "1", "impressions": 1000, "clicks": 20, "spend": 50.0, "age_hours": 72.0}
DNA = {"hook": "a duck", "copy": "two for one"}
DID = {"ctr": 0.05, "roas": 4.0, "pipeline_roas": 4.0, "impressions": 9000}
PATTERN = {"pattern_type": "hook", "pattern": "question", "effectiveness": 0.8}

# Route: (body beside the account, members of the answer, whether an empty account is insufficient).
# ``ad`` in a body is the account's ad.
ROUTES = {
    "battle-hardened/select": (
        {"total_budget": 100.0, "ad_states": [TOTALS]},
        "total_budget num_ads recommendations seed policy_version wisdom",
        False,
    ),
    "battle-hardened/feedback": (
        {"ad_id": "ad", "actual_pipeline_value": 10.0, "actual_spend": 5.0},
        "status ad_id actual_roas model_updated sampler_updated timestamp",
        False,
    ),
    "synthetic-revenue/calculate": (
        {"stage_from": "lead", "stage_to": "closedwon", "deal_value": 100.0},
        "stage_from stage_to synthetic_value calculated_value confidence reason",
        False,
    ),
    "actuals/fetch": (
        {"time_range": "last_month"},
        "actuals_count linked_predictions successful partial",
        True,
    ),
    "accuracy/calculate": ({}, "accuracy rmse mae r_squared n data_status", True),
    "train/ctr": (
        {"trigger": "manual", "min_accuracy": 0.8},
        "triggered model_version new_model_version champion_score challenger_score promoted reason",
        True,
    ),
    "compound-learn/extract": (
        {"time_range": "last_month"},
        "new_patterns new_knowledge_nodes patterns",
        True,
    ),
    "auto-promote/check": (
        {},
        "total_checked promoted_count budget_increases new_variations held",
        True,
    ),
    "cross-learn/share": (
        {"anonymize": True},
        "status patterns_shared global_patterns_received opted_in",
        True,
    ),
    "rag/search-winners": (
        {"query": "a duck", "top_k": 3},
        "matches winners results_found index_version",
        True,
    ),
    "rag/index-winners": ({"auto_index": True}, "status indexed_count", True),
    "rag/index-winner": (
        {"ad_id": "elsewhere", "creative_dna": DNA, "performance": DID, "metadata": {}},
        "status reason",
        False,
    ),
    "creative-dna/extract": ({"ad_id": "ad"}, "dna_score components data_status", True),
    "knowledge-graph/update": (
        {"patterns": [PATTERN], "source": "test"},
        "nodes_added nodes_updated",
        False,
    ),
    "analytics/top-campaigns": (
        {"top_k": 3, "time_period": "last_month", "metric": "ctr", "group_by": "campaign"},
        "campaigns groups data_status",
        True,
    ),
    "oracle/predict": ({"creative_id": "ad"}, "predicted_ctr interval data_status", True),
    "creative-doctor/generate": (
        {"creative_id": "ad", "issue": "hook", "variations": 2, "duration": 9.0},
        "diagnosis variations",
        True,
    ),
    "fatigue/monitor": ({"status": "ACTIVE", "include_remediation": True}, "ads", True),
    "pattern-extractor/analyze": (
        {"top_n": 5, "time_period": "last_month", "analysis_type": "hook"},
        "patterns_count principles",
        True,
    ),
    "market-trend/analyze": (
        {"industry": "toys", "trends_count": 3, "platform": "meta"},
        "trends source data_status",
        True,
    ),
    "federated-learning/query": (
        {"business_type": "toys", "time_period": "last_month", "metric": "ctr"},
        "aggregate accounts noise",
        True,
    ),
    "self-learning-cycle": (
        {"trigger_retrain": False, "accuracy_threshold": 0.8},
        "cycle_id status",
        False,
    ),
}
# What an account that has nothing is told of it: nothing.
LISTS = ("patterns", "held", "matches", "winners", "campaigns", "groups", "ads", "principles")
FIGURES = ("accuracy", "rmse", "mae", "r_squared", "dna_score", "predicted_ctr", "interval")


def asked(world, account, ad, route):
    body, members, is_insufficient = ROUTES[route]
    named = {name: ad if value == "ad" else value for name, value in body.items()}
    status, answer = world.post(f"/api/ml/{route}", {"account_id": account} | named, "ml_service")
    assert status == 200, (route, answer)
    assert set(members.split()) <= set(answer), route
    return answer, is_insufficient


@pytest.fixture
def topic(world):
    """Where a cycle that is asked for begins."""
    name = f"projects/{world.project}/topics/learning-due"
    return pubsub_v1.PublisherClient().create_topic(name=name)


@pytest.mark.long
def test_every_route_answers_its_members_of_an_account_with_data(world, ad, topic):
    """From what is stored: figures of this ad and this account are in the answers."""
    answers = {route: asked(world, "acme", ad, route)[0] for route in ROUTES}
    assert answers["actuals/fetch"]["actuals_count"] == 3
    assert answers["auto-promote/check"]["total_checked"] == 3
    assert [one["id"] for one in answers["compound-learn/extract"]["patterns"]] == ["acme-story"]
    assert answers["creative-doctor/generate"]["diagnosis"]["faults"] > 0
    assert len(answers["fatigue/monitor"]["ads"]) == 3
    assert answers["rag/index-winner"]["status"] == "indexed"
    cycle = answers["self-learning-cycle"]["cycle_id"]
    status, shown = world.call("ml_service", "GET", f"/api/ml/self-learning-cycle/{cycle}")
    assert (status, list(shown["steps"])) == (200, [str(n) for n in range(1, 8)])


@pytest.mark.long
def test_every_route_says_insufficient_of_an_empty_account(world, topic):
    """No figure is invented: nulls, empty lists, and the word."""
    given = Account(id="empty", ad_account_id="act_9", page_id="1", link_url="")
    world.documents.set("accounts/empty", given)
    for route in ROUTES:
        answer, is_insufficient = asked(world, "empty", "nobody", route)
        if not is_insufficient:
            continue
        assert answer["data_status"] == "insufficient", (route, answer)
        assert not any(answer.get(name) for name in LISTS), route
        assert {answer.get(name) for name in FIGURES} == {None}, route
