"""Planning what shall exist at Meta: pure, deterministic, paused."""

import dataclasses
import urllib.parse
from typing import Any

import pytest
from facebook_business.adobjects.adcreative import AdCreative
from facebook_business.adobjects.adcreativefeaturesspec import AdCreativeFeaturesSpec
from geminivideo.events import ObjectRef
from geminivideo.meta_publisher import (
    PlanError,
    campaign_id_of,
    graph_objective,
    plan_campaign,
    plan_changes,
    queued_row,
)
from geminivideo.meta_publisher.creative import (
    CALLS_TO_ACTION,
    OPTED_OUT,
    call_to_action_type,
    url_tags,
)
from geminivideo.meta_publisher.plan import LEGACY_OBJECTIVES, OBJECTIVES
from geminivideo.policy import ExecutionMode, ExecutorPolicy, Policy
from geminivideo.records import (
    Account,
    Blueprint,
    Brief,
    ChangeStatus,
    ChangeType,
    HookType,
    PendingChange,
    Variation,
    VariationStatus,
)
from hypothesis import given
from hypothesis import strategies as st

FLOW, NOW = "cf-1", 1_790_000_000.0
ACCOUNT = Account(id="demo", ad_account_id="act_1", page_id="77", link_url="https://example.com")
BRIEF = Brief(product_name="Yoga at dawn", link_url="https://example.com/yoga")
BLUEPRINT = Blueprint(
    id="bp-0",
    flow_id=FLOW,
    title="question: why",
    hook_text="Why now?",
    hook_type=HookType.QUESTION,
    shots=(),
    cta_text="Book now",
    cta_type="book_now",
    caption="Because.",
    emotional_triggers=(),
    grade="warm",
    mode="default",
    council_score=91.0,
)
MEDIA = ObjectRef(bucket="m", name="v.mp4", generation=3)


def variation(number: int, **rest: Any) -> Variation:
    members = {"status": VariationStatus.RENDERED, "media": MEDIA} | rest
    return Variation(
        id=f"v{number}", render_job_id="rj", flow_id=FLOW, blueprint_id="bp-0", **members
    )


def planned(
    *variations: Variation, mode: ExecutionMode = ExecutionMode.AUTO
) -> list[PendingChange]:
    plan = plan_campaign(FLOW, ACCOUNT, BRIEF, title="clip")
    return plan_changes(
        FLOW,
        plan,
        ACCOUNT,
        BRIEF,
        {"bp-0": BLUEPRINT},
        variations,
        Policy(executor=ExecutorPolicy(mode=mode)),
        now=NOW,
        requested_by="test",
    )


def test_everything_is_planned_paused() -> None:
    """Nothing that we create may spend before somebody says so."""
    plan = plan_campaign(FLOW, ACCOUNT, BRIEF, title="clip")
    (change,) = planned(variation(0))
    statuses = {plan.campaign["status"], plan.adset["status"], change.payload["ad"]["status"]}
    assert statuses == {"PAUSED"}


def test_the_campaign_and_its_ad_set() -> None:
    """Traffic, the budget on the ad set and said so, impressions billed, link clicks sought."""
    plan = plan_campaign(FLOW, ACCOUNT, BRIEF, title="clip")
    assert plan.campaign["objective"] == "OUTCOME_TRAFFIC"
    assert plan.campaign["is_adset_budget_sharing_enabled"] is False
    assert plan.campaign["special_ad_categories"] == []
    assert "daily_budget" not in plan.campaign
    assert plan.adset["daily_budget"] == ACCOUNT.daily_budget
    assert plan.adset["billing_event"] == "IMPRESSIONS"
    assert plan.adset["optimization_goal"] == "LINK_CLICKS"
    assert plan.adset["targeting"]["geo_locations"] == {"countries": ["US"]}


def test_names_carry_our_ids_and_are_distinct() -> None:
    """Every object can be found by its name, and no two of a plan share one."""
    plan = plan_campaign(FLOW, ACCOUNT, BRIEF, title="clip")
    changes = planned(variation(0), variation(1))
    names, steps = [plan.name], ("adset", "video", "creative", "ad")
    for change in changes:
        names += [change.payload[step]["name"] for step in steps]
        assert all(change.id in change.payload[step]["name"] for step in steps)
    assert plan.campaign_id == campaign_id_of(FLOW)
    assert plan.campaign_id in plan.name
    assert len(set(names)) == len(names)


def test_planning_again_plans_the_same() -> None:
    """Ids, names, jitter and payload depend on the flow and the variation alone."""
    assert planned(variation(0)) == planned(variation(0))


def test_a_given_campaign_keeps_its_id() -> None:
    """A campaign that the user made before carries the plan."""
    plan = plan_campaign(FLOW, ACCOUNT, BRIEF, title="clip", campaign_id="ca-mine")
    assert plan.campaign_id == "ca-mine"
    record = plan.record(FLOW, ACCOUNT, BRIEF, NOW)
    assert (record.id, record.plan["adset"]) == ("ca-mine", plan.adset)


@pytest.mark.parametrize(("legacy", "current"), sorted(LEGACY_OBJECTIVES.items()))
def test_legacy_objectives_are_mapped(legacy: str, current: str) -> None:
    """Callers of the earlier system may go on saying CONVERSIONS."""
    assert graph_objective(legacy) == graph_objective(legacy.lower()) == current
    assert current in OBJECTIVES


