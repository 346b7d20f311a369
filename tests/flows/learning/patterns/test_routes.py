"""The routes of patterns, knowledge, trends and campaigns: from real state, or insufficient."""

from datetime import UTC, datetime

import pytest
from geminivideo.learning_records import KnowledgeEdge
from geminivideo.records import Account, AdState, Campaign, FeedbackEvent, PerformanceDay
from geminivideo.records import Brief as AdBrief

EXTRACT, PRINCIPLES = "/api/ml/compound-learn/extract", "/api/ml/pattern-extractor/analyze"
TRENDS, KNOWLEDGE = "/api/ml/market-trend/analyze", "/api/ml/knowledge-graph/update"
TOP = "/api/ml/analytics/top-campaigns"
QUESTION = "hook_type=question"
DAY = 86_400.0


# Patterns ----------------------------------------------------------------------------------------


def test_extract_does_what_the_loop_does(world):
    """The route finds and writes the same patterns; asked again it adds none."""
    world.ads()
    first = world.post(EXTRACT, account_id="acme", time_range="120d")
    assert first.status == 200
    assert first.json["new_patterns"] == len(first.json["patterns"]) >= 1
    assert first.json["new_knowledge_nodes"] >= 2
    assert first.json["data_status"] == "complete"
    assert QUESTION in world.patterns()
    again = world.post(EXTRACT, account_id="acme")
    assert (again.json["new_patterns"], again.json["new_knowledge_nodes"]) == (0, 0)
    assert world.run_loop().result["new_patterns"] == 0


def test_meta_publisher_has_the_routes_too(world):
    """The same handlers answer on both services."""
    for path in (EXTRACT, PRINCIPLES, TRENDS, TOP):
        assert world.post(path, service="meta_publisher").json["data_status"] == "insufficient"


def test_extract_of_an_account_without_ads_is_insufficient(world):
    """An unknown account has no pattern, and that is said."""
    answer = world.post(EXTRACT, account_id="nobody", time_range="last_30_days")
    assert answer.status == 200
    assert answer.json == {
        "new_patterns": 0, "new_knowledge_nodes": 0, "patterns": [], "ads_compared": 0,
        "data_status": "insufficient",
    }  # fmt: skip


def test_a_narrower_time_looks_at_fewer_ads(world):
    """Of six campaigns in fourteen days a week shows two."""
    world.ads()
    narrow = world.post(EXTRACT, account_id="acme", time_range="7d").json
    assert narrow["ads_compared"] == 2 * 6
    assert world.post(EXTRACT, account_id="acme").json["ads_compared"] == 6 * 6


def test_a_time_that_is_none_is_refused_by_name(world):
    """422 names the member and what is understood."""
    for time in ("yesterday-ish", "-3d", "Q5", "0", "nan", "inf", "1e99", "٣d"):
        for path, member in ((EXTRACT, "time_range"), (TOP, "time_period")):
            answer = world.post(path, **{member: time})
            assert answer.status == 422
            assert member in answer.json["error"]


def test_principles_are_the_most_effective_patterns(world):
    """Sentences with their evidence, the most effective first, as many as asked for."""
    world.ads()
    world.run_loop()
    answer = world.post(PRINCIPLES, account_id="acme", top_n=1, time_period="last_month")
    assert answer.json["data_status"] == "complete"
    assert answer.json["patterns_count"] == len(world.patterns())
    (one,) = answer.json["principles"]
    assert one["principle"].startswith("Prefer hook type question: ")
    assert one["interval"][0] > 1


def test_principles_can_be_asked_for_by_part_and_direction(world):
    """Hooks only, pacing only, losing only; a kind that is none is refused."""
    world.ads()
    world.run_loop()

    def kinds(kind):
        answer = world.post(PRINCIPLES, account_id="acme", analysis_type=kind)
        return {one["pattern_type"] for one in answer.json["principles"]}

    assert kinds("hook") == {"hook"}
    assert kinds("pacing") == set()
    losing = world.post(PRINCIPLES, account_id="acme", analysis_type="losing").json["principles"]
    assert all(one["lift"] < 1 for one in losing)
    assert world.post(PRINCIPLES, analysis_type="astrology").status == 422


def test_principles_of_an_unknown_account_are_insufficient(world):
    """No pattern is invented."""
    answer = world.post(PRINCIPLES, account_id="nobody")
    assert answer.json == {"patterns_count": 0, "principles": [], "data_status": "insufficient"}


def test_trends_compare_newer_ads_with_those_before(world):
    """Questions that work only of late rise; what was asked and is not modelled is said."""
    world.ads(factor=1.0, campaigns=8, until=world.clock.at - 32 * DAY, name="o")
    world.ads(factor=2.5, campaigns=8, seed=5)
    answer = world.post(TRENDS, account_id="acme", industry="shoes", trends_count=3)
    assert answer.json["source"] == "own_ads"
    assert answer.json["not_modelled"] == ["industry"]
    assert len(answer.json["trends"]) == 3
    by_name = {one["trend"]: one for one in answer.json["trends"]}
    assert by_name[QUESTION]["direction"] == "rising"