def test_an_unknown_objective_is_refused_by_name() -> None:
    """Better here than at Meta."""
    with pytest.raises(PlanError, match="FAME"):
        graph_objective("FAME")


def test_eu_audiences_need_who_profits_and_who_pays() -> None:
    """The account must name both; then both are sent."""
    german = dataclasses.replace(ACCOUNT, countries=("US", "DE"))
    with pytest.raises(PlanError, match="dsa_beneficiary"):
        plan_campaign(FLOW, german, BRIEF, title="clip")
    named = dataclasses.replace(german, dsa_beneficiary="Us Ltd", dsa_payor="Us Ltd")
    assert plan_campaign(FLOW, named, BRIEF, title="c").adset["dsa_payor"] == "Us Ltd"


@pytest.mark.parametrize("broken", [{"daily_budget": 0}, {"countries": ()}])
def test_an_account_that_cannot_carry_a_plan(broken: dict[str, Any]) -> None:
    """The error names what to set on the account."""
    with pytest.raises(PlanError, match=next(iter(broken))):
        plan_campaign(FLOW, dataclasses.replace(ACCOUNT, **broken), BRIEF, title="c")


def test_one_change_per_rendered_variation() -> None:
    """What failed to render, or has no file, gets no change."""
    failed = variation(1, status=VariationStatus.FAILED, media=None)
    changes = planned(variation(0), failed, variation(2))
    assert [c.variation_id for c in changes] == ["v0", "v2"]
    assert {c.change_type for c in changes} == {ChangeType.CREATE_AD}
    assert {c.status for c in changes} == {ChangeStatus.PENDING}
    assert changes[0].payload["media"] == {"bucket": "m", "name": "v.mp4", "generation": 3}


@pytest.mark.parametrize("mode", list(ExecutionMode))
def test_approval_is_needed_outside_auto(mode: ExecutionMode) -> None:
    """A new account's changes wait for a person."""
    (change,) = planned(variation(0), mode=mode)
    assert change.needs_approval == (mode is not ExecutionMode.AUTO)


@given(number=st.integers(0, 10**6))
def test_jitter_is_drawn_once_within_its_bounds(number: int) -> None:
    """U(3, 18) seconds, seeded by the change, kept in not_before_at."""
    (change,) = planned(variation(number))
    assert 3.0 <= change.jitter_s <= 18.0
    assert change.not_before_at == NOW + change.jitter_s


def test_jitter_spreads() -> None:
    """A hundred changes do not come at once: the draws fill the range evenly."""
    draws = sorted(c.jitter_s for c in planned(*[variation(n) for n in range(100)]))
    assert 8.5 < sum(draws) / len(draws) < 12.5
    assert draws[0] < 4.5
    assert draws[-1] > 16.5


def test_the_creative_speaks_the_blueprints_words() -> None:
    """Hook as headline, caption as text, its button, the brief's link, our page."""
    (change,) = planned(variation(0))
    creative = change.payload["creative"]
    story = creative["object_story_spec"]
    assert story["page_id"] == "77"
    assert story["video_data"]["title"] == "Why now?"
    assert story["video_data"]["message"] == "Because."
    assert story["video_data"]["call_to_action"] == {
        "type": "BOOK_NOW",
        "value": {"link": "https://example.com/yoga"},
    }


def test_the_link_falls_back_to_the_accounts() -> None:
    """Without a link in the brief the account's own is used."""
    plan = plan_campaign(FLOW, ACCOUNT, Brief(), title="clip")
    (change,) = plan_changes(
        FLOW,
        plan,
        ACCOUNT,
        Brief(),
        {"bp-0": BLUEPRINT},
        [variation(0)],
        Policy(),
        now=NOW,
        requested_by="t",
    )
    action = change.payload["creative"]["object_story_spec"]["video_data"]["call_to_action"]
    assert action["value"]["link"] == ACCOUNT.link_url
    assert plan.name.startswith("clip")


def test_url_tags_keep_metas_macros_and_carry_our_ids() -> None:
    """{{ad.id}} reaches Meta as it is; the rest is a proper query."""
    (change,) = planned(variation(0))
    tags = change.payload["creative"]["url_tags"]
    query = dict(urllib.parse.parse_qsl(tags))
    assert "{{ad.id}}" in tags
    assert query["utm_content"] == "{{ad.id}}"
    assert (query["gv_flow"], query["gv_variation"]) == (FLOW, "v0")
    assert query["gv_change"] == change.id
    assert "%26" in url_tags({"x": "a&b"})


def test_buttons_and_opt_outs_are_metas_own_names() -> None:
    """Everything we send is in the installed client's enumerations; nothing that v22 removed."""
    assert set(vars(AdCreative.CallToActionType).values()) >= CALLS_TO_ACTION
    fields = set(vars(AdCreativeFeaturesSpec.Field).values())
    assert set(OPTED_OUT) <= fields
    assert "standard_enhancements" not in OPTED_OUT


def test_an_unknown_button_becomes_learn_more_and_says_so() -> None:
    """The change's reasoning tells that the button is not the blueprint's."""
    assert call_to_action_type("shop now") == "SHOP_NOW"
    assert call_to_action_type("dance") == "LEARN_MORE"


def test_the_first_history_row_exists_from_the_start() -> None:
    """A queued change can be asked for before it is executed."""
    (change,) = planned(variation(0))
    row = queued_row(change)
    assert (row.id, row.status, row.terminal) == (f"{change.id}-000", "PENDING", False)