def test_trends_without_ads_are_insufficient(world):
    """Nobody else's ads fill in."""
    world.ads(account="rival", campaigns=8)
    answer = world.post(TRENDS, account_id="acme")
    assert (answer.json["trends"], answer.json["data_status"]) == ([], "insufficient")


# Knowledge ---------------------------------------------------------------------------------------

CLAIMS = [
    {"pattern_type": "hook", "pattern": "unboxing", "effectiveness": 0.8},
    {"pattern_type": "visual", "pattern": "close-up"},
]


def test_told_knowledge_is_added_once(world):
    """Two claims are two nodes; told again they are updated and nothing is added."""
    first = world.post(KNOWLEDGE, patterns=CLAIMS, source="agency")
    assert first.json == {"nodes_added": 2, "nodes_updated": 0}
    again = world.post(KNOWLEDGE, patterns=CLAIMS, source="agency")
    assert again.json == {"nodes_added": 0, "nodes_updated": 2}
    nodes, edges = world.graph()
    assert len(nodes) == 2
    assert edges == {}


def test_told_knowledge_meets_what_is_measured(world):
    """A claim about what the ads show joins its node and changes no evidence."""
    world.ads()
    world.run_loop()
    _, before = world.graph()
    claim = {"pattern_type": "hook", "pattern": QUESTION, "effectiveness": 99.0}
    told = world.post(KNOWLEDGE, patterns=[claim], source="agency", account_id="acme")
    assert told.json == {"nodes_added": 0, "nodes_updated": 1}
    assert world.all("knowledge_edges", KnowledgeEdge) == before
    world.run_loop("lc-2")
    nodes, _ = world.graph()
    assert {"ads", "agency"} in [set(node.sources) for node in nodes.values()]


NO_CLAIMS = (
    {"patterns": CLAIMS, "source": " "},
    {"patterns": CLAIMS, "source": "ads"},
    {"patterns": [{"pattern_type": "", "pattern": "x"}], "source": "agency"},
    {"patterns": [{"pattern_type": "hook", "pattern": "x" * 201}], "source": "agency"},
    {"patterns": CLAIMS * 300, "source": "agency"},
    {"patterns": "all", "source": "agency"},
)


def test_claims_that_cannot_be_understood_are_refused(world):
    """No source, the ads' own name, an empty or endless claim: 422 and nothing is kept."""
    assert [world.post(KNOWLEDGE, **body).status for body in NO_CLAIMS] == [422] * len(NO_CLAIMS)
    assert world.graph() == ({}, {})


def test_no_claim_is_no_node(world):
    """An empty list is understood."""
    answer = world.post(KNOWLEDGE, patterns=[], source="agency")
    assert answer.json == {"nodes_added": 0, "nodes_updated": 0}


# The best campaigns ------------------------------------------------------------------------------


@pytest.fixture
def spent(world):
    """Three campaigns over forty days; one of them was made here and has a name."""
    documents = world.documents
    account = Account(
        id="acme", ad_account_id="act_1", page_id="1", link_url="https://x.test", currency="EUR"
    )
    made = Campaign(
        id="ca-1", flow_id=None, account_id="acme", name="Spring boots", brief=AdBrief(),
        status="LIVE", created_at=1.0, steps={"campaign": {"meta_id": "m1", "state": "DONE"}},
    )  # fmt: skip
    documents.set("accounts/acme", account)
    documents.set("campaigns/ca-1", made)
    for number, (ctr, value) in enumerate([(0.01, 900), (0.03, 0), (0.02, 100)], start=1):
        days = [(world.clock.at - back * DAY, 1000, round(1000 * ctr)) for back in range(1, 41)]
        _shown(world, f"a{number}", f"m{number}", days, value)
    return world


def _shown(world, ad, campaign, days, value):
    state = AdState(
        id=ad, account_id="acme", currency="EUR", updated_at=1.0, campaign_id=campaign,
        status="ACTIVE", impressions=40_000, clicks=sum(day[2] for day in days), spend=40 * 10_00,
        pipeline_value=value * 100,
    )  # fmt: skip
    world.documents.set(f"ad_states/{ad}", state)
    rows = []
    for at, impressions, clicks in days:
        date = datetime.fromtimestamp(at, UTC).date().isoformat()
        day = PerformanceDay(
            id=f"{ad}-{date}", ad_id=ad, account_id="acme", date=date, impressions=impressions,
            clicks=clicks, spend=10_00, currency="EUR", source="meta", fetched_at=at,
        )  # fmt: skip
        rows.append((f"performance_metrics/{day.id}", day))
    credit = FeedbackEvent(
        id=f"fe-{ad}", kind="deal", account_id="acme", occurred_at=world.clock.at - 20 * DAY,
        received_at=1.0, ad_id=ad, value=value * 100, currency="EUR",
    )  # fmt: skip
    world.documents.set_many([*rows, (f"feedback_events/{credit.id}", credit)])


def ids(rows):
    return [row["id"] for row in rows]


def test_campaigns_are_ranked_by_the_metric(spent):
    """By CTR and by pipeline return the order differs; a campaign made here has its name."""
    by_ctr = spent.post(TOP, account_id="acme", metric="ctr").json
    assert ids(by_ctr["campaigns"]) == ["m2", "m3", "m1"]
    by_return = spent.post(TOP, account_id="acme", metric="pipeline_roas", top_k=2).json
    assert ids(by_return["campaigns"]) == ["m1", "m3"]
    best = by_return["campaigns"][0]
    assert (best["name"], best["spend"], best["pipeline_value"]) == ("Spring boots", 400.0, 900.0)
    assert best["value"] == pytest.approx(2.25)
    assert (by_return["currency"], by_return["data_status"]) == ("EUR", "complete")


@pytest.mark.parametrize(("mode", "metric"), [("direct", "roas"), ("pipeline", "pipeline_roas")])
def test_without_a_metric_campaigns_are_ranked_by_the_return_that_counts(spent, mode, metric):
    """Cash for a shop, deals for a service; an empty metric is none that there is."""
    spent.documents.set("policies/acme", {"sampler": {"mode": mode}})
    asked = spent.post(TOP, account_id="acme").json
    assert asked["metric"] == metric
    assert asked["campaigns"] == spent.post(TOP, account_id="acme", metric=metric).json["campaigns"]
    assert spent.post(TOP, account_id="acme", metric="").status == 422


def test_a_time_counts_its_own_days_and_credits(spent):
    """A week has seven days and no credit, a month has the credits."""
    week = spent.post(TOP, account_id="acme", time_period="last_week", metric="clicks").json
    assert {row["impressions"] for row in week["campaigns"]} == {7000}
    assert {row["pipeline_value"] for row in week["campaigns"]} == {0.0}
    month = spent.post(TOP, account_id="acme", time_period="last_month", metric="roas").json
    assert sum(row["pipeline_value"] for row in month["campaigns"]) == 1000.0
    assert month["campaigns"][0]["value"] == 0.0


def test_quarters_are_calendar_quarters(spent):
    """The quarter that runs holds the days since it began, the one after it is last year's."""
    now = datetime.fromtimestamp(spent.clock.at, UTC)
    this = f"Q{(now.month + 2) // 3}"
    counted = spent.post(TOP, account_id="acme", time_period=this, metric="spend").json
    assert counted["data_status"] == "complete"
    coming = f"Q{(now.month + 2) // 3 % 4 + 1}"
    empty = spent.post(TOP, account_id="acme", time_period=coming, metric="spend").json
    assert empty["data_status"] == "insufficient"


def test_groups_add_up_to_the_whole(spent):
    """However it is grouped, no impression is lost or counted twice."""
    body = {"account_id": "acme", "time_period": "last_month", "metric": "clicks", "top_k": 100}
    for group in ("campaign", "adset", "ad", "status", "week", "month", "day"):
        answer = spent.post(TOP, group_by=group, **body).json
        whole = sum(row["impressions"] for row in answer["campaigns"])
        assert sum(row["impressions"] for row in answer["groups"]) == whole == 3 * 30 * 1000


def test_ads_are_grouped_by_what_they_are_made_of(world):
    """By hook type every ad with actuals is in its group."""
    world.ads(campaigns=2)
    for number in range(2):
        for index in range(6):
            ad = f"acme-c{number}-{index}"
            state = AdState(
                id=ad, account_id="acme", currency="USD", updated_at=1.0, campaign_id="m",
                impressions=100, clicks=1, spend=1_00,
            )  # fmt: skip
            world.documents.set(f"ad_states/{ad}", state)
    answer = world.post(TOP, account_id="acme", metric="ctr", group_by="hook_type").json
    assert set(ids(answer["groups"])) <= {"question", "story", "statistic"}
    assert sum(row["ads"] for row in answer["groups"]) == 12


def test_a_ratio_without_its_denominator_is_unknown_and_last(world):
    """A campaign that spent nothing has no return, and is not the best."""
    for ad, spend in (("a", 0), ("b", 5_00)):
        state = AdState(
            id=ad, account_id="acme", currency="USD", updated_at=1.0, campaign_id=f"m-{ad}",
            impressions=10, spend=spend, cash_revenue=1_00,
        )  # fmt: skip
        world.documents.set(f"ad_states/{ad}", state)
    rows = world.post(TOP, account_id="acme", metric="roas").json["campaigns"]
    assert [(row["id"], row["value"]) for row in rows] == [("m-b", 0.2), ("m-a", None)]


def test_an_account_without_ads_is_insufficient(world):
    """Nothing is ranked where nothing ran."""
    answer = world.post(TOP, account_id="nobody", metric="ctr", group_by="month")
    assert answer.status == 200
    assert (answer.json["campaigns"], answer.json["groups"]) == ([], [])
    assert answer.json["data_status"] == "insufficient"


def test_what_cannot_be_ranked_is_refused(world):
    """422 names the member and what is known."""
    for body in ({"metric": "karma"}, {"group_by": "mood"}, {"top_k": 0}, {"top_k": 101}):
        answer = world.post(TOP, **body)
        assert answer.status == 422
        assert next(iter(body)) in answer.json["error"]
